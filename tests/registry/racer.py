"""Promotes versions at the same moment, one process for each; prints how each ended, as JSON.

The processes are forked once MLflow is imported: eight imports would be most of the time.

usage: racer.py URI NAME ROOT=NUMBER...
"""

import json
import multiprocessing
import sys
from pathlib import Path

import mlflow.store.model_registry.sqlalchemy_store
import mlflow.store.tracking.sqlalchemy_store  # noqa: F401 - what the registry imports late

from audits.errors import GateRefused
from registry.mlflow_store import open_store

FORK = multiprocessing.get_context("fork")
PATIENCE_S = 240


def promote(start, uri, name, root, number):
    store = open_store(uri, Path(root))
    version = store.version(name, number)
    decision = store.decision(version)
    start.wait(PATIENCE_S)
    try:
        store.promote(version, decision, expected_champion=None)
    except GateRefused as refusal:
        return f"refused: {refusal}"
    return "champion"


def run(said, *asked):
    said.send(promote(*asked))


def main() -> None:
    uri, name, *runners = sys.argv[1:]
    start = FORK.Barrier(len(runners))
    races = []
    for runner in runners:
        root, _, number = runner.rpartition("=")
        heard, said = FORK.Pipe(duplex=False)
        process = FORK.Process(target=run, args=(said, start, uri, name, root, number))
        process.start()
        said.close()  # so that a runner that dies is heard as an end, and not waited for
        races.append((process, heard))
    print(json.dumps([heard.recv() for _, heard in races]))  # noqa: T201 - the test reads it
    for process, _ in races:
        process.join()


if __name__ == "__main__":
    main()
