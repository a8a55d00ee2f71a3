"""What does a registry hold about a version, and is that what was put on record?"""

import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import date, datetime
from pathlib import Path

from audits.errors import EvidenceError, SpecError
from audits.evidence import Evidence
from registry import bundle, layout, signing
from registry import seal as sealing
from registry.backend import Backend
from registry.docket import require, require_published
from registry.finding import Approval, Case
from registry.gate import Decision
from registry.guard import Guard, interrupted, misplaced, utc_now
from registry.history import Chain
from registry.seal import Seal
from registry.store import (
    CHAMPION,
    PREVIOUS,
    Judgement,
    Snapshot,
    Version,
    approvals_in,
    model_name,
)

RENEWING_TRIES, RENEWING_S = 5, 0.2
"""How long another process may take from an entry of new evidence to its tags."""


class Reader:
    """The reading half of `registry.store.Store`, on whatever `backend` keeps things in."""

    def __init__(
        self,
        backend: Backend,
        root: Path | None,
        *,
        key: Path | None = None,
        memory: Path | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._backend, self._root, self._key = backend, root, key
        memory = root / "heads" if root else memory
        self._guard = Guard(backend, memory=memory, key=key, clock=clock)
        self._copies = tempfile.TemporaryDirectory(prefix="assay-")

    def version(self, name: str, number: str) -> Version:
        """A sealed version. SpecError where there is none."""
        found = self._backend.version(model_name(name), number)
        if found is None or not found.evidence:
            raise SpecError(f"{name}/{number}: there is no such version")
        return found

    def versions(self, name: str) -> tuple[Version, ...]:
        """All sealed versions, oldest first; none for an unknown name."""
        return tuple(v for v in self._backend.search(model_name(name)) if v.evidence)

    def resolve(self, name: str, alias: str) -> Version | None:
        """The version an alias points at, or None; the champion is who the history says.

        Raises:
            EvidenceError: it is not sealed, or an alias of ours was moved by hand.
        """
        found = self._backend.alias(model_name(name), alias)
        if found is not None and not found.evidence:
            raise EvidenceError(
                f"{name}@{alias}: points at version {found.number}, which was never sealed; "
                "publish its weights again"
            )
        if alias == PREVIOUS:
            self._require_previous(name, found)
        if alias != CHAMPION:
            return found
        chain, pointed = self._guard.chain(name), found.number if found else None
        self._guard.require_there(chain, pointed)
        if interrupted(chain, pointed):
            return self.version(name, chain.champion or "")
        if said := misplaced(chain, pointed):
            raise EvidenceError(said)
        return found

    def _require_previous(self, name: str, found: Version | None) -> None:
        before, pointed = self.previous(self.history(name)), found.number if found else ""
        if pointed != before:
            raise EvidenceError(
                f"{name}: the alias {PREVIOUS} points at {pointed or 'none'}, and the history "
                f"says {before or 'none'}; put it back"
            )

    def sound(self, version: Version) -> Version:
        """A version as it stands, where that is what was sealed, all files included.

        Raises:
            EvidenceError: with what was altered.
        """
        return self._standing(version)[1].version

    def evidence(self, name: str, number: str) -> Evidence:
        """Everything stored about a version, verified against its digests and the history.

        Raises:
            EvidenceError: something was altered, or the history knows of other evidence.
        """
        version = self.version(name, number)
        for _ in range(RENEWING_TRIES):  # an entry precedes its tags
            if self.history(name).evidence(number) in ("", version.evidence):
                break
            time.sleep(RENEWING_S)
            version = self.version(name, number)
        require_published(self.history(name), version)
        return self._read(version)

    def attachment(self, version: Version, path: str) -> Path:
        """A file among a version's artifacts; a server's copy lives as long as the store."""
        aside = Path(self._copies.name) / version.run
        aside.mkdir(exist_ok=True)
        found = self._backend.fetch(version.run, path, aside)
        if not found.exists():
            raise EvidenceError(f"{version.name}/{version.number}: it has no file {path}")
        return found

    def decision(self, version: Version) -> Decision | None:
        """The last decision on a version, or None where it was never judged."""
        if not version.verdict:
            return None
        path = self.attachment(version, layout.DECISION)
        found = layout.read_decision(path, version)
        entry = self.history(version.name).last(version.number, "decision")
        folder = self.attachment(version, layout.SEALS).parent
        if (
            entry is None
            or sealing.digest_of(path) != sealing.read(folder, entry.seal).decision
        ):
            raise EvidenceError(f"{path}: it was altered since it was sealed; judge again")
        return found

    def judgements(self, version: Version) -> tuple[Judgement, ...]:
        """Every decision on a version, oldest first."""
        chain = self.history(version.name)
        judged = [
            e for e in chain.entries if e.kind == "decision" and e.version == version.number
        ]
        if not judged:
            return ()
        folder = self._shelves(version)
        return tuple(sealing.judgement(folder, entry) for entry in judged)

    def recorded(self, version: Version, decision: Decision) -> bool:
        """Whether a decision is on record, and signed where there is a key."""
        if not decision.same_as(self.decision(version)):
            return False
        last = self.history(version.name).last(version.number, "decision")
        if self._key is None or last is None:
            return last is not None
        shelf = self.attachment(version, layout.SEALS)
        seal = sealing.read(shelf.parent, last.seal)
        path = shelf / f"{last.seal[:12]}.sig"
        signature = path.read_text("utf-8") if path.is_file() else ""
        return not signing.own_flaw(layout.SEAL, seal.text, signature, self._key)

    def _shelves(self, version: Version) -> Path:
        """Where everything lies that a judgement consists of."""
        for shelf in (layout.SEALS, layout.DECISIONS, layout.POLICIES):
            self.attachment(version, shelf)
        return self.attachment(version, layout.EVIDENCE).parent

    def case_then(self, version: Version, judged: Judgement) -> Case:
        """What a judgement of a version was about, from the evidence as it stood then."""
        seal = sealing.read(self.attachment(version, layout.SEALS).parent, judged.entry.seal)
        old = judged.decision
        return Case(
            candidate=self.evidence_at(version, seal.evidence),
            parent=self._referenced(version.name, seal.parent, old.parent),
            champion=self._referenced(version.name, seal.champion, old.champion),
            approvals=old.approvals,
            looks=old.looks,
            today=date.fromisoformat(old.on),
        )

    def _referenced(self, name: str, then: sealing.Reference, weights: str) -> Evidence | None:
        if not weights:
            return None
        if not then.version:
            raise EvidenceError(f"the evidence of {weights[:12]} is not in the registry")
        found = self.evidence_at(self.version(name, then.version), then.evidence)
        if found.subject != weights:
            raise EvidenceError(
                f"version {then.version} is about {found.subject[:12]}, not {weights[:12]}"
            )
        return found

    def records(self, version: Version) -> Mapping[str, str]:
        """The digest of each part's records, by the part's name, as they stand now."""
        return bundle.records(self.attachment(version, layout.EVIDENCE), version.evidence)

    def bases(self, version: Version) -> Mapping[str, str]:
        """The question each part answers, by the part's name, as they stand now."""
        return bundle.bases(self.attachment(version, layout.EVIDENCE), version.evidence)

    def evidence_at(self, version: Version, digest: str) -> Evidence:
        """What was known of a version when its evidence had this digest."""
        return bundle.read(self.attachment(version, layout.EVIDENCE), digest)

    def approvals(self, version: Version) -> tuple[Approval, ...]:
        """What people said of a version, also by a tag in the registry's own pages."""
        return approvals_in(self.version(version.name, version.number).tags)

    def history(self, name: str) -> Chain:
        """Everything that happened to a model; empty for an unknown name."""
        return self._guard.history(name)

    def anchors(self, name: str) -> Mapping[str, str]:
        """Where the head of a history is remembered, and which."""
        return self._guard.anchors(name)

    def unsigned(self, name: str) -> tuple[int, ...]:
        """Numbers of the history's entries that our key has to vouch for and has not."""
        return self._guard.unsigned(name)

    def require_vouched(self, name: str) -> None:
        """Refuse to go on from a history that somebody without our key went on with.

        Raises:
            EvidenceError: with the entry, and how to vouch for it.
        """
        self._guard.require_vouched(model_name(name))

    def signed_head(self, name: str) -> tuple[str, str]:
        """The anchor that was signed last, and its signature; empty where none was."""
        return self._guard.signed_head(name)

    def previous(self, chain: Chain) -> str:
        """The version that the alias `previous` belongs at; empty where there is none."""
        return self._guard.previous(chain)

    def pointed(self, name: str, alias: str) -> str | None:
        """Number of the version an alias points at, sealed or not."""
        return self._guard.pointed(name, alias)

    def snapshot(self, name: str, number: str) -> Snapshot | None:
        """A version as it stands, sealed or not, with all its files; None: there is none."""
        found = self._backend.version(model_name(name), number)
        if found is None:
            return None
        facts = self._backend.facts(found.run)
        own = f"{facts.artifacts.rstrip('/')}/{layout.MODEL}"
        astray = tuple(p for p in self._backend.loads(found.name, found.number) if p != own)
        return Snapshot(found, self._files(found), facts.metrics, facts.params, astray)

    def _files(self, version: Version) -> Path:
        """All files of a version's run; a fresh copy, for an old one may hold what is gone."""
        aside = Path(tempfile.mkdtemp(dir=self._copies.name))
        return self._backend.fetch(version.run, "", aside)

    def _standing(self, version: Version) -> tuple[Chain, Snapshot, Seal]:
        """A version as it stands with all its files, and the seal that this agrees with.

        Raises:
            EvidenceError: with what was altered; not while another process works on it.
        """
        name, number = version.name, version.number
        while True:
            chain = self._guard.chain(name)
            now = self.version(name, number)
            held = self.snapshot(name, number)
            try:
                if held is None:
                    raise EvidenceError(f"{name}/{number}: the version vanished")
                return chain, held, require(chain, held)
            except EvidenceError:
                if not self._moved(chain, now):
                    raise

    def _moved(self, chain: Chain, then: Version) -> bool:
        """Whether another process works on a version: files, then an entry, then tags."""
        for again in range(RENEWING_TRIES):
            time.sleep(RENEWING_S if again else 0)
            if self.version(then.name, then.number) != then:
                return True
            if self._guard.history(then.name).head != chain.head:
                return True
        return False

    def _read(self, version: Version, digest: str = "") -> Evidence:
        """A version's evidence as it stands, or as it was when it had this digest."""
        wanted = digest or version.evidence
        found = bundle.read(self.attachment(version, layout.EVIDENCE), wanted)
        if found.subject != version.weights:
            raise EvidenceError(
                f"{version.name}/{version.number}: its evidence is about {found.subject[:12]}"
            )
        return found
