"""Promotes one version as soon as a file appears; prints how that ended. Run as a process.

usage: racer.py URI ARTIFACT_ROOT NAME NUMBER GO
"""

import sys
import time
from pathlib import Path

from audits.errors import GateRefused
from registry.mlflow_store import open_store


def main() -> None:
    uri, root, name, number, go = sys.argv[1:]
    store = open_store(uri, Path(root))
    version = store.version(name, number)
    decision = store.decision(version)
    print("ready", flush=True)  # noqa: T201 - the test reads it
    while not Path(go).exists():
        time.sleep(0.001)
    try:
        store.promote(version, decision, expected_champion=None)
        print("champion")  # noqa: T201
    except GateRefused as refusal:
        print(f"refused: {refusal}")  # noqa: T201


if __name__ == "__main__":
    main()
