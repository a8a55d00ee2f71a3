"""How every stage reads a dataset artifact: a manifest and named sets of rows."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path

from audits.errors import EvidenceError, SpecError

MANIFEST = "manifest.json"
UNREADABLE = "unreadable; make the dataset again with the data stage"


def manifest(folder: Path) -> dict[str, object]:
    """What the dataset says of itself: kind, sets, truth.

    `sets` maps a name to `{"file", "format", "rows", "about"}`; `truth` holds what the
    generator knows (counts, planted ratios), or is empty for data found elsewhere.

    Raises:
        SpecError: the folder holds no dataset.
        EvidenceError: its manifest cannot be read.
    """
    file = folder / MANIFEST
    if not file.is_file():
        raise SpecError(f"{folder} is no dataset: it has no {MANIFEST}; name a dataset folder")
    try:
        found = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise EvidenceError(f"{file} is {UNREADABLE} ({error})") from error
    if not isinstance(found, dict) or not isinstance(found.get("sets"), dict):
        raise EvidenceError(f"{file} is {UNREADABLE} (it names no sets)")
    return found


def has(folder: Path, name: str) -> bool:
    """Whether the dataset holds a set of this name."""
    return name in _sets(folder)


def set_names(folder: Path) -> tuple[str, ...]:
    """Names of the sets a dataset holds."""
    return tuple(_sets(folder))


def rows(folder: Path, name: str) -> list[dict[str, object]]:
    """Every row of a set, in file order; a text file gives `{"id", "text"}` per line.

    Raises:
        SpecError: no set of this name; the message lists those there are.
        EvidenceError: the file is missing, cannot be read, or has lost or gained rows.
    """
    entry = _entry(folder, name)
    file = folder / str(entry["file"])
    try:
        found = read_rows(file, str(entry["format"]))
    except (OSError, ValueError) as error:
        raise EvidenceError(f"set {name!r}: {file} is {UNREADABLE} ({error})") from error
    if len(found) != entry["rows"]:
        raise EvidenceError(
            f"set {name!r}: {file} holds {len(found)} rows where the manifest says "
            f"{entry['rows']}; make the dataset again with the data stage"
        )
    return found


def texts(folder: Path, name: str) -> list[str]:
    """The documents of a set, in file order; every row must have a `text`.

    Raises:
        SpecError: no set of this name, or its rows are no documents.
    """
    found = rows(folder, name)
    for row in found:
        if not isinstance(row.get("text"), str):
            raise SpecError(
                f"set {name!r} of {folder} holds no documents (row {row.get('id')!r} has no "
                f"text); name a set of documents"
            )
    return [str(row["text"]) for row in found]


def read_rows(file: Path, form: str) -> list[dict[str, object]]:
    """Rows of one file in a known format (`jsonl`, `csv`, `txt`); ValueError where bad."""
    with file.open(encoding="utf-8", newline="") as stream:
        if form == "csv":
            return [dict(row) for row in csv.DictReader(stream)]
        # Not splitlines: a document may hold U+2028 or U+0085, which end no row.
        lines = [line.rstrip("\r\n") for line in stream]
    if form == "jsonl":
        return [json.loads(line) for line in lines if line.strip()]
    if form == "txt":
        kept = [line for line in lines if line.strip()]
        return [{"id": str(at), "text": line} for at, line in enumerate(kept)]
    raise ValueError(f"unknown format {form!r}")


def _sets(folder: Path) -> Mapping[str, Mapping[str, object]]:
    sets = manifest(folder)["sets"]
    assert isinstance(sets, dict)  # manifest() has looked
    return sets


def _entry(folder: Path, name: str) -> Mapping[str, object]:
    sets = _sets(folder)
    if name not in sets:
        known = ", ".join(sorted(sets)) or "none"
        raise SpecError(f"{folder} has no set {name!r}; its sets are: {known}")
    return sets[name]
