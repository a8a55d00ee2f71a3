"""A person's mistake is one sentence with place, value and remedy, before any compute."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from audits.errors import SpecError
from flows.home import find_home
from flows.machine import require_port
from flows.outcome import save
from tasks.models.testing import tiny_llama

ROOT = Path(__file__).parents[2]
HALVED = '{"kind": "magnitude", "sparsity": 0.5}'
ASK = """
import contextlib, io, json, os, sys
from flows.cli import main
said = []
for home, words in json.load(sys.stdin):
    os.environ["ASSAY_HOME"] = home
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    loaded = sorted({"prefect", "torch", "mlflow"} & set(sys.modules))
    said.append([code, out.getvalue(), loaded, err.getvalue()])
print(json.dumps(said))
"""


def ask(commands, folder):
    """Run commands one after the other in one process, each with a home of its own.

    Returns for each its exit code, its stdout, which heavy libraries are loaded after it,
    and its stderr.
    """
    asked = [(str(folder / f"{at}/home"), list(map(str, c))) for at, c in enumerate(commands)]
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        input=json.dumps(asked), env=os.environ | {"PREFECT_HOME": str(folder / "prefect")},
        cwd=ROOT, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused_at_once(said, folder, at, words):
    code, out, loaded, err = said[at]
    assert (code, out, loaded) == (2, "", []), err
    one_sentence(err, *words)
    assert not (folder / f"{at}/home/artifacts").exists()


def one_sentence(error, *words):
    """One line, ours, that holds these words and no traceback."""
    (line,) = error.strip().splitlines()
    assert line.startswith("assay: ")
    for word in words:
        assert word in line
    assert "Traceback" not in line
    return line


WRONG_FILES = {
    "unknown key": ("seed: 0", "sed: 0",
                    ["run.yaml", "sed: unknown key", "did you mean 'seed'"]),
    "wrong type": ("bits: 8", "bits: '8'",
                   ["run.yaml", "variants[0].steps[0].bits", "'8'", "4"]),
    "doubled key": ("seed: 0", "seed: 0\nseed: 1",
                    ["run.yaml, line 4", "'seed' is given twice"]),
    "unknown method": ("kind: magnitude", "kind: magnitud",
                       ["'magnitud'", "did you mean 'magnitude'"]),
    "unknown audit": ("kind: association", "kind: associaton",
                      ["'associaton'", "'association'"]),
    "unknown measure": (
        "measure: evaluate/bits_per_byte/heldout, bound", "measure: facts/recal, bound",
        ["policy lenient, rules[0]", "'facts/recal'", "nearest: ", "facts/recall/known"]),
    "empty policy": ("  rules:",
                     "  rules: []\n  prefer: {measure: profile/size_bytes}\n  about: |",
                     ["policy", "no rules", "add a rule"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def wrong_files(tiny, tmp_path_factory):
    folder, text = tmp_path_factory.mktemp("files"), tiny.read_text()
    commands = []
    for at, (old, new, _) in enumerate(WRONG_FILES.values()):
        assert old in text
        (folder / str(at)).mkdir()
        (folder / f"{at}/run.yaml").write_text(text.replace(old, new, 1))
        commands.append(["run", folder / f"{at}/run.yaml", "--json"])
    return ask(commands, folder), folder


@pytest.mark.parametrize("at", range(len(WRONG_FILES)), ids=WRONG_FILES)
def test_a_wrong_run_file_is_answered_before_anything_is_loaded(wrong_files, at):
    refused_at_once(*wrong_files, at, list(WRONG_FILES.values())[at][2])


WRONG_COMMANDS = {
    "missing file": (["run", "gone.yaml"], ["gone.yaml", "cannot be read", "check the path"]),
    "missing file to check": (["check", "gone.yaml"], ["gone.yaml", "cannot be read"]),
    "no model": (["run", "TINY", "--set", "model={kind: checkpoint, path: EMPTY}"],
                 ["empty", "no config.json", "save_pretrained"]),
    "pickled": (["run", "TINY", "--set", "model={kind: checkpoint, path: PICKLED}"],
                ["pytorch_model.bin", "pickled weights", "safe_serialization"]),
    "no folder": (["run", "TINY", "--set", "model={kind: checkpoint, path: ./nowhere}"],
                  ["nowhere", "no such folder"]),
    "missing corpus": (
        ["run", "TINY", "--set", "data={kind: sets, sets: {train: {path: gone.txt}}}"],
        ["gone.txt", "no such file", "check the path"]),
    "a change without value": (["run", "TINY", "--set", "seed"],
                               ["--set seed", "place=value"]),
    "missing policy": (["run", "TINY", "--set", "policy=gone.yaml"],
                       ["gone.yaml", "cannot be read"]),
    "policy to lint": (["policy", "lint", "gone.yaml"], ["gone.yaml", "cannot be read"]),
    "no such command": (["rum", "TINY"], ["rum", "run", "assay --help"]),
    "no run file": (["run"], ["SPEC", "assay --help"]),
    "no such option": (["run", "TINY", "--jsn"], ["--jsn", "--json"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def wrong_commands(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("commands")
    (folder / "empty").mkdir()
    pickled = folder / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text('{"model_type": "llama"}')
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    places = {"TINY": tiny, "EMPTY": folder / "empty", "PICKLED": pickled}

    def placed(word):
        for name, place in places.items():
            word = word.replace(name, str(place))
        return word

    commands = [list(map(placed, words)) for words, _ in WRONG_COMMANDS.values()]
    return ask(commands, folder), folder


@pytest.mark.parametrize("at", range(len(WRONG_COMMANDS)), ids=WRONG_COMMANDS)
def test_a_wrong_command_is_answered_before_anything_is_loaded(wrong_commands, at):
    refused_at_once(*wrong_commands, at, list(WRONG_COMMANDS.values())[at][1])


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
    say, tiny, tmp_path, name, content, code, words
):
    (tmp_path / name).write_bytes(content)
    data = f"data={{kind: sets, sets: {{train: {{path: {tmp_path / name}}}}}}}"
    got, out, err = say("train", tiny, "--set", data)
    assert (got, out) == (code, ""), err
    one_sentence(err, *words)
    artifacts = tmp_path / "home/artifacts"
    assert not (artifacts / "sealed").exists()
    assert list((artifacts / "work").rglob("content")) == []


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
        (["ui", "--port", "99999"], ["--port", "65535"]),
        (["serve", "--port", "-1"], ["--port", "greater than or equal to 1"]),
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


def test_a_home_on_a_full_disk_is_named_and_what_is_not_finished_is_not_there(
    inside, disk, model, tmp_path
):
    home = disk.mount("200k") / "home"  # the model takes more
    compress = [
        "compress",
        model,
        "--method",
        '{"kind": "magnitude", "sparsity": 0.5}',
        "--out",
    ]
    code, out, err = inside(home)(*compress, tmp_path / "out")
    assert (code, out) == (3, "")
    one_sentence(err, str(home), "its disk takes no more", "make room there", "ASSAY_HOME")
    assert not (tmp_path / "out").exists()
    assert not list(home.rglob("content"))
    disk.mount("10m")
    code, _, err = inside(home)(*compress, tmp_path / "out")
    assert code == 0, err


def test_a_home_that_may_only_be_read_is_named(inside, disk, model, tmp_path):
    (disk.mount("1m") / "home").mkdir()
    home = disk.mount("1m", "ro") / "home"
    method = '{"kind": "magnitude", "sparsity": 0.5}'
    code, out, err = inside(home)(
        "compress", model, "--method", method, "--out", tmp_path / "o"
    )
    assert (code, out) == (3, "")
    one_sentence(err, str(home), "may not be written (read-only file system)", "ASSAY_HOME")


def test_a_signing_key_that_is_not_there_is_named(here, monkeypatch, tmp_path):
    monkeypatch.setenv("ASSAY_SIGNING_KEY", str(tmp_path / "gone.pem"))
    code, _, err = here("history", "tiny")
    assert code == 2
    one_sentence(err, "ASSAY_SIGNING_KEY", "gone.pem", "name the private key")


def test_a_report_does_not_take_a_folder_for_a_file(tmp_path):
    with pytest.raises(SpecError, match="is a folder; name a file"):
        save(tmp_path, "text")


def test_an_empty_variable_is_as_good_as_none():
    assert find_home({"ASSAY_HOME": ""}) == find_home({})


@pytest.mark.parametrize("variable", ["ASSAY_HOME", "ASSAY_DATA", "ASSAY_SIGNING_KEY"])
def test_a_variable_that_names_no_place_is_a_mistake_of_the_command(say, monkeypatch, variable):
    monkeypatch.setenv(variable, "~nosuchuser/x")
    code, out, err = say("history", "tiny")
    assert (code, out) == (2, "")
    one_sentence(err, variable, "~nosuchuser/x", "give a full path")


def test_a_command_in_a_folder_that_was_deleted_is_a_mistake(say, monkeypatch, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    monkeypatch.delenv("ASSAY_HOME")
    gone.rmdir()
    code, out, err = say("history", "tiny")
    assert (code, out) == (2, "")
    one_sentence(err, "ASSAY_HOME", "No such file or directory", "a folder that is there")


def test_a_port_that_is_taken_is_a_mistake_of_the_command():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as held:
        number = held.getsockname()[1]
        with pytest.raises(SpecError, match="is in use; choose another with --port"):
            require_port("127.0.0.1", number)
