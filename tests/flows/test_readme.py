"""What the README tells people to type works."""

import os
import re
import shlex
import signal
from pathlib import Path

import pytest

from audits.testing import FakeModel, check_audit
from tasks.models.gguf_write import write_gguf
from tasks.models.testing import tiny_llama

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
SERVERS = ("assay ui", "assay serve")
# Where the README trains for minutes or reads large files, the tests take the small ones.
SMALL = {
    "infra/runs/quickstart.yaml": "tests/flows/runs/tiny.yaml",
    "infra/runs/stories260k.yaml": "tests/flows/runs/own.yaml",
    "quickstart/": "tiny/",
    "quickstart@": "tiny@",
    "history quickstart": "history tiny",
}


def commands():
    """Every command line of a console block and every command in running text, once."""
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    typed = [m for b in blocks for m in re.findall(r"^\$ (assay [^#\n]*)", b, re.MULTILINE)]
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    said = [" ".join(m.split()) for m in re.findall(r"`(assay [^`]+)`", prose)]
    return list(dict.fromkeys(c.strip() for c in (*typed, *said)))


PLAIN = [c for c in commands() if not c.startswith(SERVERS)]
START = [c for c in commands() if c.startswith(SERVERS)]


def test_the_readme_shows_commands():
    assert len(PLAIN) >= 8
    assert {" ".join(c.split()[:2]) for c in START} == set(SERVERS)


@pytest.fixture(scope="module")
def places(first, tmp_path_factory):
    """What the README leaves to the reader, and where its own places lie here."""
    folder = tmp_path_factory.mktemp("readme")
    (dataset,) = (first.cli.artifacts / "sealed/data").glob("*/content")
    model = str(tiny_llama(folder / "model"))
    held = folder / "held.txt"
    held.write_text("The baker sells bread.\n\nShe lives in the old town.\n", "utf-8")
    return SMALL | {
        "models/stories260K": model,
        "MODEL": model,
        "model.gguf": str(write_gguf(Path(model), folder / "model.gguf")),
        "BASE VARIANT": f"{model} {tiny_llama(folder / 'variant', seed=1)}",
        "--text FILE": f"--text {held}",
        "--data DIR": f"--data {dataset}",
        "--out DIR": f"--out {folder / 'compressed'}",
        "--tasks …": f"--tasks world_choice --limit 5 --data {dataset}",
        "KIND": "association",
        "JSON": """'{"kind": "magnitude", "sparsity": 0.5}'""",
        "card.html": str(folder / "card.html"),
    }


@pytest.mark.parametrize("command", PLAIN)
def test_a_command_of_the_readme_works(command, places, again, here):
    for old, new in places.items():
        command = command.replace(old, new)
    _, *arguments = shlex.split(command)
    if arguments[0] == "run":
        said = again(*arguments)
        assert said.code == 0, said.err
        return
    code, out, err = here(*arguments)
    assert code == 0, err
    assert out.strip()


@pytest.mark.parametrize("command", START)
def test_a_server_of_the_readme_answers(command, cli, port, wait, responds):
    number = port()
    _, *arguments = shlex.split(command)
    process = cli.start(*arguments, "--port", number)
    wait(lambda: responds(f"http://127.0.0.1:{number}/"), process, command)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (0, 130), err
    assert "Traceback" not in err


def test_the_audit_of_the_readme_is_one():
    (code,) = [
        c for c in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "class " in c
    ]
    names = {"__name__": "answer_length"}
    exec(code, names)
    made = [v for k, v in names.items() if k == re.search(r"class (\w+)", code)[1]]
    rows = [{"id": str(i), "prompt": "one " * (i + 1)} for i in range(12)]
    part = check_audit(made[0](), FakeModel(), rows)
    (length,) = part.measures()[0]
    # The fake repeats its prompt: 1, 2, ... 12 words.
    assert length.value == pytest.approx(6.5)
