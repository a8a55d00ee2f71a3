"""How is a decision put on record, so that it can be read, and made again from what is kept?"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from audits.evidence import Evidence
from registry import layout, signing
from registry import seal as sealing
from registry.backend import Backend
from registry.gate import Decision
from registry.guard import Guard
from registry.seal import Reference, Seal
from registry.store import Version


@dataclass(frozen=True, eq=False)
class Judged:
    """A decision on a version, and how the version will show it: by tags and by its card."""

    version: Version
    decision: Decision
    policy: Mapping[str, object]
    marks: Mapping[str, str]
    card: str


class Docket:
    """Writes decisions with their policies and seals; signs these where there is a key."""

    def __init__(self, backend: Backend, guard: Guard, *, key: Path | None = None) -> None:
        self._backend, self._guard, self._key = backend, guard, key

    def write(self, aside: Path, judged: Judged, evidence: Evidence, held: Path) -> str:
        """Write the files of a decision beside what `aside` holds; returns the seal's digest.

        The seal covers them, what `aside` holds, and the files the version's run has (`held`).

        Raises:
            EvidenceError: the history, or the seal before, does not verify.
        """
        decided = layout.document(judged.decision.as_json())
        decision = layout.keep(aside, layout.DECISION, layout.DECISIONS, decided)
        ruled = layout.document(dict(judged.policy))
        policy = layout.keep(aside, layout.POLICY, layout.POLICIES, ruled)
        made = self._seal(aside, judged, evidence, held, decision, policy)
        digest = layout.keep(aside, layout.SEAL, layout.SEALS, made.text.encode())
        if self._key:
            signature = signing.sign(layout.SEAL, made.text, self._key)
            for place in (layout.SIGNATURE, f"{layout.SEALS}/{digest[:12]}.sig"):
                (aside / place).write_text(signature, "utf-8")
        return digest

    def _seal(
        self,
        aside: Path,
        judged: Judged,
        evidence: Evidence,
        held: Path,
        decided: str,
        ruled: str,
    ) -> Seal:
        version, decision = judged.version, judged.decision
        before = self._guard.chain(version.name).last(version.number, "decision")
        files = sealing.files(held, before.seal if before else "") | sealing.digests(aside)
        facts, about = self._backend.facts(version.run), evidence.about
        return Seal(
            model=version.name, version=version.number, weights=version.weights,
            evidence=version.evidence, decision=decided, policy=ruled,
            parent=self._reference(version.name, decision.parent),
            champion=self._reference(version.name, decision.champion),
            spec=files.get("run/spec.json", ""),
            data=str(about.get("data") or ""), tokenizer=str(about.get("tokenizer") or ""),
            environment=sealing.environment(), code=sealing.code(), files=files,
            tags=sealing.sealed_tags({**version.tags, **judged.marks}),
            metrics=dict(facts.metrics), params=dict(facts.params),
            description=sealing.digest(judged.card.encode()),
        )  # fmt: skip

    def _reference(self, name: str, weights: str) -> Reference:
        """The version of these weights as it stands; only the weights where there is none."""
        found = self._backend.search(name, weights) if weights else []
        sealed = next((v for v in found if v.evidence), None)
        if sealed is None:
            return Reference(weights=weights)
        return Reference(version=sealed.number, weights=weights, evidence=sealed.evidence)
