"""What do 10,000 entries cost? Reading the history of one model, and verifying its chain."""

import json
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

from registry.history import Entry, replay
from registry.mlflow_store import ENTRY, open_store
from registry.retracing import verify_chain
from registry.store import HISTORY

NAME = "bench"


def history(entries: int = 10_000) -> dict[str, object]:
    """Seconds to read, to verify and to append to a history on SQLite; three runs each."""
    with tempfile.TemporaryDirectory() as home:
        store = open_store(f"sqlite:///{home}/assay.db")
        texts = _texts(entries)
        _insert(Path(home) / "assay.db", texts)
        chain = store.history(NAME)
        assert len(chain.entries) == entries
        store._backend.mark(NAME, "assay.history", chain.anchor)
        store._backend.point(NAME, "champion", "1")
        checks = _verify(store)
        assert all(check.ok for check in checks), [c.said for c in checks if not c.ok]
        return {
            "entries": entries,
            "history_s": _seconds(lambda: store.history(NAME)),
            "verify_history_s": _seconds(lambda: _verify(store)),
            "replay_alone_s": _seconds(lambda: replay(NAME, list(enumerate(texts, 1)))),
            "append_s": _seconds(lambda: store._backend.append("other", texts[0])),
        }


def _verify(store):
    """As `assay history` does: the chain read, beside the heads that are remembered."""
    held = store.anchors(NAME)
    return verify_chain(store, store.history(NAME), held)


def _texts(entries: int) -> list[str]:
    """Judged, promoted, and judged again every night since: a chain that breaks no rule."""
    texts: list[str] = []
    before = ""
    for seq in range(1, entries + 1):
        kind = "promotion" if seq == 2 else "decision"
        entry = Entry(
            seq=seq, at="2026-11-24T00:00:00Z", kind=kind, model=NAME, version="1",
            weights="a" * 64, evidence="b" * 64, seal="c" * 64, policy="d" * 64,
            verdict="pass", before=before,
        )  # fmt: skip
        texts.append(entry.text)
        before = entry.digest
    return texts


def _insert(database: Path, texts: list[str]) -> None:
    """Rows as MLflow writes them; through it they would take minutes."""
    with sqlite3.connect(database) as held:
        models = [(NAME,), (NAME + HISTORY,)]
        held.executemany("insert into registered_models (name) values (?)", models)
        rows = [(NAME + HISTORY, at, text) for at, text in enumerate(texts, 1)]
        held.executemany(
            "insert into model_versions (name, version, description, source, creation_time, "
            f"last_updated_time, current_stage, status) values (?, ?, ?, '{ENTRY}', 0, 0, "
            "'None', 'READY')",
            rows,
        )
        held.execute(
            "insert into model_versions (name, version, source, creation_time, "
            "last_updated_time, current_stage, status) "
            "values (?, 1, '', 0, 0, 'None', 'READY')",
            (NAME,),
        )


def _seconds(call) -> dict[str, list[float]]:
    """Wall seconds, and those that this process had a core: others share the machine."""
    wall, core = [], []
    for _ in range(3):
        began, worked = time.perf_counter(), time.process_time()
        call()
        wall.append(round(time.perf_counter() - began, 3))
        core.append(round(time.process_time() - worked, 3))
    return {"wall": wall, "core": core}


if __name__ == "__main__":
    print(json.dumps(history(), indent=1))
    sys.exit(0)
