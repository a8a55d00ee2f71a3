"""Where a version's files lie among its run's artifacts."""

import hashlib
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
LOADED = "model/registered_model_meta"
"""MLflow writes it into the folder in place whenever it loads a version by its name."""
EVIDENCE = "evidence"
CARD = "card.md"
DECISION = "decision.json"
POLICY = "policy.json"
SEAL = "seal.json"
"""Of the last decision."""
SIGNATURE = "seal.sig"
DECISIONS, POLICIES, SEALS = "decisions", "policies", "seals"
"""Where every one that ever was is kept, as `<first digits of its digest>.json`."""


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


def document(data: Mapping[str, object]) -> bytes:
    """Plain data as a file that people can read; equal data, equal bytes."""
    text = json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def keep(folder: Path, name: str, shelf: str, raw: bytes) -> str:
    """Write what is current under its name, and on a shelf under its digest; returns that."""
    digest = hashlib.sha256(raw).hexdigest()
    shelve(folder, f"{shelf}/{digest[:12]}{Path(name).suffix}", raw)
    (folder / name).write_bytes(raw)
    return digest


def shelve(folder: Path, place: str, raw: bytes) -> None:
    """Write a file on a shelf."""
    kept = folder / place
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(raw)


def kept(folder: Path, shelf: str, digest: str) -> dict[str, object]:
    """A document from a shelf, verified against its digest.

    Raises:
        EvidenceError: missing, altered, or no document.
    """
    path = folder / shelf / f"{digest[:12]}.json"
    where = f"{shelf}/{path.name}"
    try:
        raw = path.read_bytes()
        found: dict[str, object] = json.loads(raw)
    except (OSError, ValueError) as error:
        raise EvidenceError(f"{where}: missing or no document; restore it") from error
    if hashlib.sha256(raw).hexdigest() != digest:
        raise EvidenceError(f"{where}: it was altered since it was sealed; restore it")
    return found


def read_decision(path: Path, version: Version) -> Decision:
    """A stored decision.

    Raises:
        EvidenceError: unreadable, altered, or about other weights than the version's.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise EvidenceError(f"{path}: not a readable decision; judge again") from error
    decision = Decision.from_json(found, str(path))
    belongs(version, decision)
    return decision


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
