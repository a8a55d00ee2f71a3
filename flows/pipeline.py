"""The pipeline: data, model, variants, measurements, versions, the gate, the report."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from audits.errors import SpecError
from flows.checking import foresee, require_sound, unscored
from flows.failing import Unsound, complain
from flows.home import Home, find_home, open_registry, settle, talk
from flows.judging import Judged, judge, promote
from flows.ledger import Entry, Ledger
from flows.outcome import answer, write_report
from flows.plan import Made, make
from flows.publishing import Publisher
from flows.rehearsal import require_variants
from flows.spec import RunSpec, load_spec
from tasks.artifact import Artifact, Vault
from tasks.job import Call
from tasks.report import table
from tasks.room import writing
from tasks.stages import prefect_task


@flow(name="assay", log_prints=False, validate_parameters=False)
def pipeline(
    run_file: str, changes: Sequence[str] = (), keep_scores: bool = True
) -> dict[str, Any]:
    """Run a run file from data to a decision.

    Without `keep_scores`, what models answered before is neither read nor added to.
    Returns `promoted` (was a candidate promoted, or is one champion already), `table` for
    people, `answer` for machines (see `flows.outcome.answer`), and `failed`: none.

    Raises:
        Unfinished: all is published, judged and reported, but for candidates that a failing
            stage ended; so the flow has failed where nobody reads what it returns.
    """
    ledger = Ledger()
    home = replace(find_home(), keeps_scores=keep_scores)
    settle(home)
    spec = load_spec(Path(run_file), changes)
    require_sound(spec, home)
    if home.signing_key is not None:  # before hours of compute that could not be published
        open_registry(home).require_vouched(spec.registered)
    talk(f"{spec.name}: spec {spec.identity[:12]}, policy {spec.policy.name}, in {home.root}")

    def before_compute() -> None:
        for note in require_variants(spec, home):
            talk(f"note: {note}")
        for one in foresee(spec, home, unscored(spec)):
            talk(f"note: {one.rule}: {one.said}")

    performer = Performer(home, ledger, before_compute)
    made = make(spec, home, performer)
    with ledger.records("publish"):
        publisher = Publisher(spec, home, made, ledger)
        versions = publisher.publish_all(performer)
    with ledger.records("gate"):
        judged = gate_task(spec, home, made, versions)
    run, report = write_report(spec, home, made, judged, ledger)
    with ledger.records("publish"):
        publisher.close(judged, report)
    result = answer(spec, home, judged, made.failed, ledger, report)
    outcome = {
        "promoted": any(j.promoted for j in judged),
        "answer": result,
        "table": table(run),
        "failed": made.failed,
    }
    complain(outcome)
    return outcome


class Performer:
    """Carries out calls as Prefect tasks and keeps the ledger.

    Before the first stage that must be made it calls `first`, and makes none until that
    passed once.
    """

    def __init__(self, home: Home, ledger: Ledger, first: Callable[[], None]) -> None:
        self._vault, self._home = Vault(home.artifacts), home.root
        self._ledger = ledger
        self._first: Callable[[], None] | None = first

    def __call__(self, wanted: Call) -> Artifact:
        """The sealed artifact of a call, made now or found."""
        found = self._vault.find(wanted.stage, wanted.key)
        stage = prefect_task(wanted.stage)
        if found is None:
            self._begin()
            # Prefect may remember a result whose artifact has been removed.
            stage = stage.with_options(refresh_cache=True)
            talk(f"  {wanted.stage} {wanted.label} …")
        began = time.perf_counter()
        with writing(self._home):
            state = stage(wanted, return_state=True)
            made: Artifact = state.result()
        elapsed = time.perf_counter() - began
        facts = self._vault.facts(made)
        self._ledger.add(
            Entry.of(wanted, made, facts, cached=found is not None, elapsed=elapsed)
        )
        return made

    def _begin(self) -> None:
        if self._first is None:
            return
        try:
            self._first()
        except SpecError as error:  # of the run file, not of the candidate that is to be made
            raise Unsound(str(error)) from error
        self._first = None


@task(name="gate", log_prints=False, persist_result=False, cache_policy=NO_CACHE)
def gate_task(
    spec: RunSpec, home: Home, made: Made, versions: dict[str, str]
) -> tuple[Judged, ...]:
    """Judge every candidate and promote at most one. Never cached: the champion may move."""
    judged = judge(spec, home, made, versions)
    return promote(spec, home, judged)
