"""How often has a rule looked at fresh records of one model without passing?

Looking again until chance passes is optional stopping. A look is a judgement of records
that differ from those judged before; one that passed ends the looking, and records judged
again (by another policy, against another champion) are no new look.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from registry.finding import Verdict
from registry.gate import Decision
from registry.rules import AnyRule


@dataclass(frozen=True, eq=False)
class Look:
    """What a judgement of a model rested on; the one to be made has no decision yet.

    `parts` holds the digest of each part's records and `bases` the question it answers, both
    by the part's name.
    """

    decision: Decision | None
    parts: Mapping[str, str]
    bases: Mapping[str, str] = field(default_factory=dict)


def looks(rules: Iterable[AnyRule], before: Sequence[Look], now: Look) -> dict[str, int]:
    """Which look each rule takes now, by its line; only those that are not the first.

    A rule is recognised by its measure: a changed bound does not start the counting anew.
    Nor does a new name for a part that answers the same question.
    """
    found: dict[str, int] = {}
    for rule in rules:
        part, _, tail = rule.measure.partition("/")
        if part in now.parts and (count := len(_failed_before(part, tail, before, now))):
            found[rule.id] = count + 1
    return found


def _failed_before(part: str, tail: str, before: Sequence[Look], now: Look) -> set[str]:
    """Records that were judged, and did not pass, before the current ones first were."""
    seen: set[str] = set()
    for look in before:
        asked = [name for name in look.parts if _same_question(name, look, part, now)]
        if now.parts[part] in (look.parts[name] for name in asked):
            break
        seen |= {look.parts[n] for n in asked if not _passed(look.decision, f"{n}/{tail}")}
    return seen


def _same_question(name: str, then: Look, part: str, now: Look) -> bool:
    basis = now.bases.get(part)
    return name == part or (basis is not None and then.bases.get(name) == basis)


def _passed(decision: Decision | None, measure: str) -> bool:
    """Whether every judgement of the measure passed then; no judgement is no look."""
    findings = decision.findings if decision else ()
    return all(f.verdict is Verdict.PASS for f in findings if f.measure == measure)
