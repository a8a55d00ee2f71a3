"""What a person may do to models, data, tasks and commands, and the one sentence it costs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.models.testing import tiny_llama


@pytest.fixture
def refused(say, tmp_path):
    """Runs a command that must end with exit code 2 and one sentence, and leave nothing."""

    def run(arguments, *words):
        code, out, err = say(*arguments)
        assert (code, out) == (2, ""), err
        (line,) = err.strip().splitlines()
        assert line.startswith("assay: ")
        for word in words:
            assert word in line
        assert not (tmp_path / "home/artifacts/sealed").exists()

    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def broken(whole, tmp_path):
    """A model whose config belongs to a deeper one; all its files are in order."""
    folder = shutil.copytree(whole, tmp_path / "broken")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["num_hidden_layers"] = 3
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "MODEL", "--tasks", "hellaswag"],
        ["compress", "MODEL", "--method", '{"kind": "magnitude", "sparsity": 0.5}',
         "--out", "OUT"],
        ["train", "tests/flows/runs/tiny.yaml", "--set",
         "model={kind: checkpoint, path: MODEL}", "--set", "data={kind: sets, sets: SETS}"],
    ],
    ids=["evaluate", "compress", "checkpoint"],
)  # fmt: skip
def test_weights_that_are_not_whole_stop_every_command(say, broken, tmp_path, arguments):
    (tmp_path / "own.txt").write_text("One line of text.\n", "utf-8")
    places = {
        "MODEL": broken,
        "OUT": tmp_path / "out",
        "SETS": f"{{train: {{path: {tmp_path}/own.txt}}}}",
    }
    for name, place in places.items():
        arguments = [a.replace(name, str(place)) for a in arguments]
    code, out, err = say(*arguments)
    assert (code, out) == (2, "")
    last = err.strip().splitlines()[-1]
    assert f"{broken}: config.json and the weights are not of one model: 9 tensors" in last
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()
    sealed = tmp_path / "home/artifacts/sealed"
    assert {p.name for p in sealed.glob("*") if any(p.iterdir())} <= {"data"}


def test_an_audit_without_data_says_which_set_it_reads(refused, whole):
    refused(["audit", whole, "closed_world"], "closed_world", "'facts'", "--data")


TINY = "tests/flows/runs/tiny.yaml"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["evaluate.tasks=[nope_task]"], ["no task 'nope_task'", "nearest"]),
        (["evaluate.tasks=[world_chioce]"], ["no task 'world_chioce'", "world_choice"]),
        (
            ["evaluate.tasks=[world_choice]", "data.tiers=[{copies: 1, entities: 36}]"],
            ["'world_choice'", "lacks the set", "(choice)"],
        ),
        (["evaluate.include_path=/no/such"], ["include_path '/no/such'", "no folder"]),
        (["evaluate.texts=[heldout, news]"], ["evaluate.texts", "'news'", "heldout"]),
        (["evaluate.texts=[heldout, facts]"], ["evaluate.texts", "'facts'"]),
        (["audits.0.kind=crows_pairs"], ["'crows_pairs'", "will not have", "facts"]),
    ],
    ids=lambda value: value[0].partition("=")[2] if "=" in value[0] else "",
)
@pytest.mark.parametrize("command", ["check", "run"])
def test_what_a_stage_would_miss_is_said_before_any_compute(refused, command, changes, words):
    asked = [word for change in changes for word in ("--set", change)]
    refused([command, TINY, *asked], *words)


def docs(tmp_path, more=""):
    (tmp_path / "docs.csv").write_text("title,body\nA,Some words here\n", "utf-8")
    (tmp_path / "train.txt").write_text("Some words to learn.\n", "utf-8")
    paths = f"train: {{path: {tmp_path}/train.txt}}, docs: {{path: {tmp_path}/docs.csv}}"
    return f"data={{kind: sets, sets: {{{paths}}}{more}}}"


@pytest.mark.parametrize("where", ["calibration", "evaluate.texts"])
def test_a_table_without_its_text_column_is_said_by_check(refused, tmp_path, where):
    named = where == "calibration"
    text = "train" if named else "docs"
    changes = [
        docs(tmp_path, ", calibration: docs" if named else ""),
        f"evaluate={{texts: [{text}]}}", "audits=[]",
        "policy={name: p, rules: [{kind: at_most, measure: evaluate/bits_per_byte/"
        f"{text}, bound: 9}}]}}",
    ]  # fmt: skip
    asked = [word for change in changes for word in ("--set", change)]
    refused(
        ["check", TINY, *asked],
        "docs.csv", "no column 'text'", "body, title", "sets.docs.text_field",
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_a_run_file_that_is_no_file_is_refused_at_once(refused, tmp_path, kind):
    path = {"device": Path("/dev/zero"), "folder": tmp_path, "pipe": tmp_path / "pipe.yaml"}
    if kind == "pipe":
        os.mkfifo(path[kind])
    refused(["check", path[kind]], str(path[kind]), "is no regular file", "YAML file")


@pytest.mark.parametrize("change", ["=", "=1", "a..b=1", ".=1", "seed.=1"])
def test_a_change_without_a_place_is_named(refused, change):
    place = change.partition("=")[0]
    refused(["check", TINY, "--set", change], f"--set {change}", repr(place), "place=value")


def test_counting_words_agree_with_their_numbers(say):
    changes = ["variants=[]", "audits=[]", "evaluate={texts: [heldout]}",
               "policy={name: p, rules: [{kind: at_most, bound: 9, "
               "measure: evaluate/bits_per_byte/heldout}]}"]  # fmt: skip
    asked = [word for change in changes for word in ("--set", change)]
    code, out, err = say("check", TINY, *asked)
    assert code == 0, err
    assert "1 candidate (base), 0 audits," in out
    assert "1 rule in policy p" in out


def test_outside_a_git_checkout_evaluate_talks_of_no_repository(cli, whole, tmp_path):
    task = "task: mine\noutput_type: multiple_choice\ntest_split: test\n"
    task += (
        'doc_to_text: "{{prompt}}"\ndoc_to_choice: "{{choices}}"\ndoc_to_target: "{{gold}}"\n'
    )
    task += "metric_list: [{metric: acc}]\nmetadata: {version: 1, set: quiz}\n"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mine.yaml").write_text(task, "utf-8")
    data = tmp_path / "data"
    data.mkdir()
    rows = [{"id": str(i), "prompt": "It is", "choices": ["a", "b"], "gold": 0} for i in (0, 1)]
    (data / "quiz.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    entry = {"file": "quiz.jsonl", "format": "jsonl", "rows": 2, "about": ""}
    manifest = {"kind": "sets", "sets": {"quiz": entry}, "truth": {}}
    (data / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    process = subprocess.run(
        [shutil.which("assay", path=str(Path(sys.executable).parent)), "evaluate", whole,
         "--tasks", "mine", "--include-path", tmp_path / "mine", "--data", data],
        cwd=tmp_path, capture_output=True, text=True, timeout=240,
        env=os.environ | {"ASSAY_HOME": str(tmp_path / "home")},
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert "git" not in process.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_the_ui_leaves_no_server_behind(cli, port, wait, responds, number):
    free = port()
    process = cli.start("ui", "--port", str(free))
    address = f"http://127.0.0.1:{free}/health"
    wait(lambda: responds(address), process, "the MLflow UI")
    os.kill(process.pid, number)
    process.wait(30)
    deadline = time.monotonic() + 30
    while responds(address) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not responds(address)
    process.communicate(timeout=30)  # ends when no child holds its output any more
