"""Processes that promote at once: exactly one champion, everyone else plainly refused."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from datetime import date
from pathlib import Path

import pytest

from registry.mlflow_store import open_store
from registry.testing import evidence, facts, rights
from registry.verifying import verify

RACER = Path(__file__).with_name("racer.py")
TODAY = date(2026, 11, 24)


def judged(store, publication, judge, runners):
    parent = store.begin("tests", "race")
    numbers = []
    for at in range(runners):
        known = evidence(f"{at:064x}", facts(rights(500, 5 + at)))
        version = store.publish(publication(known), parent=parent)
        judge(store, version)
        numbers.append(version.number)
    return numbers


def race(uri, roots, numbers):
    """What each process said, in the order of the numbers.

    Each has a lock file of its own (`roots`): what keeps them apart is the history alone.
    """
    runners = [f"{root}={number}" for root, number in zip(roots, numbers, strict=True)]
    done = subprocess.run(
        [sys.executable, str(RACER), uri, "toy", *runners],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def one_champion(store, numbers, said):
    (winner,) = (n for n, s in zip(numbers, said, strict=True) if s == "champion")
    losers = [s for s in said if s != "champion"]
    assert len(losers) == len(numbers) - 1
    for one in losers:
        assert one.startswith("refused: toy/"), one
        assert f"the champion is version {winner} and no longer none" in one
    assert store.resolve("toy", "champion").number == winner
    chain = store.history("toy")
    assert [e.version for e in chain.entries if e.kind == "promotion"] == [winner]
    found = verify(store, "toy", "champion", today=TODAY)
    assert found.problems == ()


@pytest.mark.parametrize("runners", [2, 8])
def test_on_one_database_one_wins(open_again, publication, judge, tmp_path, runners):
    store = open_again()
    numbers = judged(store, publication, judge, runners)
    roots = [tmp_path / f"root{at}" for at in range(runners)]
    said = race(f"sqlite:///{tmp_path}/assay.db", roots, numbers)
    one_champion(store, numbers, said)


@pytest.fixture(scope="module")
def server(empty_registry, tmp_path_factory):
    """A real `mlflow server` over SQLite that keeps the artifacts itself."""
    home = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (home / "log").open("w")
    process = subprocess.Popen(
        [
            str(Path(sys.executable).with_name("mlflow")), "server", "--host", "127.0.0.1",
            "--port", str(port), "--workers", "2",
            "--backend-store-uri", f"sqlite:///{home}/server.db",
            "--artifacts-destination", str(home / "artifacts"),
        ],
        stdout=log, stderr=subprocess.STDOUT, cwd=home, start_new_session=True,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(address, process, home / "log")
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # nothing of it is kept
        process.wait(timeout=30)
        log.close()


def wait_for(address, process, log):
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return
        except OSError:
            assert process.poll() is None, log.read_text("utf-8")[-2000:]
            time.sleep(0.2)
    pytest.fail(f"no server after two minutes: {log.read_text('utf-8')[-2000:]}")


def test_on_one_server_one_wins_and_all_of_it_verifies(server, publication, judge, tmp_path):
    store = open_store(server)
    numbers = judged(store, publication, judge, 4)
    said = race(server, [tmp_path] * 4, numbers)
    one_champion(store, numbers, said)
    champion = store.resolve("toy", "champion")
    # What is altered on the server is found from here too.
    store._backend.describe(champion, tags={"assay.spec": "x"})
    (problem,) = verify(store, "toy", "champion", today=TODAY).problems
    assert "the tag assay.spec was altered from 's1' to 'x'" in problem
    store._backend.describe(store.version("toy", champion.number), tags={"assay.spec": "s1"})
    folder = tmp_path / "other"
    (folder / "run").mkdir(parents=True)
    (folder / "run" / "more.txt").write_text("x", "utf-8")
    store._backend.upload(champion.run, folder)
    (problem,) = verify(store, "toy", "champion", today=TODAY).problems
    assert "the file run/more.txt was added after the seal" in problem
