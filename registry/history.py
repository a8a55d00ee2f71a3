"""Who moved the champion, when and why? An append-only chain of entries, checked as it is read.

Every entry holds the digest of the one before. What keeps them need only number them: two
that were written at once onto one head differ in their numbers, the first extends the chain
and the other lost. An altered or missing entry breaks the chain; that the newest is missing
shows only against a head remembered elsewhere (an anchor), and that all of it was written
anew only against a signed one.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from audits.errors import EvidenceError
from audits.settings import Settings

Kind = Literal["publication", "decision", "promotion", "rollback", "approval", "repair"]

MOVES = ("promotion", "rollback")
"""The kinds of entries that make a version champion."""
SEALED: tuple[Kind, ...] = ("publication", "decision")
"""The kinds of entries that come with a seal of how a version stands."""
RULING: tuple[Kind, ...] = ("decision", "promotion", "rollback")
"""The kinds of entries that decide and move. People approve, and runs publish what nobody has
published, where the key is not at hand (`Chain.ruling`)."""
GATE = "gate"
"""Who promotes where no person does."""
PUBLISHER = "run"
"""Who publishes."""


class Entry(Settings):
    """One thing that happened to one version."""

    seq: Annotated[int, Field(ge=1)]
    at: str
    """UTC, to the second."""
    kind: Kind
    model: str
    version: str
    weights: str
    evidence: str
    seal: str = ""
    """Digest of the seal it comes with or rests on; empty for approvals."""
    policy: str = ""
    verdict: str = ""
    replaces: str = ""
    """The champion before; empty: there was none, or this moves none."""
    by: str = GATE
    note: str = ""
    waivers: tuple[str, ...] = ()
    """Who answers for which rule, as the decision says it."""
    before: str
    """Digest of the entry before; empty for the first."""

    @cached_property
    def text(self) -> str:
        """The entry as it is kept; no other spelling of it is accepted."""
        plain = self.model_dump(mode="json")
        return json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(", ", ": "))

    @cached_property
    def digest(self) -> str:
        """sha256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class Chain:
    """The history of one model, oldest entry first.

    `numbers` are the entries' numbers where they are kept; `lost` holds those that another
    entry came before.
    """

    model: str
    entries: tuple[Entry, ...] = ()
    numbers: tuple[int, ...] = ()
    lost: tuple[tuple[int, Entry], ...] = ()

    @property
    def head(self) -> str:
        """Digest of the newest entry; empty where there is none."""
        return self.entries[-1].digest if self.entries else ""

    @property
    def anchor(self) -> str:
        """The head as anchors hold it: `<seq> <digest>`; empty where there is none."""
        return f"{len(self.entries)} {self.head}" if self.entries else ""

    @property
    def move(self) -> Entry | None:
        """The promotion or rollback that made the present champion."""
        return next((e for e in reversed(self.entries) if e.kind in MOVES), None)

    @property
    def champion(self) -> str | None:
        """Number of the version that is champion, or None."""
        return self.move.version if self.move else None

    @property
    def champions(self) -> list[str]:
        """Every version that was champion, the last one first, each once."""
        return list(dict.fromkeys(e.version for e in reversed(self.entries) if e.kind in MOVES))

    def holds(self, anchor: str) -> bool:
        """Whether an anchor's entry is in the chain. An empty anchor says nothing."""
        if not anchor:
            return True
        seq, _, digest = anchor.partition(" ")
        place = int(seq) if seq.isdecimal() else 0
        return 1 <= place <= len(self.entries) and self.entries[place - 1].digest == digest

    def last(self, version: str, *kinds: Kind) -> Entry | None:
        """The newest entry of these kinds about a version."""
        found = (e for e in reversed(self.entries) if e.kind in kinds and e.version == version)
        return next(found, None)

    def evidence(self, version: str) -> str:
        """Digest of all that is known of a version; empty where nothing was published."""
        sealed = self.last(version, *SEALED)
        return sealed.evidence if sealed else ""

    @property
    def ruling(self) -> list[Entry]:
        """The entries that a key of one's own has to vouch for."""
        known, found = set[str](), []
        for entry in self.entries:
            over = entry.kind == "publication" and entry.version in known
            if entry.kind in RULING or over:
                found.append(entry)
            known.add(entry.version)
        return found

    def until(self, seq: int) -> "Chain":
        """The chain as it stood when it had so many entries."""
        return Chain(self.model, self.entries[:seq], self.numbers[:seq], self.lost)

    def versions_of(self, weights: str) -> list[str]:
        """The versions that were published as these weights: one, if all is well."""
        published = (e for e in self.entries if e.kind == "publication")
        return list(dict.fromkeys(e.version for e in published if e.weights == weights))

    def weights(self, version: str) -> str:
        """What a version is, by the first entry about it; empty where there is none."""
        return next((e.weights for e in self.entries if e.version == version), "")

    def left(self, version: str) -> Entry | None:
        """The rollback from a version, where nothing made it champion again since."""
        for entry in reversed(self.entries):
            if entry.kind in MOVES and entry.version == version:
                return None
            if entry.kind == "rollback" and entry.replaces == version:
                return entry
        return None

    def before(self, version: str) -> str:
        """The champion that a version replaced when it was last promoted; empty for none.

        Rolling back twice goes back two versions: a rollback's own `replaces` is where it
        came from and not where the version before stands.
        """
        promotion = self.last(version, "promotion")
        return promotion.replaces if promotion else ""


def replay(model: str, records: Sequence[tuple[int, str]]) -> Chain:
    """The chain that numbered entries form, ascending by number.

    Raises:
        EvidenceError: an entry is unreadable, about another model, or follows one that is
            not there; with its number.
    """
    entries: list[Entry] = []
    numbers: list[int] = []
    lost: list[tuple[int, Entry]] = []
    places = {"": 0}
    for number, text in records:
        entry = _read(model, number, text)
        place = places.get(entry.before)
        if place is None:
            raise EvidenceError(
                f"{_name(model, number)}: it follows entry {entry.seq - 1} "
                f"({entry.before[:12]}), which is missing or altered; restore it from a backup"
            )
        if entry.seq != place + 1:
            raise EvidenceError(
                f"{_name(model, number)}: it calls itself entry {entry.seq} and follows entry "
                f"{place}, so it was altered; restore it from a backup"
            )
        if place < len(entries):
            lost.append((number, entry))
            continue
        entries.append(entry)
        numbers.append(number)
        places[entry.digest] = len(entries)
    return Chain(model, tuple(entries), tuple(numbers), tuple(lost))


def unruly(chain: Chain) -> list[str]:
    """Moves of the champion that the rules do not allow, whoever wrote them.

    A version is its weights in every entry. A promotion rests on the last judgement of its
    version, which passed and came after all its evidence; a rollback goes to a version that
    was champion; both name the champion they replace.
    """
    wrong = _other_weights(chain)
    champion, were, judged = "", set[str](), dict[str, Entry]()
    for seq, entry in enumerate(chain.entries, 1):
        where = f"{_name(chain.model, seq)}: a {entry.kind} of version {entry.version}"
        if entry.kind == "publication":
            judged.pop(entry.version, None)
        if entry.kind == "decision":
            judged[entry.version] = entry
        if entry.kind not in MOVES:
            continue
        if entry.replaces != champion:
            wrong.append(
                f"{where} replaces {entry.replaces or 'none'} where {champion or 'none'} was "
                "champion; it is forged"
            )
        last = judged.get(entry.version)
        if entry.kind == "promotion" and (
            last is None or last.verdict != "pass" or last.seal != entry.seal
        ):
            wrong.append(f"{where} rests on no judgement that passed; it is forged")
        if entry.kind == "rollback" and entry.version not in were:
            wrong.append(f"{where}, which never was champion; it is forged")
        champion = entry.version
        were.add(champion)
    return wrong


def _other_weights(chain: Chain) -> list[str]:
    made: dict[str, str] = {}
    return [
        f"{_name(chain.model, e.seq)}: a {e.kind} of version {e.version} is about weights "
        f"{e.weights[:12]}, and the version was made of {made[e.version][:12]}; it is forged"
        for e in chain.entries
        if made.setdefault(e.version, e.weights) != e.weights
    ]


def anchored(chain: Chain, anchors: Mapping[str, str]) -> list[str]:
    """What is wrong with a chain beside remembered heads: one sentence per anchor."""
    return [
        f"{place} remembers entry {anchor.partition(' ')[0]} "
        f"({anchor.partition(' ')[2][:12]}), and the history of {chain.model} with "
        f"{len(chain.entries)} entries does not hold it: entries were removed or altered; "
        "restore them from a backup"
        for place, anchor in anchors.items()
        if not chain.holds(anchor)
    ]


def _read(model: str, number: int, text: str) -> Entry:
    try:
        entry = Entry.model_validate_json(text)
    except ValidationError as error:
        raise EvidenceError(
            f"{_name(model, number)}: it is no entry in a known format, so it was altered; "
            "restore it from a backup"
        ) from error
    if entry.text != text:
        raise EvidenceError(
            f"{_name(model, number)}: it is not spelled as it was written, so it was altered; "
            "restore it from a backup"
        )
    if entry.model != model:
        raise EvidenceError(
            f"{_name(model, number)}: it is about {entry.model}, so it was moved here or "
            "altered; restore it from a backup"
        )
    return entry


def _name(model: str, number: int) -> str:
    return f"history of {model}, version {number}"


def one_line(text: str) -> str:
    """Text from people or files, without what would move the cursor or imitate a row."""
    return "".join(c if c.isprintable() else " " for c in text)
