"""Gather named sets from the catalog or a user's files, check them, write a dataset."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from audits.errors import SpecError
from tasks.data import catalog, checks
from tasks.data.facts import fact_rows
from tasks.data.read import Row, documents, items, read_text
from tasks.data.settings import SetsData, Source
from tasks.data.write import write_manifest, write_set
from tasks.job import Job

TEXT_FORMATS = ("lines", "stories")
PROBES = (
    "prompt",
    "sent_more",
    "sent_less",
    "sentence_good",
    "sentence_bad",
    "sentence",
    "question",
    "query",
)
"""Fields of audit and benchmark rows that training text should not contain."""
PROBE_WORDS = 6
"""A shorter question also turns up by chance."""


def make_sets(settings: SetsData, job: Job, *, roots: Sequence[Path]) -> None:
    """Fill `job.out` with the sets asked for; failing documents are dropped and recorded.

    Raises:
        SpecError: a set is unknown, missing, or cannot be read.
        StageError: an expectation that stops the run does not hold.
        EvidenceError: a catalog file differs from its checksum.
    """
    found = {name: gather(name, source, roots) for name, source in settings.sets.items()}
    texts = {n: rows for n, rows in found.items() if "text" in rows[0]}
    others = [rows for name, rows in found.items() if name not in texts]
    kept = found | (checks.check(texts, _plan(settings, others), job) if texts else {})
    about = {name: _about(source) for name, source in settings.sets.items()}
    entries = {name: write_set(job.out, name, kept[name], about[name]) for name in found}
    if settings.calibration:
        chosen = settings.calibration
        require_text(chosen, settings.sets[chosen], found[chosen])
        # One file under two names: what quantization looks at is that set, not a copy.
        entries["calibration"] = entries[settings.calibration]
    origins = {name: _origin(source) for name, source in settings.sets.items()}
    content = {"kind": "sets", "sets": entries, "truth": {}, "origins": origins}
    write_manifest(job.out, content)
    job.note("origins", origins)


def gather(name: str, source: Source, roots: Sequence[Path]) -> list[Row]:
    """Rows of one set, as its source and its `skip`, `every`, `limit` say; never empty."""
    if source.joined:
        return _joined(name, source.joined, roots)
    rows = _catalogued(source, roots) if source.name else _own(name, source)
    chosen = rows[source.skip :: source.every][: source.limit]
    if twice := [i for i, n in Counter(str(row["id"]) for row in chosen).items() if n > 1]:
        raise SpecError(
            f"data: sets.{name}: id {twice[0]!r} stands on two rows; give each its own, or none"
        )
    if not chosen:
        raise SpecError(
            f"data: sets.{name}: skip {source.skip} leaves none of {len(rows)} rows; lower it"
        )
    return [_cut(row, source.max_chars) for row in chosen]


def _joined(name: str, sources: Mapping[str, Source], roots: Sequence[Path]) -> list[Row]:
    """Rows of all, each with its role; a line of a file of lines is no document here."""
    found = []
    for role, source in sources.items():
        for row in gather(f"{name}.joined.{role}", source, roots):
            text = {"line": row.pop("text")} if "text" in row else {}
            found.append({**row, **text, "role": role, "id": f"{role}/{row['id']}"})
    return found


def is_text(source: Source) -> bool:
    """Whether a source is made of documents whatever it holds."""
    if source.name:
        return catalog.entry(source.name).format in TEXT_FORMATS
    return source.path.endswith(".txt")


def require_text(name: str, source: Source, rows: Sequence[Row]) -> None:
    """Raise SpecError where the rows of a set are no documents, and say which field may be."""
    if "text" in rows[0]:
        return
    if source.name:
        raise SpecError(
            f"data: sets.{name}: {source.name} of the catalog holds no documents (its fields "
            f"are: {', '.join(sorted(rows[0]))}); name a set of text"
        )
    raise SpecError(_no_field(name, source, rows[0]))


def _no_field(name: str, source: Source, row: Row) -> str:
    fields = ", ".join(sorted(set(row) - {"id"})) or "none"
    what = "column" if source.path.endswith(".csv") else "field"
    return (
        f"data: sets.{name}: {source.path} has no {what} {source.text_field!r}, so it holds no "
        f"documents (its {what}s are: {fields}); give sets.{name}.text_field the one that is "
        f"the text"
    )


def _cut(row: Row, most: int | None) -> Row:
    """The row with its text, where it is a document, at most so many characters long."""
    text = row.get("text")
    if most is None or not isinstance(text, str) or len(text) <= most:
        return row
    end = text.rfind(" ", 0, most + 1)
    return {**row, "text": text[: end if end > 0 else most]}


def _catalogued(source: Source, roots: Sequence[Path]) -> list[Row]:
    entry = catalog.entry(source.name)
    file = catalog.locate(source.name, roots)
    if entry.format in TEXT_FORMATS:
        return documents(read_text(file), source.split or entry.format)
    return items(file, entry.format)


def _own(name: str, source: Source) -> list[Row]:
    file = Path(source.path)
    if file.suffix == ".txt":
        return documents(read_text(file), source.split or "lines")
    if file.suffix not in (".jsonl", ".csv", ".json"):
        raise SpecError(
            f"{file}: files ending in {file.suffix or 'nothing'!r} are not read; give .txt, "
            f".jsonl or .csv"
        )
    rows = items(file, "stereoset" if file.suffix == ".json" else file.suffix[1:])
    if not rows:
        raise SpecError(f"{file} has no rows; give a file with some")
    if source.asking:
        return fact_rows(rows, source.asking, file)
    if source.text_field not in rows[0]:
        if source.text_field != Source.model_fields["text_field"].default:
            raise SpecError(_no_field(name, source, rows[0]))
        return rows
    return [_with_text(row, source.text_field, file) for row in rows]


def _with_text(row: Row, field: str, file: Path) -> Row:
    text = row.get(field)
    if not isinstance(text, str):
        raise SpecError(
            f"{file}, row {row['id']}: {field!r} is {text!r:.40} and no text; mend the row or "
            f"name another text_field"
        )
    return {**row, "text": text}


def _plan(settings: SetsData, others: Sequence[Sequence[Row]]) -> checks.Plan:
    asked = {
        " ".join(str(row[field]).split())
        for rows in others
        for row in rows
        for field in PROBES
        if isinstance(row.get(field), str)
    }
    return checks.Plan(
        effects={check: settings.effect_of(check) for check in checks.ALL},
        forbidden=frozenset(q for q in asked if len(q.split()) >= PROBE_WORDS),
        min_words=settings.min_words,
    )


def _about(source: Source) -> str:
    if source.joined:
        return "; ".join(f"{role}: {_about(each)}" for role, each in source.joined.items())
    return catalog.entry(source.name).about if source.name else f"own file {source.path}"


def _origin(source: Source) -> Mapping[str, object]:
    """Where a set came from, for whoever must find the same bytes again."""
    if source.joined:
        return {"joined": {role: _origin(each) for role, each in source.joined.items()}}
    if not source.name:
        return {"path": source.path}
    entry = catalog.entry(source.name)
    return entry.model_dump(include={"name", "repo", "revision", "licence", "sha256"})
