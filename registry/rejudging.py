"""Is a judgement what its evidence gives, and may its version still be champion?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from audits.errors import AssayError, EvidenceError
from audits.evidence import Evidence
from registry import layout
from registry import seal as sealing
from registry.checks import Check, each, near, short
from registry.documents import validate
from registry.finding import Case, Verdict
from registry.gate import Decision, decide
from registry.history import Chain, Entry
from registry.looks import looked, looks_at
from registry.policy import Policy
from registry.resting import lapsed
from registry.rules import Approved
from registry.seal import Seal
from registry.store import Judgement, Store, Version, approvals_in, overruled


@dataclass(frozen=True, eq=False)
class Judgements:
    """What of a version's judgements verifies, by the digest of its entry, and what not."""

    held: Mapping[str, Judgement]
    wrong: list[str]


def judgements(chain: Chain, number: str, folder: Path) -> Judgements:
    """Every judgement of a version, read again from its run's files."""
    held, wrong = {}, []
    for entry in chain.entries:
        try:
            if entry.kind == "decision" and entry.version == number:
                held[entry.digest] = sealing.judgement(folder, entry)
            elif entry.kind == "publication" and entry.version == number:
                sealing.read(folder, entry.seal)
        except EvidenceError as error:
            wrong.append(f"{chain.model}/{number}: {error}")
    return Judgements(held, wrong)


def decided(
    store: Store,
    seal: Seal,
    judged: Judgement,
    version: Version,
    before: Sequence[Judgement],
) -> list[Check]:
    """The decision, made again from the stored evidence of everyone it was about."""
    where, old = f"{seal.model}/{seal.version}", judged.decision
    try:
        policy = validate(Policy, dict(judged.policy), f"{where} {layout.POLICY}")
        new = decide(policy, store.case_then(version, judged))
        earlier = [j for j in before if j.entry.seq < judged.entry.seq]
        counted = looks_at(judged, policy, looked(store, version, earlier))
    except (AssayError, ValueError) as error:
        return [Check("decision", False, f"{where}: it cannot be decided again: {error}")]
    wrong = _unlike(old, replace(new, looks=counted))
    if wrong and seal.code != sealing.code():
        wrong += f" (it was decided by other code, {seal.code[:12]}: verify with that one)"
    problem = f"{where}: decided again from its records {wrong}"
    said = "; ".join(
        filter(None, [f"decided again: {new.sentence}", overruled(before, old, seal.evidence)])
    )
    return each("decision", [problem] if wrong else [], said)


def grounds(chain: Chain, number: str, judgements: Judgements, folder: Path) -> list[Check]:
    """Whether what a version rests on was judged by all that was known of the three then.

    Of judgements that nothing rests on it is not asked: they stay, whatever is judged after.
    """
    by = _rests_on(chain, number, judgements)
    if by is None:
        return []
    before, seal = chain.until(by.entry.seq - 1), sealing.read(folder, by.entry.seal)
    three = (
        ("the candidate", number, by.entry.evidence),
        ("its parent", seal.parent.version, seal.parent.evidence),
        ("the champion", seal.champion.version, seal.champion.evidence),
    )
    wrong = [
        f"{chain.model}/{number}: it was judged by evidence {evidence[:12]} of {who}, version "
        f"{version}, and not by the last published; judge it again"
        for who, version, evidence in three
        if version and before.evidence(version) != evidence
    ]
    return each("grounds", wrong, "it was judged by the last published of everyone")


def _unlike(old: Decision, new: Decision) -> str:
    """How two decisions differ.

    Numbers may in their last digits, for machines do. Prose is not compared: it follows from
    the rest, its words may be others by now, and what was written then is sealed.
    """
    if old.verdict is not new.verdict:
        return f"the verdict is {new.verdict}, not {old.verdict}"
    was, now = old.as_json(), new.as_json()
    for key in was:
        if key not in ("findings", "sentence") and was[key] != now.get(key):
            return f"its {key} is {short(now.get(key))}, not {short(was[key])}"
    for one, other in zip(old.findings, new.findings, strict=False):
        for field in (name for name in one.__slots__ if name != "because"):
            mine, theirs = getattr(one, field), getattr(other, field)
            if mine != theirs and not near(mine, theirs):
                return f"{one.rule} has {field} {short(theirs)}, not {short(mine)}"
    same = len(old.findings) == len(new.findings)
    return "" if same else f"there are {len(new.findings)} findings, not {len(old.findings)}"


def promotion(
    chain: Chain, version: Version, judgements: Judgements, today: date
) -> list[Check]:
    """Whether the champion still may be it: a decision that passed, waivers, approvals."""
    where, number = f"{version.name}/{version.number}", version.number
    promoted = chain.last(number, "promotion")
    if promoted is None:
        return [Check("promotion", False, f"{where}: it was never promoted; judge it")]
    by = _resting_on(promoted, judgements)
    if by is None or not by.decision.promote:
        said = f"{where}: it was promoted by a decision that does not allow it; judge it again"
        return [Check("promotion", False, said)]
    wrong = lapsed(by, where, today) + _withdrawn(version, by, where)
    wrong += _against_another(chain, promoted, judgements, where)
    last = list(judgements.held.values())[-1].decision
    note = f"; judged since: {last.sentence}" if last is not by.decision else ""
    return each("promotion", wrong, f"by {promoted.by}: {by.decision.sentence}{note}")


def by_policy(
    chain: Chain, version: Version, judgements: Judgements, policy: Policy | None
) -> list[Check]:
    """Whether a version rests on the policy that was asked for, waivers and all."""
    where = f"{version.name}/{version.number}"
    if policy is None:
        return []
    by = _rests_on(chain, version.number, judgements)
    if by is None:
        return [Check("policy", False, f"{where}: no judgement of it verifies")]
    found = by.decision.policy_digest
    wrong = (
        f"{where}: it rests on policy {by.decision.policy} ({found[:12]}) and not on "
        f"{policy.name} ({policy.identity[:12]}); judge it by that one"
    )
    said = f"it rests on {policy.name} ({found[:12]}), as asked"
    return each("policy", [wrong] if found != policy.identity else [], said)


def _against_another(
    chain: Chain, promoted: Entry, judgements: Judgements, where: str
) -> list[str]:
    """A promotion replaces the champion its decision was made against, and no other."""
    made = [j for j in judgements.held.values() if j.entry.seal == promoted.seal]
    before = chain.last(promoted.replaces, "decision") if promoted.replaces else None
    weights = before.weights if before else ""
    if not made or made[0].decision.champion in (weights, made[0].decision.subject):
        return []
    return [
        f"{where}: it was judged beside champion {made[0].decision.champion[:12] or 'none'} "
        f"and replaced {weights[:12] or 'none'}; judge it again"
    ]


def _resting_on(promoted: Entry, judgements: Judgements) -> Judgement | None:
    """The judgement a champion rests on: the last, where it passes, else the promoting one.

    So judging again under a policy that renews a waiver is what renews it.
    """
    held = list(judgements.held.values())
    if held and held[-1].decision.promote:
        return held[-1]
    return next((j for j in reversed(held) if j.entry.seal == promoted.seal), None)


def _rests_on(chain: Chain, number: str, judgements: Judgements) -> Judgement | None:
    """The judgement a version rests on, champion or not; None where none verifies."""
    promoted = chain.last(number, "promotion")
    by = _resting_on(promoted, judgements) if promoted else None
    return by or next(reversed(list(judgements.held.values())), None)


def _withdrawn(version: Version, by: Judgement, where: str) -> list[str]:
    policy = validate(Policy, dict(by.policy), f"{where} {layout.POLICY}")
    stand = approvals_in(version.tags)
    now = Case(Evidence.gather(by.decision.subject, ()), approvals=stand)
    weights = by.decision.subject
    gone = {a.by for a in by.decision.approvals if a.covers(weights)}
    gone -= {a.by for a in stand if a.covers(weights)}
    who = ", ".join(sorted(gone)) or "somebody"
    return [
        f"{where}: the approval of {who}, on which it rests, no longer stands for these "
        f"weights ({rule.id}); ask for it again: `assay approve {where} --by {who}`"
        for rule in policy.rules
        if isinstance(rule, Approved) and rule.hard and not policy.waiver(rule.id)
        if rule.check(now).verdict is not Verdict.PASS
    ]
