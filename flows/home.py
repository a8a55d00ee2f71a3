"""Where things are on this machine, and the one place that reads the environment."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from audits.errors import SpecError
from tasks.job import SCORES

if TYPE_CHECKING:
    from registry.versions import VersionStore

QUIET: Mapping[str, str] = {
    # No library of ours calls home unless asked to.
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Its server would start eight processes more, for jobs that nobody here asks of it.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
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
    signing_key: Path | None = None
    """Private key that decisions and the history are signed with."""
    keeps_scores: bool = True
    """Whether models may answer from, and add to, what they answered before."""

    @property
    def artifacts(self) -> Path:
        """The artifact root: what stages sealed, and where they work."""
        return self.root / "artifacts"

    @property
    def cache(self) -> Path:
        """Data fetched by `assay data fetch`."""
        return self.root / "data"

    @property
    def scoring(self) -> dict[str, str]:
        """What stages that ask a model are told of the score cache; empty without it."""
        return {SCORES: str(self.root / "scores")} if self.keeps_scores else {}


def find_home(environment: Mapping[str, str] = os.environ) -> Home:
    """Read where everything is from the environment.

    `ASSAY_HOME` (default `.assay` here), `ASSAY_DATA`, `MLFLOW_TRACKING_URI` and
    `ASSAY_SIGNING_KEY`.

    Raises:
        SpecError: one of them names no place: an unknown user's home, or a folder below one
            that was deleted.
    """
    root = _place("ASSAY_HOME", environment.get("ASSAY_HOME") or ".assay")
    named = [_place("ASSAY_DATA", p) for p in _split(environment.get("ASSAY_DATA", ""))]
    default = f"sqlite:///{root / 'mlflow.db'}"
    key = environment.get("ASSAY_SIGNING_KEY")
    return Home(
        root,
        (*named, root / "data"),
        environment.get("MLFLOW_TRACKING_URI") or default,
        _place("ASSAY_SIGNING_KEY", key) if key else None,
    )


def _place(variable: str, named: str) -> Path:
    try:
        return Path(named).expanduser().resolve()
    except (OSError, RuntimeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error).rstrip(".")
        raise SpecError(
            f"{variable}: {named!r} names no place ({why}); give a full path, or begin in a "
            "folder that is there"
        ) from error


def open_registry(home: Home) -> "VersionStore":
    """The registry of an installation; it signs where a key is configured.

    Raises:
        SpecError: nothing answers at its address, or the key is not there.
    """
    from registry.mlflow_store import open_store

    key = home.signing_key
    if key is not None and not key.is_file():
        raise SpecError(f"ASSAY_SIGNING_KEY: {key} is not there; name the private key (PEM)")
    return open_store(home.tracking_uri, home.root, key=key)


def settle(home: Home) -> None:
    """Set the environment of this process before any library is imported.

    A Prefect server or profile that the user configured is left alone.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        home.root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(
            f"ASSAY_HOME: {home.root} cannot be made ({error.strerror}); name a folder that "
            "may be written"
        ) from error
    if "PREFECT_HOME" not in os.environ:
        os.environ["PREFECT_HOME"] = str(home.root / "prefect")
    os.environ.setdefault("PREFECT_LOCAL_STORAGE_PATH", str(home.artifacts / "results"))
    os.environ.setdefault("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "true")


def _split(paths: str) -> list[str]:
    return [p for p in paths.split(os.pathsep) if p]


def talk(sentence: str) -> None:
    """Say something to the person on stderr; stdout is for machine output."""
    print(sentence, file=sys.stderr, flush=True)  # noqa: T201 - the one place that talks
