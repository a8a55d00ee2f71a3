"""A person's mistake is one sentence with place, value and remedy, before any compute."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.models.testing import tiny_llama

ROOT = Path(__file__).parents[2]
ASK = (
    "import sys; from flows.cli import main; code = main(); "
    "print(*sorted({'prefect', 'torch', 'mlflow'} & set(sys.modules)), end=''); sys.exit(code)"
)


@pytest.fixture
def ask(tmp_path):
    """Run a command; what it prints on stdout is which heavy libraries it has loaded."""

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-c", ASK, *map(str, arguments)],
            env=os.environ | {"ASSAY_HOME": str(tmp_path / "home")},
            cwd=ROOT, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    return run


def one_sentence(error, *words):
    """One line, ours, that holds these words and no traceback."""
    (line,) = error.strip().splitlines()
    assert line.startswith("assay: ")
    for word in words:
        assert word in line
    assert "Traceback" not in line
    return line


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seed: 0", "sed: 0", ["run.yaml", "sed: unknown key", "did you mean 'seed'"]),
        ("bits: 8", "bits: '8'", ["run.yaml", "variants[0].steps[0].bits", "'8'", "4"]),
        ("seed: 0", "seed: 0\nseed: 1", ["run.yaml, line 4", "'seed' is given twice"]),
        ("kind: magnitude", "kind: magnitud", ["'magnitud'", "did you mean 'magnitude'"]),
        ("kind: association", "kind: associaton", ["'associaton'", "'association'"]),
        ("measure: evaluate/bits_per_byte/heldout, bound", "measure: facts/recal, bound",
         ["policy lenient, rules[0]", "'facts/recal'", "nearest: ", "facts/recall/known"]),
        ("  rules:", "  rules: []\n  prefer: {measure: profile/size_bytes}\n  about: |",
         ["policy", "no rules", "add a rule"]),
    ],
    ids=["unknown key", "wrong type", "doubled key", "unknown method", "unknown audit",
         "unknown measure", "empty policy"],
)  # fmt: skip
def test_a_wrong_run_file_is_answered_before_anything_is_loaded(
    ask, tiny, tmp_path, old, new, words
):
    text = tiny.read_text()
    assert old in text
    (tmp_path / "run.yaml").write_text(text.replace(old, new, 1))
    said = ask("run", tmp_path / "run.yaml", "--json")
    assert (said.returncode, said.stdout) == (2, ""), said.stderr
    one_sentence(said.stderr, *words)
    assert not (tmp_path / "home/artifacts").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "gone.yaml"], ["gone.yaml", "cannot be read", "check the path"]),
        (["check", "gone.yaml"], ["gone.yaml", "cannot be read"]),
        (["run", "TINY", "--set", "model={kind: checkpoint, path: EMPTY}"],
         ["empty", "no config.json", "save_pretrained"]),
        (["run", "TINY", "--set", "model={kind: checkpoint, path: PICKLED}"],
         ["pytorch_model.bin", "pickled weights", "safe_serialization"]),
        (["run", "TINY", "--set", "model={kind: checkpoint, path: ./nowhere}"],
         ["nowhere", "no such folder"]),
        (["run", "TINY", "--set", "data={kind: sets, sets: {train: {path: gone.txt}}}"],
         ["gone.txt", "no such file", "check the path"]),
        (["run", "TINY", "--set", "seed"], ["--set seed", "place=value"]),
        (["run", "TINY", "--set", "policy=gone.yaml"], ["gone.yaml", "cannot be read"]),
        (["policy", "lint", "gone.yaml"], ["gone.yaml", "cannot be read"]),
        (["rum", "TINY"], ["rum", "run", "assay --help"]),
        (["run"], ["SPEC", "assay --help"]),
        (["run", "TINY", "--jsn"], ["--jsn", "--json"]),
    ],
    ids=["missing file", "missing file to check", "no model", "pickled", "no folder",
         "missing corpus", "a change without value", "missing policy", "policy to lint",
         "no such command", "no run file", "no such option"],
)  # fmt: skip
def test_a_wrong_command_is_answered_before_anything_is_loaded(
    ask, tiny, tmp_path, arguments, words
):
    (tmp_path / "empty").mkdir()
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text('{"model_type": "llama"}')
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    places = {"TINY": tiny, "EMPTY": tmp_path / "empty", "PICKLED": pickled}
    for name, place in places.items():
        arguments = [a.replace(name, str(place)) for a in arguments]
    said = ask(*arguments)
    assert (said.returncode, said.stdout) == (2, ""), said.stderr
    one_sentence(said.stderr, *words)
    assert not (tmp_path / "home/artifacts").exists()


@pytest.mark.parametrize(
    ("name", "content", "code", "words"),
    [
        ("corpus.jsonl", b'{"text": "A word."}\n{"text": "  "}\n', 3, ["train", "empty"]),
        ("corpus.txt", b"A word.\nCaf\xe9.\n", 2, ["corpus.txt, line 2", "0xe9", "UTF-8"]),
        ("corpus.txt", b"", 2, ["corpus.txt", "empty", "give a file"]),
        ("corpus.pdf", b"%PDF", 2, ["corpus.pdf", "'.pdf'", "give .txt, .jsonl or .csv"]),
    ],
    ids=["an empty document", "bytes that are no UTF-8", "an empty file", "an unknown format"],
)
def test_a_corpus_that_cannot_be_used_is_named_and_leaves_nothing(
    cli, tiny, tmp_path, name, content, code, words
):
    (tmp_path / name).write_bytes(content)
    data = f"data={{kind: sets, sets: {{train: {{path: {tmp_path / name}}}}}}}"
    said = cli("train", tiny, "--set", data)
    assert said.code == code, said.err
    one_sentence(said.err, *words)
    assert not (cli.artifacts / "sealed").exists()
    assert list((cli.artifacts / "work").rglob("content")) == []


def test_a_stage_that_fails_under_prefect_is_still_one_sentence(copied, tiny):
    before = copied.sealed("evaluate")
    said = copied("run", tiny, "--json", "--set", "evaluate.metrics=[f1]")
    assert (said.code, said.out) == (2, "")
    talk = [line for line in said.err.splitlines() if line.startswith("assay: ")]
    one_sentence("\n".join(talk), "world_choice gives ['acc'] and none", "['f1']")
    assert "Traceback" not in said.err
    assert copied.sealed("evaluate") == before
    assert list((copied.artifacts / "work").rglob("content")) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["report", "tiny/99", "--out", "x.html"], ["tiny/99", "no such version"]),
        (["report", "tiny", "--out", "x.html"], ["'tiny'", "NAME/VERSION", "quickstart/1"]),
        (["report", "tiny@nobody", "--out", "x.html"], ["tiny@nobody", "no version"]),
        (["reproduce", "other/1"], ["other/1", "no such version"]),
        (["reproduce", "a b/1"], ["'a b'", "letters"]),
        (["profile", "models:/tiny@nobody"], ["tiny@nobody", "no version"]),
        (["compress", "MODEL", "--method", "{", "--out", "x"], ["--method", "JSON"]),
        (["compress", "MODEL", "--method", '{"kind": "gptk"}', "--out", "x"],
         ["--method", "'gptk'", "did you mean 'gptq'"]),
        (["audit", "MODEL", "closedworld"], ["'closedworld'", "did you mean 'closed_world'"]),
        (["evaluate", "MODEL", "--tasks", "no/such"], ["evaluate", "'no/such'"]),
        (["audit", "MODEL", "exposure", "--data", "/nowhere"], ["/nowhere", "manifest.json"]),
        (["data", "fetch", "nothing"], ["'nothing'"]),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else None,
)  # fmt: skip
def test_a_name_that_means_nothing_is_answered_with_what_to_write(
    here, first, model, arguments, words
):
    code, out, err = here(*(a.replace("MODEL", str(model)) for a in arguments))
    assert (code, out) == (2, "")
    one_sentence(err, *words)


def test_debug_adds_the_traceback(here, first):
    _, _, err = here("report", "tiny/99", "--out", "x.html", "--debug")
    assert "Traceback" in err
    assert err.strip().splitlines()[-1].startswith("assay: tiny/99")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("model") / "tiny")


def test_a_home_that_cannot_be_is_named(cli, tiny):
    cli.home.parent.mkdir(exist_ok=True)
    cli.home.write_text("a file")
    said = cli("run", tiny)
    assert (said.code, said.out) == (2, "")
    one_sentence(said.err, "ASSAY_HOME", "cannot be made", "name a folder")


def test_a_signing_key_that_is_not_there_is_named(here, monkeypatch, tmp_path):
    monkeypatch.setenv("ASSAY_SIGNING_KEY", str(tmp_path / "gone.pem"))
    code, _, err = here("history", "tiny")
    assert code == 2
    one_sentence(err, "ASSAY_SIGNING_KEY", "gone.pem", "name the private key")
