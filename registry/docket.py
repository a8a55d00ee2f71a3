"""How does a version get its seal, at its publication and with every decision on it?

What is put on record follows from what is in hand and from the seal before; what stands in
the registry is held against that seal first (`require`), and never sealed as it stands.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from audits.errors import EvidenceError, Renewed
from audits.evidence import Evidence
from registry import layout, signing
from registry import seal as sealing
from registry.backend import Backend
from registry.gate import Decision
from registry.history import SEALED, Chain
from registry.seal import Reference, Seal
from registry.store import Snapshot, Version


@dataclass(frozen=True, eq=False)
class Judged:
    """A decision on a version, and how the version will show it: by tags and by its card."""

    version: Version
    decision: Decision
    policy: Mapping[str, object]
    marks: Mapping[str, str]
    card: str


class Grounds(NamedTuple):
    """The evidence that a decision was made from: whose, and which."""

    candidate: Reference
    parent: Reference
    champion: Reference

    @property
    def evidence(self) -> tuple[str, str, str]:
        """The digests alone."""
        return self.candidate.evidence, self.parent.evidence, self.champion.evidence


@dataclass(frozen=True, eq=False)
class Published:
    """What the run and the version of some weights will show once they are published."""

    version: Version
    evidence: Evidence
    digest: str
    """Of the evidence."""
    files: Mapping[str, str]
    """Digests by path, of all that the publication brings."""
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    card: str


def require(chain: Chain, now: Snapshot) -> Seal:
    """The seal a version stands under, where it is as that says.

    What the next judgement writes anew may differ where the version has no verdict: evidence
    was added, or a judgement was broken off.

    Raises:
        EvidenceError: it has none, or was altered since, with what.
    """
    version = now.version
    where = f"{version.name}/{version.number}"
    last = chain.last(version.number, *SEALED)
    if last is None:
        raise EvidenceError(f"{where}: nobody published it by the rules; run it again")
    if last.evidence != version.evidence:
        raise EvidenceError(_unlike(where, version.evidence, last.evidence))
    seal = sealing.read(now.folder, last.seal)
    if len({seal.weights, version.weights, last.weights, chain.weights(version.number)}) > 1:
        raise EvidenceError(
            f"{where}: it is {version.weights[:12]}, and was made of "
            f"{chain.weights(version.number)[:12]}: an entry of its history is forged"
        )
    if altered := sealing.other_model(chain, seal, now.folder):
        raise EvidenceError(altered[0])
    but = () if version.verdict else sealing.JUDGING
    if wrong := sealing.differences(seal, now, but=but):
        raise EvidenceError(wrong[0])
    return seal


def require_published(chain: Chain, version: Version) -> None:
    """Refuse evidence of a version that is not the last which its history knows.

    Raises:
        EvidenceError: a tag was altered, or a publication was broken off.
    """
    where, known = f"{version.name}/{version.number}", chain.evidence(version.number)
    if not known:
        raise EvidenceError(f"{where}: nobody published it by the rules; run it again")
    if version.evidence != known:
        raise EvidenceError(_unlike(where, version.evidence, known))


def require_current(chain: Chain, judged: Version, grounds: Grounds) -> None:
    """Refuse a judgement by evidence that was renewed since.

    Raises:
        Renewed: with the version whose evidence it was.
    """
    for one in grounds:
        if one.version and chain.evidence(one.version) != one.evidence:
            raise Renewed(
                f"{judged.name}/{judged.number}: it was judged by evidence "
                f"{one.evidence[:12]} of version {one.version}, of which the history has "
                f"other by now; judge it again"
            )


def _unlike(where: str, here: str, there: str) -> str:
    return (
        f"{where}: its evidence is {here[:12]} and the history says {there[:12]}: a "
        "publication was broken off, or a tag was altered; run it again"
    )


class Docket:
    """Writes decisions with their policies and seals; signs these where there is a key."""

    def __init__(self, backend: Backend, *, key: Path | None = None) -> None:
        self._backend, self._key = backend, key

    def judge(
        self,
        aside: Path,
        judged: Judged,
        evidence: Evidence,
        before: Seal,
        grounds: Grounds,
        *,
        stale: bool,
    ) -> str:
        """Write the files of a decision beside what `aside` holds; returns the seal's digest.

        The seal is the one `before` with what the decision changes. `stale`: a signature
        stands there, of the seal before.
        """
        version, decision = judged.version, judged.decision
        decided = layout.document(decision.as_json())
        ruled = layout.document(dict(judged.policy))
        made = _seal(
            version, evidence, version.evidence,
            decision=layout.keep(aside, layout.DECISION, layout.DECISIONS, decided),
            policy=layout.keep(aside, layout.POLICY, layout.POLICIES, ruled),
            parent=grounds.parent, champion=grounds.champion,
            files={**before.files, **sealing.digests(aside)},
            tags={**before.tags, **judged.marks},
            metrics=before.metrics, params=before.params, card=judged.card,
        )  # fmt: skip
        digest = layout.keep(aside, layout.SEAL, layout.SEALS, made.text.encode())
        if self._key:
            signature = signing.sign(layout.SEAL, made.text, self._key)
            for place in (layout.SIGNATURE, f"{layout.SEALS}/{digest[:12]}.sig"):
                (aside / place).write_text(signature, "utf-8")
        elif stale:
            (aside / layout.SIGNATURE).write_text("", "utf-8")
        return digest

    def publish(self, aside: Path, new: Published, before: Seal | None) -> Seal:
        """Write the seal of a publication into `aside`; returns it.

        It lies on the shelf only, and the signed head of the history vouches for it.
        """
        made = _seal(
            new.version, new.evidence, new.digest,
            files={**(before.files if before else {}), **new.files},
            tags={**(before.tags if before else {}), **new.tags},
            metrics={**(before.metrics if before else {}), **new.metrics},
            params={**new.params, **(before.params if before else {})},
            card=new.card,
        )  # fmt: skip
        layout.shelve(aside, f"{layout.SEALS}/{made.digest[:12]}.json", made.text.encode())
        return made

    def grounds(self, chain: Chain, judged: Version, decision: Decision) -> Grounds:
        """What a decision on a version was made from, as it says and the registry has it.

        Raises:
            EvidenceError: parent or champion stand with other evidence than the history's last.
        """
        candidate, parent, champion = decision.evidence
        own = {"version": judged.number, "weights": judged.weights}
        return Grounds(
            Reference(**own, evidence=candidate or judged.evidence),
            self._reference(chain, decision.parent, parent),
            self._reference(chain, decision.champion, champion),
        )

    def _reference(self, chain: Chain, weights: str, evidence: str) -> Reference:
        """The version of these weights; only the weights where there is none."""
        found = self._backend.search(chain.model, weights) if weights else []
        known = chain.versions_of(weights)
        held = (v for v in found if v.number in known or not known)
        sealed = next((v for v in held if v.evidence), None)
        if sealed is None:
            return Reference(weights=weights)
        if evidence in ("", chain.evidence(sealed.number)):  # else see `require_current`
            require_published(chain, sealed)
        return Reference(
            version=sealed.number, weights=weights, evidence=evidence or sealed.evidence
        )


def _seal(
    version: Version,
    evidence: Evidence,
    digest: str,
    *,
    files: Mapping[str, str],
    tags: Mapping[str, str],
    metrics: Mapping[str, float],
    params: Mapping[str, str],
    card: str,
    decision: str = "",
    policy: str = "",
    parent: Reference | None = None,
    champion: Reference | None = None,
) -> Seal:
    about = evidence.about
    return Seal(
        model=version.name, version=version.number, weights=evidence.subject, evidence=digest,
        decision=decision, policy=policy,
        parent=parent or Reference(), champion=champion or Reference(),
        spec=files.get("run/spec.json", ""),
        data=str(about.get("data") or ""), tokenizer=str(about.get("tokenizer") or ""),
        environment=sealing.environment(), code=sealing.code(), files=dict(files),
        tags=sealing.sealed_tags(tags), metrics=dict(metrics), params=dict(params),
        description=sealing.digest(card.encode()),
    )  # fmt: skip
