"""A GGUF file is a model of the command line like any other."""

import hashlib
import json
import sys

import pytest

from audits.errors import SpecError
from flows.cli import main
from tasks.models.folder import check_folder
from tasks.models.gguf_runtime import library
from tasks.models.gguf_write import write_gguf
from tasks.models.testing import tiny_llama

TASK = """
task: mine
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{prompt}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{gold}}}}"
metric_list:
  - metric: acc
"""
ROWS = [
    {"prompt": f"Number {i} is", "choices": [" the", " a", " old", " be"], "gold": i % 4}
    for i in range(12)
]
ROWS[5]["prompt"] = "The park is old. " * 60 + ROWS[5]["prompt"]  # longer than the window
PAIRS = [
    {"id": str(i), "sent_more": f"She sells {i} breads.", "sent_less": f"He sells {i} breads.",
     "stereo_antistereo": "stereo", "bias_type": "gender", "anon_writer": f"w{i % 4}"}
    for i in range(12)
]  # fmt: skip


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture(scope="module")
def safetensors(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("m"))


@pytest.fixture(scope="module")
def gguf(safetensors, tmp_path_factory):
    pytest.importorskip("llama_cpp", reason="the gguf extra is not installed")
    return write_gguf(safetensors, tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture
def ask(tmp_path, monkeypatch, capsys):
    """Runs a command in this process, over an empty home: code, document or text, stderr."""
    monkeypatch.setenv("ASSAY_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(*arguments):
        capsys.readouterr()
        code = main([*map(str, arguments), "--json"])
        said = capsys.readouterr()
        return code, json.loads(said.out) if said.out else None, said.err

    return run


@pytest.fixture
def tasks(tmp_path):
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "rows.jsonl").write_text(lines(ROWS), "utf-8")
    (folder / "mine.yaml").write_text(TASK.format(rows=folder / "rows.jsonl"), "utf-8")
    return folder


@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "crows_pairs.jsonl").write_text(lines(PAIRS), "utf-8")
    listed = {"file": "crows_pairs.jsonl", "format": "jsonl", "rows": len(PAIRS), "about": ""}
    manifest = {"kind": "test", "sets": {"crows_pairs": listed}, "truth": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    return folder


def test_evaluate_gives_the_measures_of_the_weights_it_was_made_of(
    ask, gguf, safetensors, tasks
):
    asked = ["--tasks", "mine", "--include-path", tasks]
    code, said, err = ask("evaluate", gguf, *asked)
    assert code == 0, err
    assert "llama" not in err  # llama.cpp's own talk is kept from people
    _, other, _ = ask("evaluate", safetensors, *asked)
    assert said["measures"] == other["measures"]
    assert said["conditions"]["truncated"] == other["conditions"]["truncated"] == 1
    assert said["measures"][0]["name"] == "evaluate/acc/mine"


def test_audit_gives_the_measures_of_the_weights_it_was_made_of(
    ask, gguf, safetensors, dataset
):
    code, said, err = ask("audit", gguf, "crows_pairs", "--data", dataset)
    assert code == 0, err
    _, other, _ = ask("audit", safetensors, "crows_pairs", "--data", dataset)
    for mine, theirs in zip(
        said["audits"][0]["measures"], other["audits"][0]["measures"], strict=True
    ):
        assert mine["name"] == theirs["name"]
        assert mine["value"] == pytest.approx(theirs["value"], abs=1e-3)


def test_profile_measures_the_file_in_llama_cpp(ask, gguf):
    code, said, err = ask("profile", gguf)
    assert code == 0, err
    found = {m["name"]: m["value"] for m in said["measures"]}
    assert (
        found["profile/size_bytes"] == found["profile/size_total_bytes"] == gguf.stat().st_size
    )
    assert found["profile/tokens_per_second"] > 0
    assert 20 < found["profile/peak_rss_mb"] < 200  # no torch in that process


def test_a_folder_with_one_file_is_that_model(ask, gguf, tasks, tmp_path):
    folder = tmp_path / "alone"
    folder.mkdir()
    (folder / "model.gguf").write_bytes(gguf.read_bytes())
    asked = ["--tasks", "mine", "--include-path", tasks]
    code, said, err = ask("evaluate", folder, *asked)
    assert code == 0, err
    assert said == ask("evaluate", gguf, *asked)[1]  # the same digest: not even made again
    (folder / "other.gguf").write_bytes(b"GGUF")
    code, _, err = ask("evaluate", folder, *asked)
    assert code == 2
    assert "holds 2 GGUF files (model.gguf, other.gguf, …); give the path of one" in err


def test_a_file_is_known_by_its_own_digest(gguf):
    from tasks.models.folder import weights_digest

    assert weights_digest(gguf) == hashlib.sha256(gguf.read_bytes()).hexdigest()


def test_a_cut_file_ends_in_one_sentence(ask, gguf, tmp_path):
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(gguf.read_bytes()[:-1000])
    code, said, err = ask("profile", cut)
    assert (code, said) == (2, None)
    assert "cut short" in err
    assert "Traceback" not in err


def test_a_missing_file_is_named(ask, tmp_path):
    code, _, err = ask("profile", tmp_path / "no.gguf")
    assert code == 2
    assert "no.gguf: there is no such file" in err


def test_a_gguf_file_is_not_compressed_again(ask, gguf, tmp_path):
    method = '{"kind": "rtn", "bits": 8, "group_size": 32}'
    code, _, err = ask("compress", gguf, "--method", method, "--out", tmp_path / "out")
    assert code == 2
    assert "is compressed already" in err


@pytest.mark.parametrize(
    ("absent", "needs_it"), [("gguf", check_folder), ("llama_cpp", lambda _: library())]
)
def test_without_the_extra_one_sentence_says_how_to_install_it(
    monkeypatch, tmp_path, absent, needs_it
):
    file = tmp_path / "x.gguf"
    file.write_bytes(b"GGUF")
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(SpecError, match=r"pip install -e '\.\[gguf\]'"):
        needs_it(file)
