"""Write a dataset folder: sets as JSON lines, and the manifest that names them."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from tasks.dataset import MANIFEST

Rows = Iterable[Mapping[str, object]]


def write_set(folder: Path, name: str, rows: Rows, about: str) -> dict[str, object]:
    """Write one set as `<name>.jsonl`; return its entry for the manifest."""
    file = folder / f"{name}.jsonl"
    n = 0
    with file.open("w", encoding="utf-8", newline="\n") as stream:
        for row in rows:
            # ASCII escapes keep every row on one line whatever a document holds.
            stream.write(json.dumps(row, allow_nan=False) + "\n")
            n += 1
    return {"file": file.name, "format": "jsonl", "rows": n, "about": about}


def write_manifest(folder: Path, content: Mapping[str, object]) -> None:
    """Write the manifest; keys are sorted, so equal content gives equal bytes."""
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False)
    (folder / MANIFEST).write_text(text + "\n", "utf-8")
