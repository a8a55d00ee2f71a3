"""Where a version's files lie among its run's artifacts."""

import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

from audits.errors import EvidenceError, MeasureError, SpecError
from registry.gate import Decision
from registry.store import Version, belongs

T = TypeVar("T")

MODEL = "model"
"""The folder MLflow loads; the weights lie in `model/data/model`."""
DATA = "model/data/model"
EVIDENCE = "evidence"
CARD = "card.md"
DECISION = "decision.json"
POLICY = "policy.json"


def gather(artifacts: Mapping[str, Path], folder: Path) -> None:
    """Copy files and folders to the places their keys name below `folder`.

    Raises:
        SpecError: a key that leaves the folder, or a source that is not there.
    """
    for key, source in artifacts.items():
        place = PurePosixPath(key)
        if place.is_absolute() or not place.parts or ".." in place.parts:
            raise SpecError(f"artifact {key!r}: give a relative path inside the run")
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        elif source.is_file():
            shutil.copyfile(source, target)
        else:
            raise SpecError(f"artifact {key!r}: {source} is not there")


def write_decision(
    folder: Path, decision: Decision, policy: Mapping[str, object] | None
) -> None:
    """Write the decision, and the policy it applied, into a folder."""
    _write(folder / DECISION, decision.as_json())
    if policy is not None:
        _write(folder / POLICY, policy)


def read_decision(path: Path, version: Version) -> Decision:
    """A stored decision.

    Raises:
        EvidenceError: unreadable, altered, or about other weights than the version's.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise EvidenceError(f"{path}: not a readable decision; judge again") from error
    found = Decision.from_json(document, str(path))
    belongs(version, found)
    return found


def _write(path: Path, document: Mapping[str, object]) -> None:
    text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", "utf-8")


def finite(name: str, value: float) -> float:
    """The value of a metric.

    Raises:
        MeasureError: NaN or infinite, which no measurement is.
    """
    if not math.isfinite(value):
        raise MeasureError(f"{name}: {value} is no measurement")
    return float(value)


def chunks(items: Sequence[T], size: int) -> Iterator[list[T]]:
    """Lists of at most `size` items."""
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
