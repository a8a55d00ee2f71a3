"""The real command line, and one small run that the tests build on."""

import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from flows.cli import main

ROOT = Path(__file__).parents[2]
ASSAY = Path(sys.executable).with_name("assay")
CONFIGURED = ("ASSAY_HOME", "MLFLOW_TRACKING_URI", "PREFECT_API_URL", "PREFECT_HOME")


def interruptible():
    """A process started in the background inherits deaf ears for Ctrl-C; ours must hear it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def document(self):
        return json.loads(self.out)

    def executed(self):
        return [s["name"] for s in self.document["stages"] if not s["cached"]]

    def candidate(self, name):
        (found,) = [c for c in self.document["candidates"] if c["name"] == name]
        return found


class Cli:
    """`assay` over one home, in processes of their own."""

    def __init__(self, home, prefect=""):
        self.home, self.prefect = Path(home), prefect

    def __call__(self, *arguments, timeout=600, **environment):
        process = self.start(*arguments, **environment)
        try:
            out, err = process.communicate(timeout=timeout)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        return Said(process.returncode, out, err)

    def start(self, *arguments, **environment):
        """Begin a command as the leader of a process group of its own."""
        inherited = {k: v for k, v in os.environ.items() if k not in CONFIGURED}
        prefect = {"PREFECT_API_URL": self.prefect} if self.prefect else {}
        return subprocess.Popen(
            [str(ASSAY), *map(str, arguments)],
            cwd=ROOT,
            env=inherited | prefect | {"ASSAY_HOME": str(self.home)} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=interruptible,
        )

    @property
    def artifacts(self):
        return self.home / "artifacts"

    def sealed(self, stage):
        return sorted(p.name for p in (self.artifacts / "sealed" / stage).glob("*"))

    def rows(self, question):
        """What MLflow's database holds."""
        with sqlite3.connect(self.home / "mlflow.db") as database:
            return database.execute(question).fetchall()

    def champion(self, name="tiny"):
        return self.rows(
            "select version from registered_model_aliases "
            f"where alias = 'champion' and name = '{name}'"
        )

    def versions(self):
        """Names and numbers; the entries of histories are versions too, and left out."""
        return self.rows(
            "select name, version from model_versions where name not like '%.history' "
            "order by name, version"
        )


@dataclass(frozen=True)
class First:
    """The first run of the tiny run file, and the home it left."""

    said: Said
    cli: Cli


@pytest.fixture(scope="session")
def tiny():
    return ROOT / "tests/flows/runs/tiny.yaml"


@pytest.fixture(scope="session")
def first(tmp_path_factory, tiny):
    """Everything by default: a temporary Prefect server, SQLite, a new home."""
    cli = Cli(tmp_path_factory.mktemp("first") / "home")
    return First(cli("run", tiny, "--json"), cli)


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory):
    """A Prefect server for the runs after the first: starting one for each takes seconds."""
    port = find_port()
    url = f"http://127.0.0.1:{port}/api"
    environment = os.environ | {
        "PREFECT_HOME": str(tmp_path_factory.mktemp("prefect")),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--port", str(port),
         "--no-services", "--no-ui"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    until(lambda: answers(f"{url}/health"), process, "the Prefect server")
    yield url
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(30)


@pytest.fixture(scope="session")
def again(first, prefect_server):
    """The home of the first run, for further commands."""
    return Cli(first.cli.home, prefect_server)


@pytest.fixture
def copied(first, prefect_server, tmp_path):
    """A home of its own with all that the first run sealed, but nothing published."""
    cli = Cli(tmp_path / "home", prefect_server)
    shutil.copytree(
        first.cli.artifacts / "sealed",
        cli.artifacts / "sealed",
        ignore=shutil.ignore_patterns("publish"),
    )
    return cli


@pytest.fixture(scope="session")
def port():
    """Gives a port that nothing listens on."""
    return find_port


@pytest.fixture(scope="session")
def wait():
    """Waits until something is so, as long as a process lives."""
    return until


@pytest.fixture(scope="session")
def responds():
    """Does a web address answer?"""
    return answers


def find_port():
    """A free port below those that the system gives to connections.

    One of those might be taken by any connection before a server binds it.
    """
    for port in random.sample(range(16_000, 32_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    pytest.fail("no free port among a hundred")


def answers(url):
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def until(holds, process, what, patience_s=180):
    """Poll; a process that ends before fails the test with its words."""
    deadline = time.monotonic() + patience_s
    while not holds():
        if process.poll() is not None:
            said = process.stderr.read() if process.stderr else ""
            pytest.fail(f"{what}: ended with {process.returncode} before; it said {said!r}")
        if time.monotonic() > deadline:
            os.killpg(process.pid, signal.SIGKILL)
            pytest.fail(f"{what}: not within {patience_s} s")
        time.sleep(0.1)


@pytest.fixture
def cli(tmp_path):
    """The command line over an empty home."""
    return Cli(tmp_path / "home")


@pytest.fixture
def inside(monkeypatch, capsys):
    """Gives `assay` over a home in this process: code, stdout, stderr."""
    before = dict(os.environ)
    for name in CONFIGURED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(ROOT)

    def over(home):
        monkeypatch.setenv("ASSAY_HOME", str(home))

        def run(*arguments):
            capsys.readouterr()
            code = main(list(map(str, arguments)))
            said = capsys.readouterr()
            return code, said.out, said.err

        return run

    yield over
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def here(first, inside):
    """Runs a command in this process, over the home of the first run."""
    return inside(first.cli.home)


@pytest.fixture
def say(inside, tmp_path):
    """Runs a command in this process, over an empty home."""
    return inside(tmp_path / "home")


@pytest.fixture
def ask_json(here):
    """Runs a command with --json in this process; its document, whatever its exit code."""

    def run(*arguments):
        _, out, err = here(*arguments, "--json")
        assert out, err
        return json.loads(out)

    return run
