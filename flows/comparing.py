"""What changes from a base to its variant: over a text word by word, and over tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audits.errors import MeasureError, SpecError
from flows.home import Home
from flows.plan import audit_call, evaluate_call
from flows.single import Answer, ask, audit_runs, dataset_input, find_model
from registry.documents import validate
from tasks.artifact import Artifact
from tasks.audit import AuditRun
from tasks.evaluate import EvaluateSettings
from tasks.job import Call

if TYPE_CHECKING:
    import pandas as pd

    from audits.evidence import Part

HELD_OUT = "heldout"
"""Set of a dataset that is text for comparing where no other is named."""
YES_OR_NO = ("acc", "exact_match")
"""Metrics by which an answer is right or wrong, the first one given counts."""
CORRECT, ANSWERABLE = "correct", "answerable"
"""What audits call the same, and questions that have a right answer."""
NOT_RIGHT_OR_WRONG = "its answers are not right or wrong"
SIDES = ("base", "variant")


@dataclass(frozen=True, slots=True)
class Asked:
    """What to compare two models on."""

    text: Path | None = None
    split: str = "paragraphs"
    tasks: tuple[str, ...] = ()
    audits: tuple[str, ...] = ()
    include_path: Path | None = None
    limit: int | None = None
    data: Path | None = None


def compare(base: str, variant: str, asked: Asked, home: Home) -> Answer:
    """Compare two models on a text, on tasks, or on both.

    Raises:
        SpecError: nothing is given to compare on, or only a text that the two models read
            as different tokens.
    """
    from tasks.compare import words

    data = dataset_input(asked.data, home)
    documents = _documents(asked, data)
    questions = asked.tasks + asked.audits
    if documents is None and not questions:
        raise SpecError(
            "compare: nothing to compare on; give --text FILE, --tasks A,B, --audits A,B, or "
            f"--data with a dataset that has a set {HELD_OUT!r}"
        )
    settings = _settings(asked, data) if asked.tasks else None
    runs = audit_runs(asked.audits, data)
    models = {"base": find_model(base, home), "variant": find_model(variant, home)}
    document: dict[str, Any] = {
        side: {"model": named, "digest": models[side].digest}
        for side, named in zip(SIDES, (base, variant), strict=True)
    }
    if documents is not None:
        document["text"] = _text(documents, models, document, alone=not questions)
    document["tasks"] = _tasks(settings, models, data, home) if settings else []
    document["audits"] = [_audit(run, models, data, home) for run in runs]
    return document, words(document)


@dataclass(frozen=True, slots=True)
class _Documents:
    source: str
    rows: Sequence[tuple[str, str]]


def _documents(asked: Asked, data: Mapping[str, Artifact]) -> _Documents | None:
    """Documents with their ids, from the file named or the dataset's held-out set."""
    from tasks import dataset

    if asked.text is not None:
        source, rows = str(asked.text), _read(asked.text, asked.split)
    elif data and dataset.has(data["dataset"].folder, HELD_OUT):
        folder = data["dataset"].folder
        texts, ids = dataset.texts(folder, HELD_OUT), dataset.rows(folder, HELD_OUT)
        source = f"{HELD_OUT} of {asked.data}"
        rows = [(str(row["id"]), text) for row, text in zip(ids, texts, strict=True)]
    else:
        return None
    return _Documents(source, rows[: asked.limit])


def _read(file: Path, split: str) -> list[tuple[str, str]]:
    from tasks.data.read import documents, items, read_text

    if file.suffix == ".jsonl":
        rows = items(file, "jsonl")
        if odd := [row for row in rows if not isinstance(row.get("text"), str)]:
            raise SpecError(f"--text {file}: row {odd[0].get('id')!r} has no 'text'; add it")
    else:
        rows = documents(read_text(file), split)
    return [(str(row["id"]), str(row["text"])) for row in rows]


def _text(
    documents: _Documents,
    models: Mapping[str, Artifact],
    document: Mapping[str, dict[str, Any]],
    *,
    alone: bool,
) -> dict[str, Any]:
    """The drift over a text; where tokens differ, the reason, if tasks say more."""
    from audits.drift import DELTA_QUANTILES, KL_QUANTILES, MOST_KEPT
    from tasks.compare import NotComparable, text_drift
    from tasks.models.load import load
    from tasks.models.predictions import Predicts

    loaded: dict[str, Predicts] = {}
    for side in SIDES:
        model = load(models[side].folder)
        document[side]["conditions"] = dict(model.conditions)
        if not isinstance(model, Predicts):
            raise SpecError(
                f"compare: {document[side]['model']} does not say what it expects at every "
                "token, so nothing can be compared along a text; compare with --tasks alone"
            )
        loaded[side] = model
    try:
        drift = text_drift(loaded["base"], loaded["variant"], documents.rows)
    except NotComparable as error:
        if alone:
            raise SpecError(f"compare: {error}") from error
        return {"source": documents.source, "absent": str(error)}
    n = drift.kl.n
    return {
        "source": documents.source,
        "documents": len(documents.rows),
        "tokens": n,
        "figures": [asdict(figure) for figure in drift.figures()],
        "kl": drift.kl.quantiles(KL_QUANTILES),
        "delta_p": drift.delta_p.quantiles(DELTA_QUANTILES),
        "quantiles_of": "all tokens" if drift.kl.exact else f"a sample of {MOST_KEPT:,} tokens",
    }


def _settings(asked: Asked, data: Mapping[str, Artifact]) -> EvaluateSettings:
    """What both models will be asked; a task that nobody has is said before any compute."""
    from tasks import dataset
    from tasks.evaluate.names import require_tasks

    given = {
        "tasks": asked.tasks,
        "metrics": YES_OR_NO,
        "limit": asked.limit,
        "include_path": str(asked.include_path) if asked.include_path else None,
    }
    settings = validate(EvaluateSettings, given, "compare")
    sets = dataset.manifest(data["dataset"].folder)["sets"] if data else {}
    assert isinstance(sets, Mapping)
    require_tasks(settings, list(sets))
    return settings


def _tasks(
    settings: EvaluateSettings,
    models: Mapping[str, Artifact],
    data: Mapping[str, Artifact],
    home: Home,
) -> list[dict[str, Any]]:
    base, variant = (
        _part(evaluate_call(settings, {"model": models[side], **data}, home, side), home)
        for side in SIDES
    )
    _require_same_questions(base, variant)
    return [_task(task, base, variant) for task in settings.tasks]


def _audit(
    run: AuditRun, models: Mapping[str, Artifact], data: Mapping[str, Artifact], home: Home
) -> dict[str, Any]:
    """The questions of an audit that have a right answer; else how its measures moved."""
    from tasks.compare import changes

    kind = run.audit.title
    base, variant = (
        _part(audit_call(run, {"model": models[side], **data}, home, f"{kind} of {side}"), home)
        for side in SIDES
    )
    _require_same_questions(base, variant)
    frames = [part.completed() for part in (base, variant)]
    if CORRECT not in frames[0]:
        return {"task": kind, "changes": changes(base, variant)}
    if ANSWERABLE in frames[0]:
        frames = [_where(frame, ANSWERABLE, "yes") for frame in frames]
    return _flips(kind, CORRECT, *frames, answer="best")


def _part(wanted: Call, home: Home) -> "Part":
    from registry import parts

    return parts.read(ask(wanted, home).folder)


def _require_same_questions(base: "Part", variant: "Part") -> None:
    if base.basis != variant.basis:
        raise MeasureError(
            f"compare: {base.name}: the two models were not asked the same questions"
        )


def _task(task: str, base: "Part", variant: "Part") -> dict[str, Any]:
    ours, theirs = (
        _where(part.completed(), "question", f"task/{task}") for part in (base, variant)
    )
    metric = next((m for m in YES_OR_NO if m in ours and ours[m].notna().any()), None)
    if metric is None:
        return {"task": task, "absent": NOT_RIGHT_OR_WRONG}
    return _flips(task, metric, ours, theirs, answer="chosen")


def _flips(
    name: str, metric: str, base: "pd.DataFrame", variant: "pd.DataFrame", *, answer: str
) -> dict[str, Any]:
    from audits.flips import flips

    found = flips(base, variant, correct=metric, answer=answer)
    return {
        "task": name,
        "metric": metric,
        "n": found.n,
        "invalid": found.invalid,
        "truncated": {"base": _shortened(base), "variant": _shortened(variant)},
        "counts": found.counts,
        "figures": [asdict(figure) for figure in found.figures],
        "not_known": found.absent,
        "changed": [asdict(flip) for flip in found.examples],
    }


def _shortened(frame: "pd.DataFrame") -> int:
    """Questions whose beginning the model's window cut off, counted as right, wrong or lost."""
    from audits import rows
    from tasks.evaluate.records import TRUNCATED

    cut = frame["why"] == rows.TRUNCATED
    if TRUNCATED in frame:
        cut |= frame[TRUNCATED] > 0
    return int(frame.loc[cut, "example"].nunique())


def _where(frame: "pd.DataFrame", column: str, value: str) -> "pd.DataFrame":
    """Records that hold a value; a lost one that does not say whose it is counts in each."""
    lost = (frame["why"] != "") & frame[column].isna()
    return frame[(frame[column] == value) | lost]
