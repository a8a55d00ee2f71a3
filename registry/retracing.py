"""Does a history hold together, and do the aliases stand where it says?"""

from collections.abc import Mapping
from pathlib import Path

from audits.errors import EvidenceError
from registry import signing
from registry.checks import UNSIGNED, Check, each
from registry.guard import SIGNED_NAME, head_text, misplaced
from registry.history import Chain, anchored, one_line, unruly
from registry.store import CANDIDATE, CHAMPION, PREVIOUS, Store


def verify_chain(store: Store, chain: Chain, held: Mapping[str, str]) -> list[Check]:
    """Recompute a chain that was read, beside anchors read before it, and the aliases."""
    return anchored_checks(chain, held) + aliases(store, chain)


def read_history(
    store: Store, name: str, remembered: Mapping[str, str] | None = None
) -> tuple[list[Check], Chain | None]:
    """The chain beside what remembers its head; none where it does not hold together."""
    held = {**store.anchors(name), **(remembered or {})}
    try:
        chain = store.history(name)
    except EvidenceError as error:
        return [Check("history", False, str(error))], None
    return anchored_checks(chain, held), chain


def anchored_checks(chain: Chain, held: Mapping[str, str]) -> list[Check]:
    """Whether a chain follows the rules and holds every head that is remembered."""
    said = f"{len(chain.entries)} entries follow one another, {len(held)} anchors hold"
    return each("history", anchored(chain, held) + unruly(chain), said)


def named(chain: Chain, which: str, number: str) -> list[Check]:
    """An alias of somebody's own (`prod`) vouches only for what once was champion."""
    ours = which.isdecimal() or which in (CANDIDATE, CHAMPION, PREVIOUS)
    if ours or chain.last(number, "promotion"):
        return []
    said = f"{chain.model}@{which} points at version {number}, which was never promoted"
    return [Check("aliases", False, f"{said}; promote it, or move the alias")]


def aliases(store: Store, chain: Chain | None) -> list[Check]:
    """Whether `champion` and `previous` are where the history says."""
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
    return each("aliases", wrong, f"champion is {champion}, as the history says")


def signed_history(store: Store, chain: Chain, key: Path | None) -> list[Check]:
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
    return each("signed history", wrong if why else [], f"signed up to entry {seq}")
