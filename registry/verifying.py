"""Is a version what the history says was judged and promoted? Recomputed, trusting nobody."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from audits.errors import AssayError, EvidenceError, SpecError, StageError
from registry import bundle, layout, signing
from registry import seal as sealing
from registry.checks import UNSIGNED, Check, each, near
from registry.history import SEALED, Chain, Entry
from registry.policy import Policy
from registry.rejudging import by_policy, decided, grounds, judgements, promotion
from registry.retracing import aliases, named, read_history, signed_history
from registry.seal import Seal
from registry.store import CANDIDATE, CHAMPION, PREVIOUS, Snapshot, Store


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
    history, chain = read_history(store, name, remembered)
    number = _number(store, name, which, chain)
    checks = history + aliases(store, chain)
    if chain is None:
        return Verification(name, number, tuple(checks))
    checks += named(chain, which, number)
    try:
        checks += _version(store, chain, number, which, today, key, weigh, policy)
    except (EvidenceError, StageError) as error:
        checks.append(Check("version", False, str(error)))
    checks += signed_history(store, chain, key)
    if all(check.ok for check in history):
        store.remember(name, chain)
    return Verification(name, number, tuple(checks), chain.anchor)


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
    told = judgements(chain, number, now.folder)
    checks += each("judgements", told.wrong, f"{len(told.held)} are as sealed")
    subjects = {j.decision.subject for j in told.held.values()} - {seal.weights}
    checks += [
        Check("judgements", False, f"{name}/{number}: one is about {other[:12]}; it is forged")
        for other in sorted(subjects)
    ]
    checks += grounds(chain, number, told, now.folder)
    if last.digest in told.held:
        seal = sealing.read(now.folder, last.seal)
        checks += decided(
            store,
            seal,
            told.held[last.digest],
            now.version,
            tuple(told.held.values()),
        )
        checks += _signed(seal, now.folder, key)
    if _serves(store, chain, which, number):
        checks += promotion(chain, now.version, told, today)
    else:
        checks.append(Check("promotion", True, f"{name}/{number} is not champion"))
    checks += by_policy(chain, now.version, told, policy)
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
    return each("seal", wrong, said)


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
    return each("weights", wrong if found != seal.weights else [], f"they are {found[:12]}")


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
        if not near(value, now.metrics.get(name))
    ]
    left = {name: value for name, value in now.metrics.items() if name not in right}
    for entry in reversed(chain.entries) if left else ():
        if entry.version == number and entry.kind in SEALED and entry.evidence:
            before = bundle.metrics(bundle.read(held, entry.evidence).measures())
            left = {n: v for n, v in left.items() if not near(before.get(n), v)}
    wrong += [f"{where}: the metric {n} {v!r} follows from no records" for n, v in left.items()]
    return each("metrics", wrong, f"{len(now.metrics)} follow from the records")


def _serves(store: Store, chain: Chain, which: str, number: str) -> bool:
    """Whether a version is asked about as one in use: champion, or by somebody's alias."""
    own = not which.isdecimal() and which not in (CANDIDATE, PREVIOUS)
    return own or number in (chain.champion, store.pointed(chain.model, CHAMPION))


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
    return each("signature", wrong if why else [], f"its seal is signed by {key.name}")


def _text(path: Path) -> str:
    return path.read_text("utf-8", "replace") if path.is_file() else ""
