"""Stage: put one audit to one model and store what happened, example by example."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from audits import candidates
from audits.catalog import AnyAudit
from audits.errors import AuditError, SpecError
from audits.evidence import Part
from audits.model import Example
from audits.rows import TRUNCATED
from audits.settings import Settings
from tasks.artifact import Artifact
from tasks.job import Job

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 5
"""How many facts that are not as declared are named."""


class AuditRun(Settings):
    """One audit of a run file, and the seed of everything it samples."""

    audit: AnyAudit
    seed: int = 0
    dtype: str = "float32"
    control: str = ""
    """Which twin is asked in the model's place; empty for the model itself."""

    @property
    def version(self) -> int:
        """The audit's own code version, so that only a changed audit is run again."""
        return self.audit.version


def audit(settings: AuditRun, job: Job) -> None:
    """Run the audit on `job.inputs["model"]` with the rows of `job.inputs["dataset"]`.

    `job.inputs["trained"]`, where the model was trained here, tells how often each
    statement stood in the packed training stream.
    """
    from audits.audit import Tools
    from registry import parts
    from tasks import dataset
    from tasks.handed import handed, said_of
    from tasks.models.asked import room
    from tasks.models.memory import remembered
    from tasks.models.selfcheck import selfcheck

    asked = settings.audit
    require_dataset(asked, job.inputs)
    rows = dataset.rows(job.inputs["dataset"].folder, asked.source)
    examples = asked.examples(rows)
    if not examples:
        raise AuditError(f"{asked.title}: the set {asked.source!r} holds no examples")
    model = remembered(job.inputs["model"].folder, dtype=settings.dtype, cache=job.score_cache)
    tools = handed(asked.wanted, job, model, Tools(exposures=_exposures(job)))
    records = asked.run(model, examples, tools, seed=settings.seed)
    job.note("scores", model.counts)
    part = Part(
        name=asked.title,
        kind=asked.kind,
        declared=asked.declares(),
        expected=tuple(e.id for e in examples),
        records=records,
        basis=basis(settings, examples),
        conditions=model.conditions
        | selfcheck(model)
        | said_of(asked.wanted, tools)
        | room(model, _shortened(records))
        | _membership(asked, rows, tools.exposures, _passes(job))
        | ({"control": settings.control} if settings.control else {}),
        notes=_left_out(records),
    )
    parts.write(part, job.out)


def _shortened(records: "pd.DataFrame") -> int:
    """Examples that are invalid since the window cut off the beginning of a context."""
    return int(records.loc[records["why"] == TRUNCATED, "example"].nunique())


def _left_out(records: "pd.DataFrame") -> dict[str, object]:
    """Examples that an audit does not count, each with its reason, for people to read."""
    if "left_out" not in records or not (out := records[records["left_out"] != ""]).size:
        return {}
    named = zip(out["example"], out["left_out"], strict=True)
    return {"left_out": "; ".join(f"{example}: {why}" for example, why in named)}


def require_dataset(asked: AnyAudit, inputs: Mapping[str, Artifact]) -> None:
    """Raise SpecError where an audit has no dataset to read its set from."""
    if "dataset" not in inputs:
        raise SpecError(
            f"audit {asked.kind}: reads the set {asked.source!r} of a dataset; give the "
            "folder with --data, as `assay train` prints one"
        )


def basis(settings: AuditRun, examples: Sequence[Example]) -> str:
    """Fingerprint of the question: audit, code, settings, examples and seed; not the model."""
    asked = settings.audit.model_dump(mode="json", exclude={"name"})
    question = {
        "audit": asked,
        "version": settings.audit.version,
        "seed": settings.seed,
        "examples": [_plain(asdict(e)) for e in examples],
    }
    return hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()


def _plain(fields: Mapping[str, object]) -> dict[str, object]:
    return {k: dict(v) if isinstance(v, Mapping) else v for k, v in fields.items()}


def _membership(
    asked: AnyAudit,
    rows: Sequence[Mapping[str, object]],
    exposures: Mapping[str, int],
    passes: int,
) -> dict[str, str]:
    """Whether what the model was taught was counted in its stream, or is only declared.

    Where it was counted, of the whole set and not of what one audit asks of it: which known
    facts were not stated as often as their rows say, and the share of statements that are a
    fact's only one (Good-Turing), below which a calibrated model's share of false statements
    cannot lie much (arXiv:2311.14648). That is context: it bounds free text, not answers with
    abstention, so no rule may name it.
    """
    if asked.source != "facts":
        return {}
    if not exposures:
        return {"membership": "declared"}
    told = candidates.examples(asked.kind, rows)
    known = [e for e in told if e.strata["stratum"] == "K"]
    said = "counted in the training stream"
    other = [e for e in known if exposures.get(e.id, 0) != e.facts["copies"] * passes]
    if other:
        first = ", ".join(
            f"{e.id} {exposures.get(e.id, 0)} of {e.facts['copies'] * passes:g}"
            for e in other[:SHOWN]
        )
        said += f"; {len(other)} questions about known facts not as often as declared: {first}"
    copies = {e.strata["fact"]: e.facts["copies"] for e in known}
    total = sum(copies.values())
    once = sum(n == 1 for n in copies.values())
    if not total:
        return {"membership": said}
    return {"membership": said, "monofacts": f"{once / total:.4f} of the known statements"}


def _passes(job: Job) -> int:
    """Epochs of the training, by which a row's copies are its exposures."""
    trained = job.inputs.get("trained")
    if trained is None or not (trained.folder / "training.json").is_file():
        return 1
    return int(json.loads((trained.folder / "training.json").read_text("utf-8"))["epochs"])


def _exposures(job: Job) -> dict[str, int]:
    trained = job.inputs.get("trained")
    if trained is None or not (trained.folder / "membership.json").is_file():
        return {}
    counted: dict[str, int] = json.loads(
        (trained.folder / "membership.json").read_text("utf-8")
    )
    return counted
