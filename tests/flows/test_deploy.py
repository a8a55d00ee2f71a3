"""What comes after a promotion: load, serve over HTTP, export, and the example for CI.

MLflow is asked as somebody outside would: with nothing of ours in the environment.
"""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import typer
import yaml
from huggingface_hub import ModelCard

from flows.cli import app
from tasks.models.folder import weights_digest
from tasks.models.load import load
from tasks.models.testing import tiny_llama

ROOT = Path(__file__).parents[2]
CHAMPION = "models:/tiny@champion"
PROMPTS = ["The cat", "A dog and"]
ASK = {"dataframe_split": {"columns": ["prompt"], "data": [[p] for p in PROMPTS]}}


@pytest.fixture(scope="module")
def outside(first):
    """The environment of a user who knows only the address of the registry."""
    kept = {k: os.environ[k] for k in ("HOME", "LANG", "TMPDIR") if k in os.environ}
    binaries = str(Path(sys.executable).parent)
    return kept | {
        "PATH": os.pathsep.join([binaries, os.environ["PATH"]]),
        "MLFLOW_TRACKING_URI": f"sqlite:///{first.cli.home}/mlflow.db",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture(scope="module")
def champion(first):
    """What the registry knows of the champion: its number, and where its weights lie."""
    ((number, run),) = first.cli.rows(
        "select v.version, v.run_id from model_versions v join registered_model_aliases a "
        "on v.name = a.name and v.version = a.version "
        "where a.alias = 'champion' and a.name = 'tiny'"
    )
    return number, first.cli.home / "runs" / run / "artifacts/model/data/model"


@pytest.fixture(scope="module")
def expected(champion):
    """What the champion's weights answer when they are loaded from their folder."""
    answers = load(champion[1]).generate(PROMPTS, max_new_tokens=12, seed=0)
    return [samples[0] for samples in answers]


@pytest.fixture(scope="module")
def served(first, outside, port, wait, responds, tmp_path_factory):
    """The address of `mlflow models serve` over the champion."""
    number = port()
    process = subprocess.Popen(
        ["mlflow", "models", "serve", "-m", CHAMPION, "--env-manager", "local",
         "--port", str(number)],
        env=outside, cwd=tmp_path_factory.mktemp("elsewhere"), text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    url = f"http://127.0.0.1:{number}"
    wait(lambda: responds(f"{url}/ping"), process, "mlflow models serve")
    yield f"{url}/invocations"
    os.killpg(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert "Traceback" not in said
    assert "Warning" not in said


def test_mlflow_loads_the_champion_without_a_word(outside, expected, tmp_path):
    code = (
        "import json, mlflow, pandas\n"
        f"model = mlflow.pyfunc.load_model({CHAMPION!r})\n"
        f"asked = pandas.DataFrame({{'prompt': {PROMPTS!r}}})\n"
        "print(json.dumps(model.predict(asked, params={'max_new_tokens': 12})))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        env=outside, cwd=tmp_path, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout) == expected
    assert "arning" not in said.stderr


def test_the_champion_is_served_over_http(served, expected):
    answer = httpx.post(served, json=ASK | {"params": {"max_new_tokens": 12}}, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"predictions": expected}


def test_prompts_alone_are_enough(served):
    answer = httpx.post(served, json={"inputs": {"prompt": PROMPTS}}, timeout=60)
    assert answer.status_code == 200, answer.text
    assert [type(text) for text in answer.json()["predictions"]] == [str, str]


def test_one_seed_gives_one_answer(served):
    def ask(seed):
        params = {"max_new_tokens": 24, "temperature": 2.0, "seed": seed}
        return httpx.post(served, json=ASK | {"params": params}, timeout=60).json()

    assert ask(1) == ask(1)
    assert ask(1) != ask(2)


@pytest.mark.parametrize(
    ("request_body", "says"),
    [
        (ASK | {"params": {"max_new_tokens": -3}}, "max_new_tokens is -3; ask for 1 to 4096"),
        (ASK | {"params": {"temperature": -1}}, "temperature is -1.0; ask for 0 to 10"),
        ({"inputs": {"text": ["x"]}}, "Model is missing inputs ['prompt']"),
        ({"dataframe_split": {"columns": ["prompt"], "data": [[None]]}},
         "prompt 0 is None; send text"),
    ],
    ids=["no length", "no temperature", "no prompt", "no text"],
)  # fmt: skip
def test_a_wrong_request_is_answered_with_what_is_wrong(served, request_body, says):
    answer = httpx.post(served, json=request_body, timeout=60)
    assert answer.status_code == 400
    assert says in answer.json()["message"]
    assert "Traceback" not in answer.text


def test_a_parameter_nobody_knows_is_dropped_by_mlflow_as_the_guide_says(served):
    plain, more = (
        httpx.post(served, json=ASK | {"params": {"max_new_tokens": 4} | also}, timeout=60)
        for also in ({}, {"top_p": 0.1})
    )
    assert (plain.status_code, plain.json()) == (more.status_code, more.json())
    guide = " ".join(DEPLOYING.read_text("utf-8").split())
    assert "MLflow drops a parameter it does not know" in guide


def test_a_version_is_logged_without_torch(tmp_path):
    folder = tiny_llama(tmp_path / "model")
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from registry.mlflow_store import open_store\n"
        "from registry.store import Publication\n"
        "from registry.testing import evidence, facts\n"
        f"store = open_store('sqlite:///{tmp_path}/assay.db')\n"
        "version = store.publish(Publication(name='toy', title='base', loader='tasks.serving',"
        f" folder=Path({str(folder)!r}), evidence=evidence('w1', facts([1] * 50)),"
        " requirements=('slm-assay',)), parent=store.begin('tests', 'one'))\n"
        "print(version.uri, *sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=240
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.split() == ["models:/toy/1"]


@pytest.fixture
def export(here):
    """Exports a version; returns exit code, the document (or None), and stderr."""

    def run(named, out):
        code, said, err = here("export", named, "--out", out, "--json")
        return code, json.loads(said) if said else None, err

    return run


def test_an_export_holds_the_registered_files_to_the_byte(export, champion, tmp_path):
    number, registered = champion
    code, said, err = export("tiny@champion", tmp_path / "a/b/model")
    assert code == 0, err
    out = Path(said["folder"])
    assert said["version"] == f"tiny/{number}"
    assert said["files"] == sorted(p.name for p in out.iterdir())
    assert said["weights"] == weights_digest(out) == weights_digest(registered)
    models = [name for name in said["files"] if name != "README.md"]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(models)
    for name in models:
        assert (out / name).read_bytes() == (registered / name).read_bytes()
    assert list((tmp_path / "a/b").iterdir()) == [out]


def test_an_exported_folder_is_a_model(export, tmp_path, expected):
    code, said, err = export("tiny@champion", tmp_path / "model")
    assert code == 0, err
    answers = load(said["folder"]).generate(PROMPTS, max_new_tokens=12, seed=0)
    assert [samples[0] for samples in answers] == expected


def test_the_readme_of_an_export_is_a_card_of_the_hub(export, first, tmp_path):
    number = first.said.candidate("pruned80")["version"]
    code, said, err = export(f"tiny/{number}", tmp_path / "model")
    assert code == 0, err
    card = ModelCard.load(Path(said["folder"]) / "README.md", ignore_metadata_errors=False)
    names = {r.metric_name for r in card.data.eval_results}
    assert {"evaluate/bits_per_byte/heldout", "profile/size_bytes"} <= names
    assert "**FAIL**" in card.text
    assert "by magnitude" in card.text
    assert "sparsity 0.8" in card.text
    assert "95 % interval" in card.text


def test_an_empty_folder_is_filled_and_a_full_one_left_alone(export, tmp_path):
    (tmp_path / "empty").mkdir()
    assert export("tiny@champion", tmp_path / "empty")[0] == 0
    (tmp_path / "full").mkdir()
    (tmp_path / "full/note").write_text("mine")
    code, said, err = export("tiny@champion", tmp_path / "full")
    assert (code, said) == (2, None)
    assert "give a new or empty folder" in err
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["note"]


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("model.safetensors", lambda raw: raw[:-1] + bytes([raw[-1] ^ 1])),
        ("config.json", lambda raw: raw[: len(raw) // 2]),
        ("tokenizer.json", lambda raw: raw + b" "),
        ("model.safetensors", None),
    ],
    ids=["altered weights", "cut configuration", "altered tokenizer", "no weights"],
)
def test_altered_files_do_not_go_out(export, champion, tmp_path, name, damage):
    file = champion[1] / name
    kept = file.read_bytes()
    try:
        file.write_bytes(damage(kept)) if damage else file.unlink()
        code, said, err = export("tiny@champion", tmp_path / "model")
    finally:
        file.write_bytes(kept)
    assert (code, said) == (4, None)
    assert err.startswith(f"assay: tiny/{champion[0]}: the file model/data/model/")
    assert list(tmp_path.iterdir()) == []


WORKFLOW = ROOT / "infra/github/verify.yml"
DEPLOYING = ROOT / "docs/deploying.md"
SHOWN = re.compile(r"(?:^|[$`|&;]|run:)\s*assay ([a-z][^`#|\n]*)", re.MULTILINE)


@pytest.fixture(scope="module")
def workflow():
    # YAML 1.1 reads the key `on` as true; GitHub does not.
    return yaml.load(WORKFLOW.read_text("utf-8"), Loader=yaml.BaseLoader)


def find_command(words):
    """The command that a line begins with (`verify`, `policy lint`); KeyError where none is."""
    command, rest = typer.main.get_command(app), list(words)
    while hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    return command


@pytest.mark.parametrize("place", [WORKFLOW, DEPLOYING], ids=lambda place: place.name)
def test_what_is_shown_to_people_is_a_command_with_these_options(place):
    shown = SHOWN.findall(place.read_text("utf-8"))
    assert {"verify", "export"} <= {line.split()[0] for line in shown}
    for line in shown:
        known = {option for param in find_command(line.split()).params for option in param.opts}
        assert set(re.findall(r"--[a-z-]+", line)) <= known, line


def test_the_example_deploys_only_what_was_verified(workflow):
    assert set(workflow["on"]) == {"workflow_dispatch"}
    verify, deploy = workflow["jobs"]["verify"], workflow["jobs"]["deploy"]
    assert deploy["needs"] == "verify"
    assert "needs" not in verify
    assert not any("if" in step or "continue-on-error" in step for step in verify["steps"])
    runs = [step.get("run", "") for step in verify["steps"]]
    (at,) = [i for i, text in enumerate(runs) if "assay verify" in text]
    used = [i for i, text in enumerate(runs) if "assay export" in text or "mlflow" in text]
    assert used
    assert at < min(used)
    # The exit code of `assay` would be lost in the pipe of a plain `run`.
    assert workflow["jobs"]["verify"]["steps"][at]["shell"] == "bash"
    assert "@champion" not in "".join(runs[at + 1 :])


def test_the_example_pastes_no_input_or_secret_into_a_shell(workflow):
    steps = [s for job in workflow["jobs"].values() for s in job["steps"]]
    assert len([s for s in steps if "run" in s]) >= 5
    assert [s["run"] for s in steps if "${{" in s.get("run", "")] == []


@pytest.fixture
def job(workflow, outside, first, tiny, tmp_path, port):
    """Runs a named step of the example's first job as GitHub would; returns what it did.

    The registry of the tests is not signed, and 8080 may be taken: key and port are changed.
    """
    output = tmp_path / "output"
    output.touch()
    agreed = yaml.safe_load(tiny.read_text("utf-8"))["policy"]
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(agreed), "utf-8")
    number = str(port())

    def run(name):
        (step,) = [s for s in workflow["jobs"]["verify"]["steps"] if s.get("name") == name]
        version = dict(re.findall(r"(\w+)=(.*)", output.read_text("utf-8"))).get("version", "")
        script = step["run"].replace(' --key "$RUNNER_TEMP/assay.pub"', "")
        given = {"MODEL": "tiny", "VERSION": version, "GITHUB_OUTPUT": str(output)}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c",
             script.replace("8080", number)],
            env=outside | given | {"ASSAY_HOME": str(first.cli.home)},
            cwd=tmp_path, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        return done, version

    return run


def test_the_steps_of_the_example_verify_export_and_ask(job, champion, tmp_path):
    verified, _ = job("Verify the champion")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    exported, version = job("Take it out of the registry")
    assert exported.returncode == 0, exported.stderr
    assert version == f"tiny/{champion[0]}"
    assert weights_digest(tmp_path / "model") == weights_digest(champion[1])
    asked, _ = job("Ask it something")
    assert asked.returncode == 0, asked.stderr
    assert '{"predictions": ["' in asked.stdout


def test_the_example_stops_at_an_alias_that_was_moved_by_hand(job, first, champion, tmp_path):
    other = first.said.candidate("pruned80")["version"]

    def point(number):
        with sqlite3.connect(first.cli.home / "mlflow.db") as database:
            database.execute(
                "update registered_model_aliases set version = ? "
                "where alias = 'champion' and name = 'tiny'", (number,)
            )  # fmt: skip

    point(other)
    try:
        stopped, _ = job("Verify the champion")
    finally:
        point(champion[0])
    assert stopped.returncode == 4, stopped.stdout + stopped.stderr
    assert f"moved by hand from {champion[0]} to {other}" in stopped.stdout
    assert (tmp_path / "output").read_text("utf-8") == ""  # no version to go on with
