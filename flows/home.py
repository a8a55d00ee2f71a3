"""Where things are on this machine, and the one place that reads the environment."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

QUIET: Mapping[str, str] = {
    # No library of ours calls home unless asked to.
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # What a person would otherwise read between our own lines.
    # A failure reaches the person as our one sentence; `serve` lets Prefect log.
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_CLI_PROMPT": "false",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "GIT_PYTHON_REFRESH": "quiet",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    # The temporary server takes 6 s on a quiet machine and more on a busy one.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
}


@dataclass(frozen=True, slots=True)
class Home:
    """Folders and addresses of one installation; every path is absolute.

    `data_roots` are searched for named sets, in order; `tracking_uri` is where MLflow
    keeps runs and versions.
    """

    root: Path
    data_roots: tuple[Path, ...]
    tracking_uri: str

    @property
    def artifacts(self) -> Path:
        """The artifact root: what stages sealed, and where they work."""
        return self.root / "artifacts"

    @property
    def cache(self) -> Path:
        """Data fetched by `assay data fetch`."""
        return self.root / "data"


def find_home(environment: Mapping[str, str] = os.environ) -> Home:
    """Read `ASSAY_HOME` (default `.assay` here), `ASSAY_DATA` and `MLFLOW_TRACKING_URI`."""
    root = Path(environment.get("ASSAY_HOME", ".assay")).expanduser().resolve()
    named = [Path(p).expanduser().resolve() for p in _split(environment.get("ASSAY_DATA", ""))]
    default = f"sqlite:///{root / 'mlflow.db'}"
    return Home(
        root, (*named, root / "data"), environment.get("MLFLOW_TRACKING_URI") or default
    )


def settle(home: Home) -> None:
    """Set the environment of this process before any library is imported.

    A Prefect server or profile that the user configured is left alone.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    home.root.mkdir(parents=True, exist_ok=True)
    if "PREFECT_HOME" not in os.environ:
        os.environ["PREFECT_HOME"] = str(home.root / "prefect")
    os.environ.setdefault("PREFECT_LOCAL_STORAGE_PATH", str(home.artifacts / "results"))
    os.environ.setdefault("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "true")


def _split(paths: str) -> list[str]:
    return [p for p in paths.split(os.pathsep) if p]


def talk(sentence: str) -> None:
    """Say something to the person on stderr; stdout is for machine output."""
    print(sentence, file=sys.stderr, flush=True)  # noqa: T201 - the one place that talks
