"""Read data sets in the formats people have them, and say where one cannot be read."""

import csv
import gzip
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from audits.errors import SpecError

Row = dict[str, object]

_STORY = re.compile(r"(?<!\n)\n(?!\n)")
_BLANK = re.compile(r"\n\s*\n")
# Sections have more signs (` = = Life = = `); formulas end in one, but follow text.
_ARTICLE = re.compile(r"^[^\S\n]*\n(?= = [^=\n]+ = \n[^\S\n]*\n)", re.MULTILINE)


def read_text(file: Path) -> str:
    """The text of a UTF-8 file; SpecError with line and byte where it is none."""
    if not file.is_file():
        raise SpecError(f"{file} does not exist; give the path of a .txt, .jsonl or .csv file")
    raw = file.read_bytes()
    if file.suffix == ".gz":
        raw = gzip.decompress(raw)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise SpecError(
            f"{file}, line {line}: byte {raw[error.start]:#04x} is not UTF-8; save the file "
            f"as UTF-8"
        ) from error
    if not text.strip():
        raise SpecError(f"{file} is empty; give a file with text")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def documents(text: str, split: str) -> list[Row]:
    """Documents of a text; the id of each is the number of the line on which it starts.

    `lines`: one per line. `stories`: single newlines part stories, blank lines only their
    paragraphs. `paragraphs`: blank lines part documents. `articles`: headings of WikiText's
    first level begin documents. `whole`: one document. What is blank between documents is
    no document.
    """
    parts = {
        "lines": _lines,
        "stories": _stories,
        "paragraphs": _paragraphs,
        "articles": _articles,
        "whole": _whole,
    }
    found: list[Row] = []
    line, counted = 1, 0
    for start, part in parts[split](text):
        if part.strip():
            begin = start + len(part) - len(part.lstrip("\n"))
            line += text.count("\n", counted, begin)
            counted = begin
            found.append({"id": f"line{line}", "text": part.strip("\n")})
    return found


def items(file: Path, form: str) -> list[Row]:
    """Rows of a table or list; each gets an `id` (its own, or its number from 0).

    `json` is a list of objects; `nested` is group → name → prompts (the shape of BOLD);
    `stereoset` is an object whose `data` holds lists of objects by split.
    """
    text = read_text(file)
    readers: dict[str, Callable[[str, Path], Iterator[Mapping[str, object]]]] = {
        "jsonl": _jsonl,
        "jsonl.gz": _jsonl,
        "json": _json,
        "nested": _nested,
        "stereoset": _stereoset,
        "csv": _csv,
        "tsv": _tsv,
    }
    rows = list(readers[form](text, file))
    return [_identified(row, at) for at, row in enumerate(rows)]


def _identified(row: Mapping[str, object], at: int) -> Row:
    # A column without a name is the index that pandas writes.
    named = {key: value for key, value in row.items() if key}
    own = row.get("id", row.get(""))
    return {**named, "id": str(at) if own in (None, "") else str(own)}


def _lines(text: str) -> Iterator[tuple[int, str]]:
    start = 0
    for line in text.split("\n"):
        yield start, line
        start += len(line) + 1


def _stories(text: str) -> Iterator[tuple[int, str]]:
    return _cut(text, _STORY)


def _paragraphs(text: str) -> Iterator[tuple[int, str]]:
    return _cut(text, _BLANK)


def _articles(text: str) -> Iterator[tuple[int, str]]:
    return _cut(text, _ARTICLE)


def _whole(text: str) -> Iterator[tuple[int, str]]:
    yield 0, text


def _cut(text: str, border: re.Pattern[str]) -> Iterator[tuple[int, str]]:
    start = 0
    for match in border.finditer(text):
        yield start, text[start : match.start()]
        start = match.end()
    yield start, text[start:]


def _jsonl(text: str, file: Path) -> Iterator[Mapping[str, object]]:
    for at, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise SpecError(f"{file}, line {at}: no JSON ({error}); mend the line") from error
        if not isinstance(row, dict):
            raise SpecError(
                f"{file}, line {at}: a {type(row).__name__} where an object is expected; "
                f"write one JSON object per line"
            )
        yield row


def _json(text: str, file: Path) -> Iterator[Mapping[str, object]]:
    found = _parsed(text, file)
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise SpecError(f"{file} is no list of JSON objects; write one")
    yield from found


def _nested(text: str, file: Path) -> Iterator[Mapping[str, object]]:
    found = _parsed(text, file)
    if not isinstance(found, dict) or not all(isinstance(v, dict) for v in found.values()):
        raise SpecError(f"{file} is not group → name → prompts; write it so")
    for group, people in found.items():
        for name, prompts in people.items():
            for prompt in prompts:
                yield {"group": group, "name": name, "prompt": prompt}


def _stereoset(text: str, file: Path) -> Iterator[Mapping[str, object]]:
    found = _parsed(text, file)
    splits = found.get("data") if isinstance(found, dict) else None
    if not isinstance(splits, dict) or not all(isinstance(v, list) for v in splits.values()):
        raise SpecError(f"{file} has no data → split → list of items; give StereoSet's file")
    for split, rows in splits.items():
        for row in rows:
            yield {**row, "split": split}


def _parsed(text: str, file: Path) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise SpecError(f"{file} is no JSON ({error}); mend it") from error


def _csv(text: str, file: Path) -> Iterator[Mapping[str, object]]:
    return _table(csv.reader(io.StringIO(text, newline=""), strict=True), file)


def _tsv(text: str, file: Path) -> Iterator[Mapping[str, object]]:
    plain = csv.reader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    return _table(plain, file)


def _table(cells: "Iterator[list[str]]", file: Path) -> Iterator[Mapping[str, object]]:
    try:
        header = next(cells)
        for at, row in enumerate(cells, start=1):
            if row and len(row) != len(header):
                raise SpecError(
                    f"{file}, row {at}: {len(row)} cells under {len(header)} headings; mend "
                    f"the row"
                )
            if row:
                yield dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise SpecError(f"{file} is no table ({error}); mend it") from error
