"""How is a measured part kept on disk, so that a stranger can read it and trust it?

A part is two files. `records.parquet` holds the records; `part.json` holds the declarations,
the ids that were expected, the basis, and the digest of the records beside it.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from audits.errors import EvidenceError, MeasureError
from audits.estimand import Declared
from audits.evidence import KEYS, Part
from audits.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

SHEET = "part.json"
RECORDS = "records.parquet"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")


class _Sheet(Settings):
    """Everything about a part but its records."""

    format: Literal[1] = 1
    name: str
    kind: str
    basis: str
    conditions: dict[str, str | int | float | bool]
    notes: dict[str, object]
    declared: tuple[Declared, ...]
    expected: tuple[str, ...]
    rows: int
    records: str
    """sha256 of the records file."""


def write(part: Part, folder: Path) -> None:
    """Write `part` into `folder`: equal parts give equal bytes.

    The sheet is written last, so a folder without one holds no part. The order of the
    records is kept, their index is not.

    Raises:
        MeasureError: the name is no plain name, or notes or records cannot be stored.
    """
    if not NAME.fullmatch(part.name):
        raise MeasureError(
            f"{part.name!r} cannot name a part: use letters, digits and _ . + - only"
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SHEET).unlink(missing_ok=True)
    _write_records(part, folder / RECORDS)
    sheet = {
        "format": 1,
        "name": part.name,
        "kind": part.kind,
        "basis": part.basis,
        "conditions": dict(part.conditions),
        "notes": dict(part.notes),
        "declared": [d.model_dump(mode="json") for d in part.declared],
        "expected": list(part.expected),
        "rows": len(part.records),
        "records": _digest(folder / RECORDS),
    }
    try:
        text = json.dumps(sheet, indent=1, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise MeasureError(
            f"{part.name}: notes and conditions must be plain finite JSON, {error}"
        ) from error
    aside = folder / f"{SHEET}.aside"
    aside.write_text(text + "\n", "utf-8")
    aside.replace(folder / SHEET)


def read(folder: Path) -> Part:
    """Read a part back, refusing anything that is not exactly what `write` left.

    Raises:
        EvidenceError: a file is missing, truncated, altered, or not in this format.
    """
    sheet = _read_sheet(folder / SHEET)
    where = folder / RECORDS
    if not where.is_file():
        raise EvidenceError(f"{where}: the records are missing; measure {sheet.name} again")
    if _digest(where) != sheet.records:
        raise EvidenceError(
            f"{where}: the records differ from their digest in {SHEET}; "
            f"measure {sheet.name} again"
        )
    records = _read_records(where)
    if len(records) != sheet.rows:
        raise EvidenceError(f"{where}: {len(records)} records where {sheet.rows} were written")
    return Part(
        name=sheet.name,
        kind=sheet.kind,
        declared=sheet.declared,
        expected=sheet.expected,
        records=records,
        basis=sheet.basis,
        conditions=sheet.conditions,
        notes=sheet.notes,
    )


def records_digest(folder: Path) -> str:
    """Digest of a part's records, as its sheet says it; the records are not read.

    Raises:
        EvidenceError: the sheet is missing or not in this format.
    """
    return _read_sheet(folder / SHEET).records


def basis(folder: Path) -> str:
    """The question a part answers, as its sheet says it; the records are not read.

    Raises:
        EvidenceError: the sheet is missing or not in this format.
    """
    return _read_sheet(folder / SHEET).basis


def read_all(folder: Path) -> tuple[Part, ...]:
    """Every part in the folders below `folder`, by name.

    Raises:
        EvidenceError: a folder holds something that is not a whole part.
    """
    if not folder.is_dir():
        raise EvidenceError(f"{folder}: there is no evidence here")
    return tuple(read(home) for home in sorted(folder.iterdir()) if home.is_dir())


def _write_records(part: Part, path: Path) -> None:
    """Plain columns without pandas' own metadata: its version must not change the bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if missing := [key for key in KEYS if key not in part.records]:
        raise MeasureError(f"{part.name}: records have no column {missing[0]!r}")
    try:
        table = pa.Table.from_pandas(part.records, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise MeasureError(f"{part.name}: records cannot be stored, {error}") from error
    table = _plain(table).replace_schema_metadata(None)
    pq.write_table(table, path, compression="zstd", use_dictionary=True, version="2.6")


def _plain(table: "pa.Table") -> "pa.Table":
    """One width for text and for nothing, whatever pandas called it; the keys are text."""
    import pyarrow as pa

    def plain(field: "pa.Field") -> "pa.Field":
        kind = field.type
        if field.name in KEYS or pa.types.is_large_string(kind):
            return pa.field(field.name, pa.string())
        if pa.types.is_null(kind):
            return pa.field(field.name, pa.float64())
        return pa.field(field.name, kind)

    return table.cast(pa.schema([plain(field) for field in table.schema]))


def _read_records(path: Path) -> "pd.DataFrame":
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        frame: pd.DataFrame = pq.read_table(path, partitioning=None).to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise EvidenceError(f"{path}: not a readable records file, {error}") from error
    if missing := [key for key in KEYS if key not in frame]:
        raise EvidenceError(f"{path}: the records have no column {missing[0]!r}")
    return frame


def _read_sheet(path: Path) -> _Sheet:
    try:
        return _Sheet.model_validate_json(path.read_bytes())
    except OSError as error:
        raise EvidenceError(f"{path}: missing or unreadable; measure again") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "file"
        raise EvidenceError(
            f"{path}: {place} is not what was written ({first['msg']}); measure again"
        ) from error


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
