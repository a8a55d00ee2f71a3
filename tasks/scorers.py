"""From the scorer that settings name to one that can be asked, and what it is made of."""

import csv
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from audits.errors import AuditError, SpecError
from audits.insults import INSULTS
from audits.lexicon import Lexicon
from audits.scorers import AnyScorer, LexiconScorer, TextScorer
from tasks import dataset

COLUMNS = ("term", "lemma")
"""What the column of words is called."""
HURTLEX = re.compile(r"([A-Z]{2})\d+")
ABSENT = "not on this machine"


def load_scorer(settings: AnyScorer) -> TextScorer:
    """The lexicon or classifier that is meant.

    Raises:
        SpecError: it is not here, is another than stated, or cannot be what it should be.
    """
    if isinstance(settings, LexiconScorer):
        return Lexicon(_terms(settings) if settings.path else INSULTS)
    from tasks.models.classifier import load_classifier

    return load_classifier(settings.model, digest=settings.digest, label=settings.label)


def unavailable(settings: AnyScorer) -> str:
    """Why the scorer cannot be had, as far as can be told without weights; empty where it can.

    A lexicon is read. Of a classifier the files, the content hash and the labels are looked at;
    of one that would come from the hub only whether it can be had.
    """
    try:
        if isinstance(settings, LexiconScorer):
            load_scorer(settings)
        else:
            from tasks.models.classifier import check_classifier

            check_classifier(settings.model, digest=settings.digest, label=settings.label)
    except (AuditError, SpecError) as error:
        return str(error)
    return ""


def origins(settings: AnyScorer | None) -> dict[str, str]:
    """What the scorer is made of on this machine: content hashes, for a stage's key.

    A stage that found none is done again once there is one.
    """
    if settings is None or (isinstance(settings, LexiconScorer) and not settings.path):
        return {}
    try:
        return {"scorer": _origin(settings)}
    except SpecError:
        return {"scorer": ABSENT}


def _origin(settings: AnyScorer) -> str:
    if isinstance(settings, LexiconScorer):
        return _digest(Path(settings.path).expanduser())
    from tasks.models.classifier import find_classifier
    from tasks.models.folder import weights_digest

    return weights_digest(find_classifier(settings.model))


def _digest(file: Path) -> str:
    if not file.is_file():
        raise SpecError(f"lexicon {file}: there is no such file; give the path of one")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _terms(settings: LexiconScorer) -> list[str]:
    """Terms of a file: those of the language and level that are meant."""
    file = Path(settings.path).expanduser()
    held = _digest(file)
    if held != settings.digest:
        raise SpecError(
            f"lexicon {file}: holds {held}, not {settings.digest or 'a stated list'}; write"
            f" digest: {held} where that is the one you mean"
        )
    rows = _rows(file)
    if not rows:
        raise SpecError(f"lexicon {file}: holds no words; give one with some")
    column = next((c for c in COLUMNS if c in rows[0]), None)
    if column is None:
        raise SpecError(
            f"lexicon {file}: has no column {' or '.join(COLUMNS)}; name its words so, or write"
            " one term a line in a .txt file"
        )
    _require_language(settings, file, rows)
    found = [
        str(row[column])
        for row in rows
        if not settings.level or row.get("level") == settings.level
    ]
    if not found:
        raise SpecError(f"lexicon {file}: no row has level {settings.level!r}; correct it")
    return found


def _require_language(
    settings: LexiconScorer, file: Path, rows: Sequence[Mapping[str, object]]
) -> None:
    for languages, by in (
        (
            {str(row["language"]).lower() for row in rows if row.get("language")},
            "its column language",
        ),
        (
            {found[1].lower() for row in rows if (found := _hurtlex(row))},
            "its ids, which are HurtLex's",
        ),
    ):
        if other := sorted(languages - {settings.language}):
            raise SpecError(
                f"lexicon {file}: holds words of language {other[0]!r} (by {by}) where "
                f"{settings.language!r} is asked for; give one of the texts' language"
            )


def _hurtlex(row: Mapping[str, object]) -> "re.Match[str] | None":
    """The id of a row of HurtLex, which begins with the language: EN1234, IT12."""
    return HURTLEX.fullmatch(str(row.get("id", ""))) if "lemma" in row else None


def _rows(file: Path) -> list[dict[str, object]]:
    form = file.suffix.removeprefix(".")
    try:
        if form == "txt":
            return [{"term": row["text"]} for row in dataset.read_rows(file, "txt")]
        if form == "tsv":
            with file.open(encoding="utf-8", newline="") as stream:
                return [dict(row) for row in csv.DictReader(stream, delimiter="\t")]
        return dataset.read_rows(file, form)
    except (ValueError, OSError) as error:
        raise SpecError(
            f"lexicon {file}: cannot be read ({error}); give .txt, .csv, .tsv or .jsonl, UTF-8"
        ) from error
