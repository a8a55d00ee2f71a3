"""Is a version what the history says was judged and promoted? Recomputed, trusting nobody."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from audits.errors import AssayError, EvidenceError, SpecError, StageError
from audits.evidence import Evidence
from registry import bundle, layout, signing
from registry import seal as sealing
from registry.documents import validate
from registry.finding import Case, Verdict
from registry.gate import Decision, decide
from registry.guard import SIGNED_NAME, head_text, misplaced
from registry.history import SEALED, Chain, Entry, anchored, one_line, unruly
from registry.looks import looked, looks_at
from registry.policy import Policy
from registry.resting import lapsed
from registry.rules import Approved
from registry.seal import Seal
from registry.store import (
    CANDIDATE,
    CHAMPION,
    PREVIOUS,
    Judgement,
    Snapshot,
    Store,
    Version,
    approvals_in,
    overruled,
)

UNSIGNED = "unsigned: whoever can write to the registry can rewrite it as a whole"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was recomputed: whether it holds, and what is to be said of it."""

    name: str
    ok: bool
    said: str


@dataclass(frozen=True, slots=True)
class Verification:
    """All that was recomputed about one version."""

    name: str
    version: str
    checks: tuple[Check, ...]
    head: str = ""
    """The anchor of the history that was read, for whoever remembers it elsewhere."""

    @property
    def problems(self) -> tuple[str, ...]:
        """Why it does not verify, one sentence each; none where it does."""
        return tuple(check.said for check in self.checks if not check.ok)

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return not self.problems


def verify(
    store: Store,
    name: str,
    which: str,
    *,
    today: date,
    key: Path | None = None,
    weigh: Callable[[Path], str] | None = None,
    policy: Policy | None = None,
    remembered: Mapping[str, str] | None = None,
) -> Verification:
    """Recompute a version's history, aliases, seal, numbers, decision and signatures.

    Args:
        store: where it is kept.
        name: the registered model.
        which: a version's number, or an alias.
        today: waivers that lapsed before it no longer carry a champion.
        key: public key (PEM); what it did not sign then does not verify.
        weigh: digest of the weights in a folder, as the evidence's subject is made; without
            it the weights are compared with their seal only.
        policy: what it must rest on, waivers included; without it any policy will do.
        remembered: anchors that the caller keeps, by the place where they stand.

    Raises:
        SpecError: there is no such model, version or alias, or no usable key.
    """
    history, chain = _history(store, name, remembered)
    number = _number(store, name, which, chain)
    checks = history + _aliases(store, chain)
    if chain is None:
        return Verification(name, number, tuple(checks))
    checks += _named(chain, which, number)
    try:
        checks += _version(store, chain, number, which, today, key, weigh, policy)
    except (EvidenceError, StageError) as error:
        checks.append(Check("version", False, str(error)))
    checks += _signed_history(store, chain, key)
    if all(check.ok for check in history):
        store.remember(name, chain)
    return Verification(name, number, tuple(checks), chain.anchor)


def verify_history(store: Store, name: str, *, key: Path | None = None) -> tuple[Check, ...]:
    """Recompute only the chain, its anchors, the aliases and the signed head.

    Raises:
        SpecError: no usable key.
    """
    checks, chain = _history(store, name)
    checks += _aliases(store, chain)
    return tuple(checks + (_signed_history(store, chain, key) if chain else []))


def verify_chain(store: Store, chain: Chain, held: Mapping[str, str]) -> list[Check]:
    """Recompute a chain that was read, beside anchors read before it, and the aliases."""
    return _anchored(chain, held) + _aliases(store, chain)


def _history(
    store: Store, name: str, remembered: Mapping[str, str] | None = None
) -> tuple[list[Check], Chain | None]:
    held = {**store.anchors(name), **(remembered or {})}
    try:
        chain = store.history(name)
    except EvidenceError as error:
        return [Check("history", False, str(error))], None
    return _anchored(chain, held), chain


def _anchored(chain: Chain, held: Mapping[str, str]) -> list[Check]:
    said = f"{len(chain.entries)} entries follow one another, {len(held)} anchors hold"
    return _each("history", anchored(chain, held) + unruly(chain), said)


def _number(store: Store, name: str, which: str, chain: Chain | None) -> str:
    """The version that is meant, also where an alias that should be there is not."""
    if which.isdecimal():
        told = chain is None or chain.last(which, "decision") is not None
        return which if told else store.version(name, which).number
    pointed = store.pointed(name, which)
    if pointed is None and which == CHAMPION and chain:
        pointed = chain.champion
    if pointed is None:
        raise SpecError(f"{name}: there is no version or alias {which!r}")
    return pointed


def _named(chain: Chain, which: str, number: str) -> list[Check]:
    """An alias of somebody's own (`prod`) vouches only for what once was champion."""
    ours = which.isdecimal() or which in (CANDIDATE, CHAMPION, PREVIOUS)
    if ours or chain.last(number, "promotion"):
        return []
    said = f"{chain.model}@{which} points at version {number}, which was never promoted"
    return [Check("aliases", False, f"{said}; promote it, or move the alias")]


def _aliases(store: Store, chain: Chain | None) -> list[Check]:
    if chain is None:
        return []
    pointed = store.pointed(chain.model, CHAMPION)
    said = misplaced(chain, pointed)
    wrong = [said] if said else []
    before = store.previous(chain)
    previous = store.pointed(chain.model, PREVIOUS) or ""
    if previous != before:
        wrong.append(
            f"{chain.model}: the alias previous points at {previous or 'none'}, and the "
            f"history says {before or 'none'}; put it back"
        )
    champion = f"version {chain.champion}" if chain.champion else "nobody"
    return _each("aliases", wrong, f"champion is {champion}, as the history says")


def _version(
    store: Store,
    chain: Chain,
    number: str,
    which: str,
    today: date,
    key: Path | None,
    weigh: Callable[[Path], str] | None,
    policy: Policy | None,
) -> list[Check]:
    name = chain.model
    now = store.snapshot(name, number)
    if now is None:
        raise EvidenceError(f"{name}/{number}: its history is there and the version is not")
    sealed, last = chain.last(number, *SEALED), chain.last(number, "decision")
    if sealed is None:
        return [Check("seal", False, f"{name}/{number}: nobody published it; run it again")]
    seal = sealing.read(now.folder, sealed.seal)
    checks = _sealed(seal, sealed, now, judged=last is not None)
    checks += [Check("seal", False, p) for p in sealing.other_model(chain, seal, now.folder)]
    checks += _weights(seal, now, weigh)
    checks += _numbers(chain, number, seal, now)
    if last is None:
        return [*checks, Check("decision", False, f"{name}/{number}: it was never judged")]
    judgements = _judgements(chain, number, now.folder)
    checks += _each("judgements", judgements.wrong, f"{len(judgements.held)} are as sealed")
    subjects = {j.decision.subject for j in judgements.held.values()} - {seal.weights}
    checks += [
        Check("judgements", False, f"{name}/{number}: one is about {other[:12]}; it is forged")
        for other in sorted(subjects)
    ]
    if last.digest in judgements.held:
        seal = sealing.read(now.folder, last.seal)
        checks += _decided(
            store,
            seal,
            judgements.held[last.digest],
            now.version,
            tuple(judgements.held.values()),
        )
        checks += _signed(seal, now.folder, key)
    if _serves(store, chain, which, number):
        checks += _promotion(chain, now.version, judgements, today)
    else:
        checks.append(Check("promotion", True, f"{name}/{number} is not champion"))
    checks += _by_policy(chain, now.version, judgements, policy)
    return checks


def _sealed(seal: Seal, entry: Entry, now: Snapshot, *, judged: bool) -> list[Check]:
    where = f"{seal.model}/{seal.version}"
    stated = {
        "weights": (seal.weights, entry.weights),
        "evidence": (seal.evidence, entry.evidence),
        "version": (f"{seal.model}/{seal.version}", f"{entry.model}/{entry.version}"),
    }
    wrong = [
        f"{where}: the seal says {what} {mine[:12]}, its history entry {theirs[:12]}; restore "
        "the history from a backup"
        for what, (mine, theirs) in stated.items()
        if mine != theirs
    ]
    wrong += [
        f"{where}: it would be loaded from {place}, which is not its run's model; register "
        "it again"
        for place in now.astray
    ]
    unfinished = now.version.tags.get("assay.verdict") == "" and bool(seal.decision)
    if unfinished:  # taken away by a judgement that was broken off, or by hand
        wrong.append(
            f"{where}: it is to be judged again (`assay promote {where}`): a judgement was "
            "broken off, or its verdict was taken away"
        )
    elif judged and not seal.decision:
        wrong.append(
            f"{where}: it is to be judged again (`assay promote {where}`): evidence was added "
            "since"
        )
    but = sealing.JUDGING if unfinished or not seal.decision else ()
    wrong += sealing.differences(seal, now, but=but)
    said = f"{len(seal.files)} files, {len(seal.tags)} tags, {len(seal.metrics)} metrics"
    said += " and the card are as sealed (report.html and the run's own tags are not sealed)"
    return _each("seal", wrong, said)


def _weights(seal: Seal, now: Snapshot, weigh: Callable[[Path], str] | None) -> list[Check]:
    if weigh is None:
        return []
    try:
        found = weigh(now.folder / layout.DATA)
    except (AssayError, OSError) as error:
        found = f"nothing readable ({error})"
    wrong = [
        f"{seal.model}/{seal.version}: its files weigh {found[:12]}, its evidence is about "
        f"{seal.weights[:12]}; restore them from a backup"
    ]
    return _each("weights", wrong if found != seal.weights else [], f"they are {found[:12]}")


def _numbers(chain: Chain, number: str, seal: Seal, now: Snapshot) -> list[Check]:
    """Every metric a reviewer sees, computed again from the records.

    One that the last evidence does not give any more must follow from some before it: MLflow
    cannot take a metric back.
    """
    where, held = f"{now.version.name}/{number}", now.folder / layout.EVIDENCE
    right = bundle.metrics(bundle.read(held, seal.evidence).measures())
    wrong = [
        f"{where}: its records give {name} {value!r}, and the run says "
        f"{now.metrics.get(name, 'nothing')!r}; put it back"
        for name, value in right.items()
        if not _near(value, now.metrics.get(name))
    ]
    left = {name: value for name, value in now.metrics.items() if name not in right}
    for entry in reversed(chain.entries) if left else ():
        if entry.version == number and entry.kind in SEALED and entry.evidence:
            before = bundle.metrics(bundle.read(held, entry.evidence).measures())
            left = {n: v for n, v in left.items() if not _near(before.get(n), v)}
    wrong += [f"{where}: the metric {n} {v!r} follows from no records" for n, v in left.items()]
    return _each("metrics", wrong, f"{len(now.metrics)} follow from the records")


@dataclass(frozen=True, eq=False)
class _Judgements:
    """What of a version's judgements verifies, by the digest of its entry, and what not."""

    held: Mapping[str, Judgement]
    wrong: list[str]


def _judgements(chain: Chain, number: str, folder: Path) -> _Judgements:
    held, wrong = {}, []
    for entry in chain.entries:
        try:
            if entry.kind == "decision" and entry.version == number:
                held[entry.digest] = sealing.judgement(folder, entry)
                wrong += _beside(chain, entry, sealing.read(folder, entry.seal))
            elif entry.kind == "publication" and entry.version == number:
                sealing.read(folder, entry.seal)
        except EvidenceError as error:
            wrong.append(f"{chain.model}/{number}: {error}")
    return _Judgements(held, wrong)


def _decided(
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
    return _each("decision", [problem] if wrong else [], said)


def _beside(chain: Chain, entry: Entry, seal: Seal) -> list[str]:
    """Whether a parent or champion was judged by other evidence than was known of it then."""
    before = chain.until(entry.seq - 1)
    return [
        f"{chain.model}/{entry.version}: it was judged beside a {who}, version {then.version}, "
        f"by evidence {then.evidence[:12]} and not by the last published; judge it again"
        for who, then in (("parent", seal.parent), ("champion", seal.champion))
        if then.version and before.evidence(then.version) != then.evidence
    ]


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
            return f"its {key} is {_short(now.get(key))}, not {_short(was[key])}"
    for one, other in zip(old.findings, new.findings, strict=False):
        for field in (name for name in one.__slots__ if name != "because"):
            mine, theirs = getattr(one, field), getattr(other, field)
            if mine != theirs and not _near(mine, theirs):
                return f"{one.rule} has {field} {_short(theirs)}, not {_short(mine)}"
    same = len(old.findings) == len(new.findings)
    return "" if same else f"there are {len(new.findings)} findings, not {len(old.findings)}"


def _serves(store: Store, chain: Chain, which: str, number: str) -> bool:
    """Whether a version is asked about as one in use: champion, or by somebody's alias."""
    own = not which.isdecimal() and which not in (CANDIDATE, PREVIOUS)
    return own or number in (chain.champion, store.pointed(chain.model, CHAMPION))


def _promotion(
    chain: Chain, version: Version, judgements: _Judgements, today: date
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
    return _each("promotion", wrong, f"by {promoted.by}: {by.decision.sentence}{note}")


def _by_policy(
    chain: Chain, version: Version, judgements: _Judgements, policy: Policy | None
) -> list[Check]:
    """Whether a version rests on the policy that was asked for, waivers and all."""
    where, promoted = (
        f"{version.name}/{version.number}",
        chain.last(version.number, "promotion"),
    )
    if policy is None:
        return []
    by = _resting_on(promoted, judgements) if promoted else None
    by = by or next(reversed(list(judgements.held.values())), None)
    if by is None:
        return [Check("policy", False, f"{where}: no judgement of it verifies")]
    found = by.decision.policy_digest
    wrong = (
        f"{where}: it rests on policy {by.decision.policy} ({found[:12]}) and not on "
        f"{policy.name} ({policy.identity[:12]}); judge it by that one"
    )
    said = f"it rests on {policy.name} ({found[:12]}), as asked"
    return _each("policy", [wrong] if found != policy.identity else [], said)


def _against_another(
    chain: Chain, promoted: Entry, judgements: _Judgements, where: str
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


def _resting_on(promoted: Entry, judgements: _Judgements) -> Judgement | None:
    """The judgement a champion rests on: the last, where it passes, else the promoting one.

    So judging again under a policy that renews a waiver is what renews it.
    """
    held = list(judgements.held.values())
    if held and held[-1].decision.promote:
        return held[-1]
    return next((j for j in reversed(held) if j.entry.seal == promoted.seal), None)


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


def _signed(seal: Seal, folder: Path, key: Path | None) -> list[Check]:
    kept = folder / layout.SEALS / f"{seal.digest[:12]}.sig"
    signature, shown = _text(kept), _text(folder / layout.SIGNATURE)
    where = f"{seal.model}/{seal.version}"
    if signature != shown:
        said = f"{where}: {layout.SIGNATURE} and {layout.SEALS}/{kept.name} differ, so one was "
        return [Check("signature", False, said + "altered; restore it from a backup")]
    if key is None:
        said = "signed; give the public key to check it" if signature else UNSIGNED
        return [Check("signature", True, said)]
    why = signing.flaw(layout.SEAL, seal.text, signature, key)
    wrong = [f"{where}: its seal does not verify: {why}; judge it again with the key"]
    return _each("signature", wrong if why else [], f"its seal is signed by {key.name}")


def _text(path: Path) -> str:
    return path.read_text("utf-8", "replace") if path.is_file() else ""


def _signed_history(store: Store, chain: Chain, key: Path | None) -> list[Check]:
    """The signed head vouches for all before it; after it, only what rules over nothing."""
    anchor, signature = store.signed_head(chain.model)
    if key is None:
        said = "signed; give the public key to check it" if signature else UNSIGNED
        return [Check("signed history", True, said)]
    name = chain.model
    why = signing.flaw(SIGNED_NAME, head_text(name, anchor), signature, key)
    if not why and not chain.holds(anchor):
        why = f"the head that was signed, entry {anchor.partition(' ')[0]}, is not in it"
    seq = int(anchor.partition(" ")[0]) if not why else 0
    after = [e for e in chain.ruling if e.seq > seq]
    if not why and after:
        first = after[0]
        why = (
            f"entry {first.seq}, a {first.kind} of version {one_line(first.version)} by "
            f"{one_line(first.by)}, is newer than the signed head; where it is right, `assay "
            f"history {name} --sign` with the key vouches for it"
        )
    else:
        why += "; restore it from a backup" if why else ""
    wrong = [f"the history of {name} does not verify: {why}"]
    return _each("signed history", wrong if why else [], f"signed up to entry {seq}")


def _each(name: str, wrong: Iterable[str], said: str) -> list[Check]:
    found = [Check(name, False, sentence) for sentence in wrong]
    return found or [Check(name, True, said)]


def _near(one: object, other: object) -> bool:
    if not isinstance(one, int | float) or not isinstance(other, int | float):
        return False
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
