"""How does the champion move, and only so? The history is the truth; aliases follow it.

An alias cannot be compared and swapped, but an entry of the history can: of two that follow
the same head, the one with the smaller number extends the chain and the other lost, and both
writers see which. So whoever moves the champion appends first and points the aliases after;
one who dies in between leaves an alias behind the history, and the next one brings it up.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path

from audits.errors import EvidenceError, GateRefused, SpecError
from registry import signing
from registry.backend import Backend
from registry.history import Chain, Entry, Kind, anchored, one_line, replay, unruly
from registry.store import CHAMPION, PREVIOUS, Version, model_name

HEAD, SIGNED = "assay.history", "assay.signed"
"""Tags of the registered model: the head of its history, and the head that was signed."""
SIGNED_NAME = "head.json"
SIGNING_TRIES, SIGNING_S = 8, 0.25
LONGEST = 5000
"""Characters of an entry: a server's database keeps no more of a description."""


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


class Guard:
    """The histories of models in a registry, and the aliases that follow them.

    `memory` is a folder that remembers the heads last seen, apart from the registry.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        memory: Path | None = None,
        key: Path | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._backend, self._memory, self._key, self._clock = backend, memory, key, clock
        self._own: set[str] = set()

    @property
    def today(self) -> date:
        """The day, in UTC: waivers hold through it."""
        return self._clock().astimezone(UTC).date()

    def history(self, name: str) -> Chain:
        """The chain as it stands, not compared with its anchors."""
        return replay(model_name(name), self._backend.entries(name))

    def chain(self, name: str) -> Chain:
        """The chain, compared with every place that remembers its head.

        Raises:
            EvidenceError: entries were altered or removed.
        """
        held = self.anchors(name)  # first: the chain may only grow after
        chain = self.history(name)
        if wrong := anchored(chain, held):
            raise EvidenceError(wrong[0])
        return chain

    def anchors(self, name: str) -> Mapping[str, str]:
        """Where the head is remembered, and which."""
        found = {f"the tag {HEAD} of {name}": self._backend.marks(name).get(HEAD, "")}
        if self._memory and (file := self._file(self._memory, name)).is_file():
            found[str(file)] = file.read_text("utf-8").strip()
        return {place: anchor for place, anchor in found.items() if anchor}

    def remember(self, name: str, chain: Chain) -> None:
        """Keep the head apart from the registry, where there is a place for it."""
        if self._memory is None or not chain.entries:
            return
        self._memory.mkdir(parents=True, exist_ok=True)
        file = self._file(self._memory, name)
        aside = file.with_name(f".{file.name}.{os.getpid()}")
        aside.write_text(chain.anchor + "\n", "utf-8")
        aside.replace(file)

    def signed_head(self, name: str) -> tuple[str, str]:
        """The anchor that was signed last, and its signature; empty where none was."""
        text = self._backend.marks(name).get(SIGNED, "")
        try:
            held = json.loads(text) if text else {}
            return str(held["head"]), str(held["signature"])
        except (ValueError, KeyError, TypeError):
            return "", ""

    def entry(self, chain: Chain, kind: Kind, version: Version, **rest: object) -> Entry:
        """The next entry of a chain."""
        return Entry.model_validate({
            "seq": len(chain.entries) + 1,
            "at": self._clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "kind": kind,
            "model": version.name,
            "version": version.number,
            "weights": version.weights,
            "evidence": version.evidence,
            "before": chain.head,
            **rest,
        })  # fmt: skip

    def move(
        self, chain: Chain, kind: Kind, version: Version, judged: Entry, *, by: str, note: str
    ) -> Entry:
        """The next entry of a chain: a version becomes champion, resting on a judgement."""
        return self.entry(
            chain, kind, version, seal=judged.seal, policy=judged.policy,
            verdict=judged.verdict, replaces=chain.champion or "", by=by, note=note,
            waivers=judged.waivers,
        )  # fmt: skip

    def append(self, name: str, write: Callable[[Chain], Entry | None]) -> Chain:
        """Extend the chain by what `write` makes of it; None: there is nothing to add.

        Where another entry came first, `write` is asked again with that one in the chain.

        Raises:
            EvidenceError: the history does not verify.
            SpecError: the entry is too long.
        """
        self.require_vouched(name)
        while True:
            chain = self.chain(name)
            entry = write(chain)
            if entry is None:
                return chain
            require_short(entry)
            self._own.add(entry.digest)
            number = self._backend.append(name, entry.text)
            after = self.history(name)
            if number in after.numbers:
                self._anchor(name, after)
                return after

    def align(self, chain: Chain) -> None:
        """Finish a move that was interrupted; refuse an alias that something else moved.

        Raises:
            EvidenceError: the champion alias is neither where the history says nor where it
                was before the last move, or the champion was deleted.
        """
        name, pointed = chain.model, self.pointed(chain.model, CHAMPION)
        self.require_there(chain, pointed)
        if interrupted(chain, pointed):
            self.follow(name, chain)
        elif (said := misplaced(chain, pointed)) and self.history(name).head == chain.head:
            raise EvidenceError(said)  # with another head, somebody moved it by the rules

    def require_there(self, chain: Chain, pointed: str | None) -> None:
        """Refuse a champion whose version was deleted, and its alias with it.

        Raises:
            EvidenceError: with the way back, where there is one.
        """
        champion = chain.champion
        if pointed is not None or champion is None or self.there(chain.model, champion):
            return
        back = next((v for v in chain.champions if self.there(chain.model, v)), None)
        way = f", or go back: `assay rollback {chain.model} --to {back} --by YOU`"
        raise EvidenceError(
            f"{chain.model}/{champion}: the champion was deleted; restore it from a backup"
            f"{way if back else ', or publish under another name'}"
        )

    def there(self, name: str, number: str) -> bool:
        """Whether a version was not deleted."""
        return self._backend.version(name, number) is not None

    def previous(self, chain: Chain) -> str:
        """The version that the alias `previous` belongs at; empty where there is none."""
        before = chain.move.replaces if chain.move else ""
        return before if before and self.there(chain.model, before) else ""

    def follow(self, name: str, chain: Chain) -> None:
        """Point the aliases where the history says, until it has not moved meanwhile."""
        while move := chain.move:
            before = self.previous(chain)
            if (self.pointed(name, PREVIOUS) or "") != before:
                self._backend.point(name, PREVIOUS, before)
            if self.pointed(name, CHAMPION) != move.version:
                self._backend.point(name, CHAMPION, move.version)
            again = self.history(name)
            if again.move == move:
                self._anchor(name, again)
                return
            chain = again

    def pointed(self, name: str, alias: str) -> str | None:
        """Number of the version an alias points at, sealed or not."""
        found = self._backend.alias(model_name(name), alias)
        return found.number if found else None

    def vouch(self, name: str) -> Chain:
        """Sign the history as it stands, whoever wrote it.

        Raises:
            SpecError: there is no key.
            EvidenceError: the history does not verify.
        """
        if self._key is None:
            raise SpecError("there is no key to sign with; name one by ASSAY_SIGNING_KEY")
        chain = self.chain(name)
        if wrong := unruly(chain):
            raise EvidenceError(wrong[0])
        self._sign(name, chain)
        return chain

    def unsigned(self, name: str) -> tuple[int, ...]:
        """Numbers of the entries that a signature of this key should cover and does not."""
        return tuple(e.seq for e in self._unsigned(self.history(name)))

    def require_vouched(self, name: str) -> None:
        """Refuse to go on from what rules without a signature before somebody looked at it.

        Another process with the key may not have signed its own entry yet: it is waited for.

        Raises:
            EvidenceError: with the entry.
        """
        unsigned = self._unsigned(self.chain(name))
        for _ in range(SIGNING_TRIES if unsigned else 0):
            time.sleep(SIGNING_S)
            unsigned = self._unsigned(self.chain(name))
            if not unsigned:
                return
        if unsigned:
            first = unsigned[0]
            raise EvidenceError(
                f"{name}: entry {first.seq} of its history, a {first.kind} of version "
                f"{one_line(first.version)} by {one_line(first.by)}, is covered by no "
                f"signature of this key; look at `assay history {name}`, and where it is "
                f"right, `assay history {name} --sign` vouches for it"
            )

    def _unsigned(self, chain: Chain) -> list[Entry]:
        """What no signature of ours covers and somebody has to look at first.

        Decisions and moves, and publications over what was published already: they change what
        a version shows, and the next judgement would rest on that.
        """
        ruling = chain.ruling
        if not ruling or self._key is None:
            return []
        anchor, signature = self.signed_head(chain.model)
        text = head_text(chain.model, anchor)
        signed = chain.holds(anchor) and not signing.own_flaw(
            SIGNED_NAME, text, signature, self._key
        )
        seq = int(anchor.partition(" ")[0]) if anchor and signed else 0
        return [e for e in ruling if e.seq > seq]

    def _anchor(self, name: str, chain: Chain) -> None:
        held = self._backend.marks(name)
        if held.get(HEAD) != chain.anchor:
            self._backend.mark(name, HEAD, chain.anchor)
        self.remember(name, chain)
        signed = self.signed_head(name)[0]
        if self._key and signed != chain.anchor:
            ours = self._ours(chain)
            if ours.anchor not in ("", signed):
                self._sign(name, ours)

    def _ours(self, chain: Chain) -> Chain:
        """The chain as far as it may be signed: up to what another process wrote meanwhile.

        What came before an entry of ours is waited for: who wrote that may have the key, too.
        """
        last = max((e.seq for e in chain.entries if e.digest in self._own), default=0)
        first = self._foreign(chain)
        for _ in range(SIGNING_TRIES if first <= last else 0):
            time.sleep(SIGNING_S)
            if (first := self._foreign(chain)) > last:
                break
        return chain.until(first - 1)

    def _foreign(self, chain: Chain) -> int:
        """Number of the first unsigned entry that another process wrote; else the next."""
        found = (e.seq for e in self._unsigned(chain) if e.digest not in self._own)
        return next(found, len(chain.entries) + 1)

    def _sign(self, name: str, chain: Chain) -> None:
        """Sign a head, unless another process with the key has signed a later one meanwhile."""
        assert self._key is not None
        signature = signing.sign(SIGNED_NAME, head_text(name, chain.anchor), self._key)
        signed = {"head": chain.anchor, "signature": signature}
        while not self._covered(name, chain):
            self._backend.mark(name, SIGNED, json.dumps(signed))

    def _covered(self, name: str, chain: Chain) -> bool:
        """Whether a signature of ours stands there, of this head or of one that holds it."""
        assert self._key is not None
        anchor, signature = self.signed_head(name)
        text = head_text(name, anchor)
        if not anchor or signing.own_flaw(SIGNED_NAME, text, signature, self._key):
            return False
        return anchor == chain.anchor or (
            self.history(name).holds(anchor) and _seq(anchor) > len(chain.entries)
        )

    @staticmethod
    def _file(memory: Path, name: str) -> Path:
        return memory / f"{name}.head"


def require_short(entry: Entry) -> None:
    """Refuse an entry that a server would cut. SpecError with what to shorten."""
    if len(entry.text) > LONGEST:
        raise SpecError(
            f"{entry.model}/{entry.version}: its history entry would have "
            f"{len(entry.text):,} characters of at most {LONGEST:,}; shorten the note or the "
            "reasons of the waivers"
        )


def earlier(chain: Chain, to: str | None) -> str:
    """Number of the version to go back to: the champion before, or one that once was.

    Raises:
        GateRefused: there is none, or it never was champion.
    """
    name, champion = chain.model, chain.champion
    if champion is None:
        raise GateRefused(f"{name}: there is no champion to roll back; promote one")
    number = to or chain.before(champion)
    if not number:
        raise GateRefused(f"{name}/{champion}: no champion came before it; name one by --to")
    if chain.last(number, "promotion") is None:
        raise GateRefused(
            f"{name}/{number}: it never was champion, so there is nothing to go back to; "
            "promote it by a decision"
        )
    return number


def returning(back: Entry) -> str:
    """Why no gate makes a version champion again that somebody went back from."""
    why = f" ({one_line(back.note)})" if back.note else ""
    where = f"{back.model}/{back.replaces}"
    return (
        f"{where}: {one_line(back.by)} went back from it to version {back.version} on "
        f"{back.at[:10]}{why}, and no rule knows why; whoever wants it again: "
        f"`assay promote {where} --by YOU`"
    )


def misplaced(chain: Chain, pointed: str | None) -> str:
    """What is wrong with where the champion alias points; empty where nothing is."""
    name, champion = chain.model, chain.champion
    if pointed == champion:
        return ""
    if champion is None:
        return (
            f"{name}: the champion alias points at version {pointed}, and its history knows no "
            f"promotion; remove the alias and promote it: `assay promote {name}/{pointed}`"
        )
    if interrupted(chain, pointed):
        return (
            f"{name}: the champion alias points at {_version(pointed)}, and the history says "
            f"{champion}: that promotion was interrupted, or the alias was moved back by hand; "
            "the next promotion finishes it"
        )
    return (
        f"{name}: the champion alias was moved by hand from {champion} to {_version(pointed)}; "
        f"history says {champion}: `assay rollback {name} --to {champion} --by YOU` puts it "
        "back"
    )


def interrupted(chain: Chain, pointed: str | None) -> bool:
    """Whether an alias is still where it was before the last move."""
    return chain.move is not None and (chain.move.replaces or None) == pointed


def _seq(anchor: str) -> int:
    return int(anchor.partition(" ")[0])


def head_text(name: str, anchor: str) -> str:
    """What is signed of a history."""
    return json.dumps({"model": name, "head": anchor}, sort_keys=True)


def _version(number: str | None) -> str:
    return number or "none"
