"""How is a version judged, and how does it become champion?"""

import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from audits.errors import EvidenceError, GateRefused, Renewed, SpecError
from registry import card, layout
from registry import seal as sealing
from registry.docket import Grounds, Judged, require_current
from registry.finding import APPROVAL, Approval, Verdict
from registry.gate import Decision
from registry.guard import earlier, interrupted, misplaced, require_short, returning
from registry.history import GATE, SEALED, Chain, Entry
from registry.publishing import PublishingStore
from registry.resting import lapsed
from registry.store import CANDIDATE, CHAMPION, Version, belongs, model_name, permit

NOTE = 1000
"""Characters of a tag's note that the history keeps."""


class VersionStore(PublishingStore):
    """`registry.store.Store` on whatever `backend` keeps things in."""

    def vouch(self, name: str) -> Chain:
        """Sign a history as it stands, with all that was written without the key."""
        return self._guard.vouch(model_name(name))

    def nominate(self, version: Version) -> None:
        """Point `candidate` at a version."""
        self._backend.point(version.name, CANDIDATE, version.number)

    def record(
        self, version: Version, decision: Decision, policy: Mapping[str, object]
    ) -> Version:
        """Store a decision with its version: files, verdict, card, seal, history.

        The verdict is taken away first and given last: without one it counts as not judged.
        What is on record already is not recorded again: of two runs that judge the same
        evidence at once, the second finds the decision of the first.
        """
        belongs(version, decision)
        with self._turn(version.name), tempfile.TemporaryDirectory() as tmp:
            chain, held, before = self._standing(version)
            now = held.version
            if self.recorded(now, decision):
                return now
            grounds = self._grounds(chain, now, decision)
            decision = replace(decision, evidence=grounds.evidence)
            require_short(self._ruled(chain, now, decision, sealing.digest(b"")))
            if now.verdict:
                self._backend.describe(now, tags={"assay.verdict": ""})
            marks = {
                "assay.policy": decision.policy_digest,
                "assay.judged_against": decision.champion or "none",
                "assay.verdict": str(decision.verdict),
            }
            text = card.render(self._subject(now), decision, limit=self._limit)
            (Path(tmp) / layout.CARD).write_text(
                card.render(self._subject(now), decision), "utf-8"
            )
            sealed = self._docket.judge(
                Path(tmp),
                Judged(now, decision, policy, marks, text),
                self._subject(now).evidence,
                before,
                grounds,
                stale=(held.folder / layout.SIGNATURE).is_file(),
            )
            self._backend.upload(now.run, Path(tmp))
            self._backend.log(now.run, tags=marks)
            rest = {k: v for k, v in marks.items() if k != "assay.verdict"}
            self._backend.describe(now, tags=rest, description=text)
            self._enter_approvals(now, decision)

            def write(chain: Chain) -> Entry:
                require_current(chain, now, grounds)
                return self._ruled(chain, now, decision, sealed)

            self._guard.append(now.name, write)
            self._backend.describe(self.version(now.name, now.number), tags=marks)
        return self.version(version.name, version.number)

    def _grounds(self, chain: Chain, now: Version, decision: Decision) -> Grounds:
        """What a decision was made from, while that is the last that is known.

        Raises:
            Renewed: others published meanwhile.
            EvidenceError: parent or champion stand with other evidence than the history's last.
        """
        try:
            grounds = self._docket.grounds(chain, now, decision)
        except EvidenceError as error:
            if self._guard.chain(now.name).head == chain.head:
                raise
            raise Renewed(
                f"{now.name}/{now.number}: others published while it was judged; judge it again"
            ) from error
        require_current(chain, now, grounds)
        return grounds

    def _ruled(self, chain: Chain, now: Version, decision: Decision, seal: str) -> Entry:
        """The entry of a decision."""
        return self._guard.entry(
            chain, "decision", now, seal=seal, policy=decision.policy_digest,
            verdict=str(decision.verdict),
            waivers=tuple(f"{f.rule}: {f.waived}" for f in decision.waived),
        )  # fmt: skip

    def _enter_approvals(self, now: Version, decision: Decision) -> None:
        """Put on record, once, who approved by a tag in the registry's own pages."""
        if all(f.measure for f in decision.findings):  # no rule asked for people
            return
        for said in decision.approvals:
            if said.covers(now.weights):
                self._guard.append(now.name, partial(self._heard, now, said))

    def _heard(self, now: Version, said: Approval, chain: Chain) -> Entry | None:
        known = any(
            (e.kind, e.version, e.by) == ("approval", now.number, said.by)
            for e in chain.entries
        )
        if known:
            return None
        note = f"by a tag: {said.note}" if said.note else "by a tag"
        return self._guard.entry(chain, "approval", now, by=said.by, note=note[:NOTE])

    def promote(
        self,
        version: Version,
        decision: Decision,
        *,
        expected_champion: str | None,
        by: str = GATE,
        note: str = "",
    ) -> Version:
        """Make a version champion: first in the history, then by its aliases."""
        name, number, by = version.name, version.number, _named(by, "promotion")

        def write(chain: Chain) -> Entry | None:
            self._guard.align(chain)
            now = self.version(name, number)
            champion = self.version(name, chain.champion) if chain.champion else None
            permit(now, decision, champion, expected_champion)
            if by == GATE and (back := chain.left(number)):
                raise GateRefused(returning(back))
            judged = chain.last(number, "decision")
            if judged is None or not self._on_record(now, decision, judged):
                raise GateRefused(
                    f"{name}/{number}: this decision is not the one on record; judge the "
                    "version again and promote it by what is recorded then"
                )
            self._require_sealed(now, judged)
            if champion and champion.number == number:
                return None
            return self._guard.move(chain, "promotion", now, judged, by=by, note=note)

        self._guard.follow(name, self._guard.append(name, write))
        return self.version(name, number)

    def _on_record(self, now: Version, decision: Decision, judged: Entry) -> bool:
        """Whether the history's last judgement of a version is this decision, on what it has.

        The history is asked and not the version's tags: another process that records the
        same decision at this moment has taken its verdict away and not yet given it back.
        """
        if judged.evidence != now.evidence:
            return False
        return decision.same_as(sealing.judgement(self._shelves(now), judged).decision)

    def rollback(self, name: str, *, to: str | None = None, by: str, note: str = "") -> Version:
        """Make the champion before (or version `to`, which once was) champion again."""
        by = _named(by, "rollback")
        champion = self.history(name).champion
        # Where the champion was deleted, no alias can be put back: going back mends it.
        there = champion is None or self._guard.there(name, champion)
        if to is not None and there:
            self._put_back(name, by)

        def write(chain: Chain) -> Entry | None:
            if to is None or there:
                self._guard.align(chain)
            if chain.champion != champion:
                raise GateRefused(
                    f"{name}: the champion is version {chain.champion} and no longer "
                    f"{champion}; look, and roll back again if that is still wanted"
                )
            target = self.version(name, earlier(chain, to))
            if target.number == chain.champion:
                return None
            judged = self._require_fit(chain, target)
            return self._guard.move(chain, "rollback", target, judged, by=by, note=note)

        chain = self._guard.append(name, write)
        self._guard.follow(name, chain)
        return self.version(name, chain.champion or "")

    def _require_fit(self, chain: Chain, target: Version) -> Entry:
        """The judgement by which a version may be gone back to.

        Raises:
            GateRefused: it was never judged, failed by now, or a waiver has lapsed.
            EvidenceError: it is not what was judged.
        """
        where = f"{target.name}/{target.number}"
        judged = chain.last(target.number, "decision")
        if judged is None:
            raise GateRefused(f"{where}: it was never judged; judge it")
        self._require_sealed(target, judged)
        last = self.decision(target)
        if last is None or last.verdict is Verdict.FAIL:
            said = last.sentence if last else "it is to be judged again"
            raise GateRefused(f"{where}: not rolled back to; {said}")
        rests = sealing.judgement(self._shelves(target), judged)
        if gone := lapsed(rests, where, self._guard.today):
            raise GateRefused(f"not rolled back to; {gone[0]}")
        return judged

    def _put_back(self, name: str, by: str) -> None:
        """Point aliases that were moved by hand where the history says, and note that."""

        def write(chain: Chain) -> Entry | None:
            pointed = self.pointed(name, CHAMPION)
            if chain.champion is None or interrupted(chain, pointed):
                return None
            if not misplaced(chain, pointed):
                return None
            note = f"the champion alias had been moved by hand to {pointed or 'none'}"
            now = self.version(name, chain.champion)
            return self._guard.entry(chain, "repair", now, by=by, note=note)

        self._guard.follow(name, self._guard.append(name, write))

    def approve(self, version: Version, *, by: str, note: str = "") -> Version:
        """Say yes, as a person, to exactly these weights."""
        by = _named(by, "approval")
        now = self.version(version.name, version.number)
        value = " ".join([now.weights, *note.split()])
        if now.tags.get(APPROVAL + by) != value:
            self._guard.append(
                now.name,
                lambda chain: self._guard.entry(chain, "approval", now, by=by, note=note),
            )
            self._backend.describe(now, tags={APPROVAL + by: value})
        return self.version(version.name, version.number)

    def remember(self, name: str, chain: Chain) -> None:
        """Remember the head of a history that was verified."""
        self._guard.remember(name, chain)

    def _require_sealed(self, version: Version, judged: Entry) -> None:
        """Refuse a champion that is not what was judged.

        Raises:
            EvidenceError: with what was altered, or that evidence was added since.
        """
        where = f"{version.name}/{version.number}"
        chain, now, _ = self._standing(version)
        if chain.last(version.number, *SEALED) != judged:
            raise EvidenceError(f"{where}: evidence was added since it was judged; judge it")
        if now.astray:
            raise EvidenceError(
                f"{where}: it would be loaded from {now.astray[0]}, which is not its run's "
                "model; register it again"
            )


def _named(by: str, what: str) -> str:
    """Somebody's name without needless spaces; refuses one that no tag may have."""
    name = " ".join(by.split())
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_. -]{0,99}", name):
        raise SpecError(
            f"{what} by {by!r}: say who, in up to 100 letters, digits, spaces, _ . and -"
        )
    return name
