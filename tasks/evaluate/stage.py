"""Stage: put benchmarks and texts to one model and store what happened, row by row."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from audits.errors import SpecError
from audits.estimand import Declared
from audits.evidence import Part, records_frame
from tasks.evaluate.settings import ALL_METRICS, EvaluateSettings
from tasks.evaluate.table import cut, table, with_documents, with_texts
from tasks.job import Job

if TYPE_CHECKING:
    import pandas as pd

    from tasks.evaluate.records import Outcome


def evaluate(settings: EvaluateSettings, job: Job) -> None:
    """Evaluate `job.inputs["model"]` on tasks and texts of `job.inputs["dataset"]`.

    Writes a part named `evaluate`, lm-eval's own numbers as `lm_eval.json`, its table with
    the origin of the documents as `table.md`, and its logged samples as `samples.jsonl.gz`
    (one line each: task, document, requests, responses, metrics). A task that is a group
    counts every document of its members once.

    Raises:
        SpecError: a task, a set or a metric does not exist.
    """
    from importlib import metadata

    from registry import parts
    from tasks.evaluate.benchmarks import run_tasks
    from tasks.evaluate.samples import write_samples
    from tasks.evaluate.texts import measure_texts
    from tasks.models.asked import room
    from tasks.models.memory import remembered
    from tasks.models.selfcheck import selfcheck

    if not settings.tasks and not settings.texts:
        raise SpecError("evaluate: neither tasks nor texts are named; name at least one")
    folder = job.inputs["dataset"].folder if "dataset" in job.inputs else None
    model = remembered(job.inputs["model"].folder, dtype=settings.dtype, cache=job.score_cache)
    results, benchmarks = run_tasks(settings, model, folder, job.scratch, job.context)
    texts = measure_texts(settings, model, folder)
    job.note("scores", model.counts)
    outcomes = [*benchmarks, *texts]
    records = records_frame(row for outcome in outcomes for row in outcome.rows)
    part = Part(
        name="evaluate",
        kind="evaluate",
        declared=_kept(settings, outcomes),
        expected=tuple(e for outcome in outcomes for e in outcome.expected),
        records=records,
        basis=basis(settings, outcomes),
        conditions=model.conditions
        | selfcheck(model)
        | room(model, _shortened(records))
        | {"lm_eval": metadata.version("lm-eval")},
        notes={outcome.name: dict(outcome.notes) for outcome in outcomes}
        | {"documents": [said for outcome in outcomes for said in outcome.documents]},
    )
    parts.write(part, job.out)
    write_samples(results.get("samples", {}), job.out / "samples.jsonl.gz")
    results = with_texts(results, part)
    text = json.dumps(results, indent=1, sort_keys=True, default=str)
    (job.out / "lm_eval.json").write_text(text + "\n", "utf-8")
    documents = [d for o in outcomes for d in o.documents]
    said = with_documents(table(results), documents, cut(part))
    (job.out / "table.md").write_text(said + "\n", "utf-8")


def _shortened(records: "pd.DataFrame") -> int | None:
    """Questions that lost their beginning; None where the model did not tell of each."""
    from tasks.evaluate.records import TRUNCATED

    if TRUNCATED not in records or records.loc[records["why"] == "", TRUNCATED].isna().any():
        return None
    return int((records[TRUNCATED] > 0).sum())


def basis(settings: EvaluateSettings, outcomes: Sequence["Outcome"]) -> str:
    """Fingerprint of the questions: what was asked and how it is scored; not the model."""
    question = {
        "scoring": "sum of nats of the continuation, encoded with its context and split",
        "version": settings.version,
        "num_fewshot": settings.num_fewshot,
        "chat": [
            settings.apply_chat_template,
            settings.apply_chat_template and settings.fewshot_as_multiturn,
            settings.system_instruction,
        ],
        "limit": settings.limit,
        "text_limit": settings.text_limit,
        "seed": settings.seed,
        "asked": {outcome.name: [dict(outcome.notes), outcome.hashes] for outcome in outcomes},
    }
    return hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()


def _kept(settings: EvaluateSettings, outcomes: Sequence["Outcome"]) -> tuple[Declared, ...]:
    """Declarations of measures that exist: not every task gives every metric.

    A task whose metrics are none that become measures is in lm-eval's table alone.
    """
    given = {outcome.name: outcome.values for outcome in outcomes}
    kept = [declared for declared in settings.declares() if _is_given(declared, given)]
    for task in settings.tasks:
        offered = given[f"task/{task}"]
        if offered & set(ALL_METRICS) and not offered & set(settings.metrics):
            raise SpecError(
                f"evaluate: {task} gives {sorted(offered)} and none of the metrics "
                f"{sorted(settings.metrics)}; ask for one that it gives"
            )
    return tuple(kept)


def _is_given(declared: Declared, given: Mapping[str, frozenset[str]]) -> bool:
    [question] = declared.where.values()
    if question.startswith("text/"):
        return True
    return declared.name.partition("/")[0] in given[question]
