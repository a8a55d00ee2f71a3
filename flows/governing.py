"""The registry's verbs: promote, approve, roll back, verify, history, backtest."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from audits.errors import EvidenceError, SpecError
from flows.home import Home, open_registry
from flows.judging import case_of, parent_of, renewing
from flows.outcome import save
from flows.reviewing import find_version
from registry.documents import validate
from registry.gate import Decision, decide
from registry.guard import head_text
from registry.history import GATE, one_line
from registry.looks import looked, looks_at
from registry.policy import Policy, load_policy
from registry.store import CHAMPION, Judgement, Store, Version, overruled

Answer = tuple[dict[str, Any], str]


def promote(named: str, policy_file: Path | None, home: Home, *, by: str = GATE) -> Answer:
    """Judge a version again, on stored evidence and today, and make it champion if it passes.

    The policy is the one it was last judged by, or the file given. `by` is who wants it, which
    must be said of a version that somebody went back from.

    Raises:
        SpecError: it was never judged and no policy is given.
        GateRefused: the decision does not allow it, or another promotion came first.
    """
    store = open_registry(home)
    found = find_version(store, named)
    policy = load_policy(policy_file) if policy_file else _last_policy(store, found)
    version, decision, champion, but = renewing(lambda: _judged(store, found, policy))
    promoted = store.promote(
        version, decision, expected_champion=champion, by=by, note=but,
    )  # fmt: skip
    document = {
        "name": promoted.name, "version": promoted.number, "weights": promoted.weights,
        "sentence": decision.sentence, "overruled": but,
    }  # fmt: skip
    where = f"{promoted.name}/{promoted.number}"
    text = f"{where} is champion: {decision.sentence}"
    return document, f"{text}\nnote: {but}" if but else text


class _Judged(NamedTuple):
    """A version with the decision that is on record now, and what it was made beside."""

    version: Version
    decision: Decision
    champion: str | None
    overruled: str


def _judged(store: Store, found: Version, policy: Policy) -> _Judged:
    """Judge a version as everything stands, and put that on record."""
    champion = store.resolve(found.name, CHAMPION)
    evidence = store.evidence(found.name, found.number)
    version = store.version(found.name, found.number)
    case = case_of(
        store,
        version,
        policy,
        evidence,
        parent=parent_of(store, version.name, evidence),
        champion=store.evidence(champion.name, champion.number) if champion else None,
    )
    decision = decide(policy, case)
    but = overruled(store.judgements(version), decision, version.evidence)
    if not store.recorded(version, decision):
        version = store.record(version, decision, policy.model_dump(mode="json"))
    return _Judged(version, decision, champion.number if champion else None, but)


def _last_policy(store: Store, version: Version) -> Policy:
    judged = store.judgements(version)
    if not judged:
        raise SpecError(
            f"{version.name}/{version.number}: it was never judged; name a policy with --policy"
        )
    where = f"policy of {version.name}/{version.number}"
    return validate(Policy, dict(judged[-1].policy), where)


def approve(named: str, by: str, note: str, home: Home) -> Answer:
    """Put on record that a person says yes to exactly these weights."""
    store = open_registry(home)
    version = store.approve(find_version(store, named), by=by, note=note)
    document = {
        "name": version.name, "version": version.number, "weights": version.weights, "by": by,
    }  # fmt: skip
    where = f"{version.name}/{version.number}"
    text = (
        f"{where}: {by} approves weights {version.weights[:12]}. "
        f"`assay promote {where}` judges it with that."
    )
    return document, text


def rollback(name: str, to: str | None, by: str, note: str, home: Home) -> Answer:
    """Make an earlier champion champion again; itself an entry of the history."""
    store = open_registry(home)
    before = store.pointed(name, CHAMPION) or "none"
    version = store.rollback(name, to=to, by=by, note=note)
    document = {"name": name, "version": version.number, "replaces": before, "by": by}
    return document, f"{name}/{version.number} is champion again, instead of {before}"


def history(name: str, home: Home, *, sign: bool = False) -> Answer:
    """Everything that was decided about a model, oldest first; signed as it stands if asked.

    Exit code 4 where entries are missing, break the rules, or the aliases are elsewhere.
    """
    from registry.retracing import verify_chain

    store = open_registry(home)
    held = store.anchors(name)  # first: the chain may only grow after
    chain = store.vouch(name) if sign else store.history(name)
    unsigned = store.unsigned(name)
    if not chain.entries and not store.versions(name):
        raise SpecError(f"{name}: no such model is registered in {home.tracking_uri}")
    rows = [entry.model_dump(mode="json") for entry in chain.entries]
    lines = [f"{'#':>5}  {'when':<20} {'what':<10} {'version':<8} {'verdict':<13} who and why"]
    for entry in chain.entries:
        why = "; ".join(filter(None, [entry.note, *(f"waived {w}" for w in entry.waivers)]))
        row = (
            f"{entry.seq:>5}{'!' if entry.seq in unsigned else ' '} {entry.at:<20} "
            f"{entry.kind:<10} {entry.version:<8} {entry.verdict or '-':<13} "
            f"{entry.by}{': ' if why else ''}{why}"
        )
        lines.append(one_line(row))
    wrong = [check.said for check in verify_chain(store, chain, held) if not check.ok]
    document = {
        "name": name, "champion": chain.champion, "head": chain.head, "entries": rows,
        "unsigned": unsigned, "problems": wrong, "exit": 4 if wrong else 0,
    }  # fmt: skip
    lines += [one_line(f"BAD {said}") for said in wrong]
    lines.append(one_line(f"champion {chain.champion or 'none'}"))
    if unsigned:
        lines.append("! no signature of your key covers it: --sign vouches for all of them")
    return document, "\n".join(lines)


def verify(
    named: str,
    key: Path | None,
    home: Home,
    *,
    head: Path | None = None,
    policy: Path | None = None,
) -> Answer:
    """Recompute all that a version and its promotion rest on; exit code 4 where it differs.

    `head` is a file of whoever verifies that remembers the head of the history: the history
    must hold it, and where all verifies it is brought up. `policy` is what the version must
    rest on.
    """
    from registry.verifying import verify as check
    from tasks.models.folder import weights_digest

    if key is not None and not key.is_file():
        raise SpecError(f"--key {key}: there is no such file; give the public key (PEM)")
    store = open_registry(home)
    name, which = _which(named)
    found = check(
        store,
        name,
        which,
        key=key,
        today=datetime.now(UTC).date(),
        weigh=weights_digest,
        policy=load_policy(policy) if policy else None,
        remembered=_remembered(head, name),
    )
    if head and found.ok:
        save(head, head_text(name, found.head) + "\n")
    document = {
        "name": name,
        "version": found.version,
        "verified": found.ok,
        "head": found.head,
        "checks": [{"name": c.name, "ok": c.ok, "said": c.said} for c in found.checks],
        "exit": 0 if found.ok else 4,
    }
    where = named if which == found.version else f"{named}, version {found.version}"
    lines = [f"{where}: {'verifies' if found.ok else 'DOES NOT VERIFY'}"]
    lines += [f"  {'ok ' if c.ok else 'BAD'} {c.name}: {c.said}" for c in found.checks]
    return document, "\n".join(lines)


def _remembered(head: Path | None, name: str) -> dict[str, str]:
    """What a file remembers of a history; nothing where there is none yet.

    Raises:
        SpecError: it holds something else, or another model's.
    """
    if head is None or not head.exists():
        return {}
    try:
        held = json.loads(head.read_text("utf-8"))
        model, anchor = str(held["model"]), str(held["head"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SpecError(
            f"--head {head}: it holds no head of a history; restore it, or name a new file"
        ) from error
    if model != name:
        raise SpecError(f"--head {head}: it remembers the history of {model}, not of {name}")
    return {str(head): anchor}


def _which(named: str) -> tuple[str, str]:
    """Name, and the alias or number meant; the champion where neither is given."""
    for sign in ("@", "/"):
        name, found, which = named.partition(sign)
        if found:
            return name, which
    return named, CHAMPION


def backtest(file: Path, name: str, home: Home) -> Answer:
    """Replay a policy over the stored evidence of every judged version; no model is run.

    Each version is judged beside the parent and the champion it was judged beside then, with
    the approvals and looks of then, on the day of then. It promotes nothing and so spends no
    look: a policy that was chosen because it passes what is stored still has to be applied by
    `assay promote`, which counts.
    """
    policy = load_policy(file)
    store = open_registry(home)
    rows = []
    for version in store.versions(name):
        judged = store.judgements(version)
        if judged:
            rows.append(_replayed(store, version, judged, policy))
    if not rows:
        raise SpecError(f"{name}: no version was ever judged; `assay run` judges some")
    changed = [r for r in rows if r["then"] != r["now"]]
    lines = [f"{policy.name} over {len(rows)} judged versions of {name}:"]
    lines += [
        f"  {r['version']:>4} {r['title']:<12} {r['then']:<13} -> {r['now']:<13} {r['because']}"
        for r in rows
    ]
    lines.append(f"{len(changed)} of {len(rows)} verdicts would have been another")
    return {"policy": policy.identity, "name": name, "versions": rows}, "\n".join(lines)


def _replayed(
    store: Store, version: Version, judged: Sequence[Judgement], policy: Policy
) -> dict[str, str]:
    """The last judgement of a version, by a policy that counts looks by its own rules."""
    *before, last = judged
    row = {
        "version": version.number,
        "title": version.tags.get("assay.variant", ""),
        "on": last.decision.on,
        "then": str(last.decision.verdict),
    }
    try:
        case = store.case_then(version, last)
        counted = looks_at(last, policy, looked(store, version, before))
        now = decide(policy, replace(case, looks=counted))
    except (EvidenceError, SpecError) as error:
        return {**row, "now": "not replayed", "because": str(error)}
    return {**row, "now": str(now.verdict), "because": now.sentence}
