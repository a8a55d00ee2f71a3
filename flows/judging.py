"""Put every candidate before the gate and move the champion at most once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar

from audits.errors import GateRefused, Renewed
from audits.evidence import Evidence
from flows.home import Home, open_registry, talk
from flows.plan import Made
from flows.spec import BASE, RunSpec
from registry.gate import Case, Decision, choose, decide
from registry.guard import returning
from registry.looks import Look, looked, looks
from registry.policy import Policy
from registry.store import CHAMPION, Store, Version, overruled

Answer = TypeVar("Answer")

TRIES = 3
"""How often a run judges anew because others published meanwhile."""


@dataclass(frozen=True, eq=False)
class Judged:
    """A candidate after the gate."""

    name: str
    version: Version
    evidence: Evidence
    decision: Decision
    promoted: bool = False
    parent: Evidence | None = None
    """What the gate held it against as the model it was made from."""


def judge(
    spec: RunSpec, home: Home, made: Made, versions: dict[str, str]
) -> tuple[Judged, ...]:
    """Decide on each candidate from the evidence that the registry holds.

    Other runs over the same models may publish meanwhile: then all are decided on again, and
    what stands on record already is found there.

    Raises:
        Renewed: they go on publishing.
    """
    return renewing(lambda: _judge(spec, home, made, versions))


def renewing(judged: Callable[[], Answer]) -> Answer:
    """What a judgement comes to, made anew where others published meanwhile.

    Raises:
        Renewed: they go on publishing.
    """
    for _ in range(TRIES):
        try:
            return judged()
        except Renewed as renewed:
            talk(f"note: {renewed}; judging again")
    return judged()


def _judge(
    spec: RunSpec, home: Home, made: Made, versions: dict[str, str]
) -> tuple[Judged, ...]:
    store = open_registry(home)
    name = spec.registered
    evidence = {c.name: store.evidence(name, versions[c.name]) for c in made.candidates}
    champion = _champion(store, name, versions, evidence)
    judged = []
    for candidate in made.candidates:
        version = store.version(name, versions[candidate.name])
        case = case_of(
            store,
            version,
            spec.policy,
            evidence[candidate.name],
            parent=parent_of(store, name, evidence[candidate.name], evidence[BASE]),
            champion=champion,
        )
        decision = decide(spec.policy, case)
        if not store.recorded(version, decision):
            version = store.record(version, decision, spec.policy.model_dump(mode="json"))
        judged.append(
            Judged(candidate.name, version, case.candidate, decision, parent=case.parent)
        )
    _say_of_the_parents(judged, evidence[BASE])
    return tuple(judged)


def _say_of_the_parents(judged: Sequence[Judged], base: Evidence) -> None:
    """Who was made before, from other weights than this run's base, is held against those."""
    for one in judged:
        stated = str(one.evidence.about.get("parent") or "")
        if stated not in ("", base.subject):
            talk(
                f"note: {one.name} ({one.version.name}/{one.version.number}): these weights "
                f"were first made from {stated[:12]}, and are judged beside that parent and "
                f"not beside the base of this run, {base.subject[:12]}"
            )


def parent_of(
    store: Store, name: str, known: Evidence, base: Evidence | None = None
) -> Evidence | None:
    """The evidence of the model that somebody's weights were made from, where it is at hand.

    It is who it was when they first were published, and need not be the `base` of this run.
    """
    stated = str(known.about.get("parent") or "")
    if not stated or (base and base.subject == stated):
        return base if stated else None
    numbers = store.history(name).versions_of(stated)
    found = next((v for v in store.versions(name) if v.number in numbers), None)
    return store.evidence(name, found.number) if found else None


def case_of(
    store: Store,
    version: Version,
    policy: Policy,
    evidence: Evidence,
    *,
    parent: Evidence | None,
    champion: Evidence | None,
) -> Case:
    """What the gate is asked today: evidence, what people said, and how often it was asked."""
    before = looked(store, version, store.judgements(version))
    now = Look(None, store.records(version), store.bases(version))
    return Case(
        evidence,
        parent,
        champion,
        approvals=store.approvals(version),
        looks=looks(policy.rules, before, now),
        today=datetime.now(UTC).date(),
    )


def promote(spec: RunSpec, home: Home, judged: tuple[Judged, ...]) -> tuple[Judged, ...]:
    """Make the passing candidate that the policy prefers champion; mark it promoted."""
    store = open_registry(home)
    ours = _not_left(store, spec, judged)
    chosen = choose([j.decision for j in ours], spec.policy, [j.evidence for j in ours])
    if chosen is None:
        _say_of_the_champion(store, spec, judged)
        return judged
    best = ours[chosen]
    before = store.resolve(spec.registered, CHAMPION)
    store.nominate(best.version)
    but = overruled(store.judgements(best.version), best.decision, best.version.evidence)
    try:
        version = store.promote(
            best.version,
            best.decision,
            expected_champion=before.number if before else None,
            note=but,
        )
    except GateRefused as refusal:
        talk(f"assay: {refusal}")
        return judged
    if but:
        talk(f"note: {spec.registered}/{version.number}: {but}")
    done = replace(best, version=version, promoted=True)
    return tuple(done if j is best else j for j in judged)


def _not_left(store: Store, spec: RunSpec, judged: tuple[Judged, ...]) -> list[Judged]:
    """Those that nobody went back from; of the others that pass it is said why they stay."""
    chain = store.history(spec.registered)
    left = {one.name: back for one in judged if (back := chain.left(one.version.number))}
    for one in judged:
        if one.decision.promote and one.name in left:
            talk(f"note: {returning(left[one.name])}")
    return [one for one in judged if one.name not in left]


def _say_of_the_champion(store: Store, spec: RunSpec, judged: tuple[Judged, ...]) -> None:
    """A champion that does not pass any more stays one: only people take it away."""
    champion = store.resolve(spec.registered, CHAMPION)
    for one in judged:
        if champion and one.version.number == champion.number:
            talk(
                f"note: the champion {spec.registered}/{champion.number} does not pass policy "
                f"{spec.policy.name} and stays champion; `assay rollback` goes back before it"
            )


def _champion(
    store: Store, name: str, versions: dict[str, str], evidence: dict[str, Evidence]
) -> Evidence | None:
    champion = store.resolve(name, CHAMPION)
    if champion is None:
        return None
    for candidate, number in versions.items():
        if number == champion.number:
            return evidence[candidate]
    return store.evidence(name, champion.number)
