"""How is all evidence about one version laid out as files, and bound by one digest?

A part lies in `<name>/<first digits of its digest>/`, so evidence that is added later never
overwrites what an earlier decision rests on. `index-<digits>.json` names the subject, what
is said about it and the digest of each part's sheet, which in turn holds the digest of its
records: the digest of the index binds everything.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from audits.errors import EvidenceError, MeasureError
from audits.evidence import Evidence, Measure
from audits.settings import Settings
from registry import parts

PLACE = re.compile(
    r"evidence/(index-[0-9a-f]{12}\.json"
    rf"|[^/]+/[0-9a-f]{{12}}/({re.escape(parts.SHEET)}|{re.escape(parts.RECORDS)}))"
)
"""Where a file of a bundle may lie among a run's artifacts."""
ORIGIN = ("parent", "recipe", "data", "lineage", "model_artifact", "base_model")
"""What is said of how weights were made: true only together."""


class _Index(Settings):
    format: Literal[1] = 1
    subject: str
    about: dict[str, object]
    parts: dict[str, str]


def write(evidence: Evidence, folder: Path) -> str:
    """Write evidence into an empty folder; returns its digest. Equal evidence, equal bytes.

    Raises:
        MeasureError: something in it cannot be stored.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sheets: dict[str, str] = {}
    for name, part in sorted(evidence.parts.items()):
        if name != part.name:
            raise MeasureError(f"part {part.name!r} is filed under {name!r}")
        aside = folder / name / "aside"
        parts.write(part, aside)
        sheets[name] = _digest((aside / parts.SHEET).read_bytes())
        aside.rename(_home(folder, name, sheets[name]))
    index = {
        "format": 1,
        "subject": evidence.subject,
        "about": dict(evidence.about),
        "parts": sheets,
    }
    try:
        raw = json.dumps(index, indent=1, sort_keys=True, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise MeasureError(f"what is said of the model is no finite JSON, {error}") from error
    digest = _digest(raw)
    _index(folder, digest).write_bytes(raw)
    return digest


def read(folder: Path, digest: str) -> Evidence:
    """Read evidence back, checking every digest below `digest`.

    Raises:
        EvidenceError: missing, truncated, altered, or evidence that is not listed.
    """
    index = _read_index(folder, digest)
    found = [parts.read(_home(folder, name, sheet)) for name, sheet in index.parts.items()]
    return replace(Evidence.gather(index.subject, found, index.about), kept=digest)


def records(folder: Path, digest: str) -> dict[str, str]:
    """The digest of each part's records, by the part's name: which evidence this is.

    Raises:
        EvidenceError: an index or a sheet is missing or altered.
    """
    index = _read_index(folder, digest)
    return {
        name: parts.records_digest(_home(folder, name, sheet))
        for name, sheet in index.parts.items()
    }


def bases(folder: Path, digest: str) -> dict[str, str]:
    """The basis of each part, by the part's name: which question it answers.

    Raises:
        EvidenceError: an index or a sheet is missing or altered.
    """
    index = _read_index(folder, digest)
    return {
        name: parts.basis(_home(folder, name, sheet)) for name, sheet in index.parts.items()
    }


def _read_index(folder: Path, digest: str) -> _Index:
    path = _index(folder, digest)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise EvidenceError(f"{path}: missing; publish the version again") from error
    if _digest(raw) != digest:
        raise EvidenceError(f"{path}: differs from the digest the version was sealed with")
    try:
        index = _Index.model_validate_json(raw)
    except ValidationError as error:
        raise EvidenceError(f"{path}: not in a known format") from error
    for name, sheet in index.parts.items():
        place = _home(folder, name, sheet) / parts.SHEET
        if not place.is_file() or _digest(place.read_bytes()) != sheet:
            raise EvidenceError(f"{place}: differs from its digest in {path.name}")
    return index


def join(old: Evidence | None, new: Evidence) -> Evidence:
    """New evidence over old about the same weights: parts of one name are replaced.

    The parent stays who it was, with all that says how the weights were made from it: what fell
    behind its parent could be made again from a worse one, that rounds to the same. Nobody is
    their own parent.

    Raises:
        EvidenceError: the two are about different weights.
    """
    if old is None:
        return new
    if old.subject != new.subject:
        raise EvidenceError(
            f"evidence about {new.subject[:12]} does not belong to {old.subject[:12]}"
        )
    both = {**old.parts, **new.parts}
    about = {**old.about, **new.about}
    if old.about.get("parent") not in (None, "", new.subject):
        made = {k: v for k, v in old.about.items() if k in ORIGIN}
        about = {k: v for k, v in about.items() if k not in ORIGIN} | made
    if about.get("parent") == new.subject:
        del about["parent"]
    return Evidence.gather(new.subject, both.values(), about)


def metrics(measures: Mapping[str, Measure]) -> dict[str, float]:
    """Measures with their intervals as flat numbers: `name`, `.low`, `.high`, `.n`."""
    flat: dict[str, float] = {}
    for name, m in measures.items():
        plain = name.replace("+", "_plus")  # the one sign of our names that MLflow refuses
        flat |= {plain: m.value, f"{plain}.low": m.low, f"{plain}.high": m.high}
        flat[f"{plain}.n"] = float(m.n)
    return flat


def _home(folder: Path, name: str, sheet: str) -> Path:
    return folder / name / sheet[:12]


def _index(folder: Path, digest: str) -> Path:
    return folder / f"index-{digest[:12]}.json"


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
