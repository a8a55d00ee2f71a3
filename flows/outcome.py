"""What a run says when it ends: a table for people, a document for scripts, a report."""

import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from audits.errors import SpecError
from audits.evidence import Measure
from flows.failing import Failed
from flows.home import Home
from flows.judging import Judged
from flows.ledger import Entry, Ledger
from flows.plan import Made
from flows.spec import RunSpec
from registry.finding import Finding, Verdict
from tasks.artifact import Artifact
from tasks.energy_card import Card
from tasks.report.model import CandidateReport, DataCheck, ReportRun, StageLine


def answer(
    spec: RunSpec,
    home: Home,
    judged: tuple[Judged, ...],
    failed: tuple[Failed, ...],
    ledger: Ledger,
    report: Path,
) -> dict[str, Any]:
    """The stable document that `assay run --json` prints.

    A candidate whose stage failed stands last, has no version, and its one finding is named
    after the stage.
    """
    return {
        "run": spec.name,
        "spec": spec.identity,
        "model": spec.registered,
        "tracking_uri": home.tracking_uri,
        "report": str(report),
        "stages": [
            {"name": e.name, "seconds": round(e.seconds, 3), "cached": e.cached}
            for e in ledger.entries
        ],
        "overhead": ledger.overhead(),
        "candidates": [
            {
                "name": j.name,
                "version": j.version.number,
                "verdict": str(j.decision.verdict),
                "promoted": j.promoted,
                "findings": [_told(f) for f in j.decision.findings],
            }
            for j in judged
        ]
        + [
            {
                "name": one.name,
                "version": None,
                "verdict": str(finding.verdict),
                "promoted": False,
                "findings": [_told(finding)],
            }
            for one in failed
            for finding in [_finding(one)]
        ],
    }


def _told(finding: Finding) -> dict[str, str]:
    return {
        "rule": finding.rule, "verdict": str(finding.verdict), "because": finding.because,
    }  # fmt: skip


def _finding(failed: Failed) -> Finding:
    """That a stage failed, as what stands in the way of a candidate."""
    return Finding(
        failed.error.stage, Verdict.INCONCLUSIVE, failed.sentence, hard=True, measure=""
    )


def report_run(
    spec: RunSpec,
    judged: tuple[Judged, ...],
    ledger: Ledger,
    lineage: Mapping[str, str],
    checks: tuple[DataCheck, ...],
    failed: tuple[Failed, ...] = (),
) -> ReportRun:
    """Gather what the report and the closing table show."""
    return ReportRun(
        title=spec.name,
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        spec=spec.identity,
        policy=spec.policy.name,
        policy_digest=spec.policy.identity,
        candidates=(
            *map(candidate_report, judged),
            *map(_failed_report, failed),
        ),
        about=spec.about,
        model=spec.registered,
        stages=tuple(_stage(e) for e in ledger.entries if e.stage != "publish"),
        checks=checks,
        lineage=lineage,
        environment=environment(),
    )


def candidate_report(judged: Judged) -> CandidateReport:
    """One candidate as the report shows it, beside the parent it was judged beside."""
    measures: list[Measure] = []
    absent: dict[str, str] = {}
    for part in judged.evidence.parts.values():
        found, missing = part.measures()
        measures += found
        absent |= missing
    return CandidateReport(
        name=judged.name,
        verdict=judged.decision.verdict,
        promoted=judged.promoted,
        sentence=judged.decision.sentence,
        version=judged.version.number,
        findings=judged.decision.findings,
        measures=tuple(measures),
        absent=absent,
        parts=tuple(judged.evidence.parts.values()),
        lineage={"weights": judged.version.weights, "evidence": judged.version.evidence},
        made_from=tuple(judged.parent.parts.values()) if judged.parent else (),
    )


def _failed_report(failed: Failed) -> CandidateReport:
    return CandidateReport(
        failed.name,
        Verdict.INCONCLUSIVE,
        promoted=False,
        sentence=failed.sentence,
        findings=(_finding(failed),),
    )


def environment() -> dict[str, str]:
    """The machine and the libraries behind the numbers; no host name."""
    names = ("torch", "transformers", "llmcompressor", "lm-eval", "mlflow", "prefect")
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        **{name: metadata.version(name) for name in names},
    }


def data_checks(dataset: Artifact) -> tuple[DataCheck, ...]:
    """What Great Expectations said of the data, with the documents it dropped."""
    file = dataset.folder / "checks.json"
    if not file.is_file():
        return ()
    return tuple(
        DataCheck(
            name=f"{c['expectation']} ({c['column']})",
            passed=bool(c["success"]),
            about=f"{c['effect']}; {c['unexpected_count']} documents",
            dropped=tuple(map(str, c.get("dropped", ()))),
        )
        for c in json.loads(file.read_text("utf-8"))
    )


def write_report(
    spec: RunSpec, home: Home, made: Made, judged: tuple[Judged, ...], ledger: Ledger
) -> tuple[ReportRun, Path]:
    """Render the report of a run into the home; written aside and renamed."""
    from tasks.report import render

    lineage = {"dataset": made.dataset.digest, "base model": made.base.digest}
    if made.tokenizer is not None:
        lineage["tokenizer"] = made.tokenizer.digest
    run = report_run(spec, judged, ledger, lineage, data_checks(made.dataset), made.failed)
    path = home.root / "reports" / f"{spec.name}.html"
    save(path, render(run))
    return run, path


def save(path: Path, text: str) -> None:
    """Write a text file whole or not at all; SpecError where a folder is in its place."""
    if path.is_dir():
        raise SpecError(f"{path} is a folder; name a file to write")
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(text, "utf-8")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _stage(entry: Entry) -> StageLine:
    energy = Card.model_validate_json(json.dumps(entry.energy)) if entry.energy else None
    return StageLine(entry.name, entry.seconds, entry.cached, energy)
