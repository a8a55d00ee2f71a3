"""How often has a rule looked at fresh records of one model without passing?

Looking again until chance passes is optional stopping. A look is a judgement of records
that differ from those judged before; one that passed ends the looking, and records judged
again (by another policy, against another champion) are no new look. What each look spent of
alpha stays spent: a rule that is given more looks afterwards finds so many of them gone.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from registry.documents import validate
from registry.finding import Verdict
from registry.gate import Decision
from registry.judging import Required
from registry.policy import Policy
from registry.rules import AnyRule
from registry.store import Judgement


@dataclass(frozen=True, eq=False)
class Look:
    """What a judgement of a model rested on; the one to be made has no decision yet.

    `parts` holds the digest of each part's records and `bases` the question it answers, both
    by the part's name; `spent` what the policy let a look at a measure spend of alpha.
    """

    decision: Decision | None
    parts: Mapping[str, str]
    bases: Mapping[str, str] = field(default_factory=dict)
    spent: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, judged: Judgement) -> "Look":
        """A judgement that is on record."""
        policy = validate(Policy, dict(judged.policy), f"policy {judged.decision.policy}")
        return cls(judged.decision, judged.parts, judged.bases, spending(policy))


def spending(policy: Policy) -> dict[str, float]:
    """What one look at each measure spends of alpha: the most of any rule about it."""
    spent: dict[str, float] = {}
    for rule in policy.rules:
        if isinstance(rule, Required):
            spent[rule.measure] = max(rule.spent, spent.get(rule.measure, 0.0))
    return spent


def looks(rules: Iterable[AnyRule], before: Sequence[Look], now: Look) -> dict[str, int]:
    """Which look each rule takes now, by its line; only those that are not the first.

    A rule is recognised by its measure: a changed bound does not start the counting anew.
    Nor does a new name for a part that answers the same question. Of looks that spent more
    of alpha than this rule's do, each counts as so many of them.
    """
    found: dict[str, int] = {}
    for rule in rules:
        part, _, tail = rule.measure.partition("/")
        if not isinstance(rule, Required) or part not in now.parts:
            continue
        if gone := _spent_before(part, tail, before, now, rule.spent):
            found[rule.id] = math.ceil(gone / rule.spent - 1e-9) + 1
    return found


def _spent_before(
    part: str, tail: str, before: Sequence[Look], now: Look, usual: float
) -> float:
    """Alpha spent on records that did not pass, before the current ones first were judged."""
    seen: dict[str, float] = {}
    for look in before:
        asked = [name for name in look.parts if _same_question(name, look, part, now)]
        if now.parts[part] in (look.parts[name] for name in asked):
            break
        for name in asked:
            measure, records = f"{name}/{tail}", look.parts[name]
            if not _passed(look.decision, measure):
                spent = look.spent.get(measure, usual)
                seen[records] = max(spent, seen.get(records, 0.0))
    return sum(seen.values())


def _same_question(name: str, then: Look, part: str, now: Look) -> bool:
    basis = now.bases.get(part)
    return name == part or (basis is not None and then.bases.get(name) == basis)


def _passed(decision: Decision | None, measure: str) -> bool:
    """Whether every judgement of the measure passed then; no judgement is no look."""
    findings = decision.findings if decision else ()
    return all(f.verdict is Verdict.PASS for f in findings if f.measure == measure)
