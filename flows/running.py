"""Run the pipeline from the command line: check first, then hand over to Prefect."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows.checking import require_sound
from flows.failing import Unfinished
from flows.home import Home, open_registry
from flows.prefect_server import PrefectServer
from flows.spec import load_spec


def run_pipeline(path: Path, changes: Sequence[str], home: Home) -> dict[str, Any]:
    """Check the run file, then run the flow; a person's mistake never reaches Prefect.

    Returns what the flow does, with the candidates that `failed`: it is shown before the
    command fails as the flow did (`complain`).

    Where no Prefect server is configured, a temporary one serves this run alone.
    """
    began = time.perf_counter()
    spec = load_spec(path, changes)
    require_sound(spec, home)
    with _prefect(home):
        from flows.pipeline import pipeline

        startup = time.perf_counter() - began
        try:
            outcome = pipeline(
                run_file=str(path), changes=list(changes), keep_scores=home.keeps_scores
            )
        except Unfinished as unfinished:
            outcome = unfinished.outcome
    _charge(outcome["answer"]["overhead"], startup)
    return outcome


@contextmanager
def _prefect(home: Home) -> Iterator[None]:
    """A server to talk to. MLflow and Prefect are imported while it starts."""
    if "PREFECT_API_URL" in os.environ:
        yield
        return
    server = PrefectServer.temporary(home.root / "logs" / "prefect-server.log")
    os.environ["PREFECT_API_URL"] = server.url
    try:
        import flows.pipeline  # noqa: F401 - imported now, used below

        open_registry(home)
        server.wait()
        yield
    finally:
        del os.environ["PREFECT_API_URL"]
        server.stop()


def _charge(overhead: dict[str, float], startup: float) -> None:
    """Count what came before the first stage as the house's own time."""
    wall = overhead["wall_s"] + startup
    house = overhead["prefect_and_hashing_s"] + overhead["mlflow_s"] + startup
    overhead.update(
        wall_s=round(wall, 2), startup_s=round(startup, 2), share=round(house / wall, 4)
    )
