"""How often has a rule looked at fresh records of one model without passing?

Looking again until chance passes is optional stopping. A look is a judgement of records
that differ from those judged before; one that passed ends the looking, and records judged
again (by another policy, against another champion) are no new look. A pass of a laxer rule
ends no looking of a stricter one, which is asked of the evidence of then. What each look spent
of alpha stays spent: a rule that is given more looks afterwards finds so many of them gone.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import cast

from audits.errors import EvidenceError, SpecError
from registry.documents import validate
from registry.finding import Case, Verdict
from registry.gate import Decision
from registry.judging import Required
from registry.policy import Policy
from registry.rules import Absolute, AnyRule, Rule
from registry.store import Judgement, Store, Version


@dataclass(frozen=True, eq=False)
class Look:
    """What a judgement of a model rested on; the one to be made has no decision yet.

    `parts` holds the digest of each part's records and `bases` the question it answers, both
    by the part's name; `rules` are those of the policy it was judged by, and `case` gives what
    it was about.
    """

    decision: Decision | None
    parts: Mapping[str, str]
    bases: Mapping[str, str] = field(default_factory=dict)
    rules: tuple[AnyRule, ...] = ()
    case: Callable[[], Case] | None = None

    @classmethod
    def of(cls, judged: Judgement, case: Callable[[], Case]) -> "Look":
        """A judgement that is on record."""
        policy = validate(Policy, dict(judged.policy), f"policy {judged.decision.policy}")
        return cls(judged.decision, judged.parts, judged.bases, policy.rules, cache(case))

    def asked(self, measure: str, rule: Required) -> list[Required]:
        """The rules that asked of a measure what another rule asks now, whatever the bound.

        A comparison with another model counts where it did not pass: parent and champion may
        be one and the same, and a policy that asks of both asks two things.
        """
        return [
            then
            for then in self.rules
            if isinstance(then, Required)
            and then.measure == measure
            and _question(then) == _question(rule)
            and (_than(then) == _than(rule) or not self._met(then))
        ]

    def _met(self, then: Required) -> bool:
        found = (
            (f for f in self.decision.findings if f.rule == then.id) if self.decision else ()
        )
        return any(f.verdict is Verdict.PASS for f in found)

    def passed(self, then: Required, rule: Required) -> bool:
        """Whether a rule passed, and another one would have on the same evidence."""
        if self.case is None or not self._met(then):
            return False
        try:
            case = replace(self.case(), looks={})
        except (EvidenceError, SpecError):  # it is not there any more
            return False
        asked: Rule = cast(Rule, rule.model_copy(update={"measure": then.measure}))
        return asked.check(case).verdict is Verdict.PASS


def _question(rule: Required) -> tuple[str, str]:
    """What a rule asks of a measure: a level within some bound, or a change within a margin."""
    kind = str(getattr(rule, "kind", ""))
    family = "bound" if isinstance(rule, Absolute) else _FAMILIES.get(kind, kind)
    return family, str(getattr(rule, "by", ""))


def _than(rule: Required) -> str:
    return str(getattr(rule, "than", ""))


_FAMILIES = {"no_worse": "change", "equivalent": "change"}


def looks(rules: Iterable[AnyRule], before: Sequence[Look], now: Look) -> dict[str, int]:
    """Which look each rule takes now, by its line; only those that are not the first.

    A rule is recognised by its measure: a changed bound does not start the counting anew.
    Nor does a new name for a part that answers the same question. Of looks that spent more
    of alpha than this rule's do, each counts as so many of them; one that spent less counts as
    one, for whoever saw what came of it could have judged those records by this rule.
    """
    found: dict[str, int] = {}
    for rule in rules:
        part, _, tail = rule.measure.partition("/")
        if not isinstance(rule, Required) or part not in now.parts:
            continue
        if gone := _spent_before(part, tail, before, now, rule):
            found[rule.id] = math.ceil(gone / rule.spent - 1e-9) + 1
    return found


def looked(store: Store, version: Version, judged: Iterable[Judgement]) -> list[Look]:
    """Judgements of a version as looks, each with what it was about at hand."""
    return [Look.of(one, partial(store.case_then, version, one)) for one in judged]


def looks_at(judged: Judgement, policy: Policy, before: Sequence[Look]) -> dict[str, int]:
    """Which look each rule of a policy takes, or took, at what was judged once."""
    return looks(policy.rules, before, Look(None, judged.parts, judged.bases))


def _spent_before(
    part: str, tail: str, before: Sequence[Look], now: Look, rule: Required
) -> float:
    """Alpha spent on records that did not pass, before the current ones first were judged."""
    seen: dict[str, float] = {}
    for look in before:
        named = [name for name in look.parts if _same_question(name, look, part, now)]
        every = {name: look.asked(f"{name}/{tail}", rule) for name in named}
        if now.parts[part] in (look.parts[name] for name in named):
            if any(every.values()):
                break
            continue  # the rule has not seen these records yet
        for name, asked in every.items():
            if asked and not any(look.passed(then, rule) for then in asked):
                spent = max(rule.spent, *(then.spent for then in asked))
                records = look.parts[name]
                seen[records] = max(spent, seen.get(records, 0.0))
    return sum(seen.values())


def _same_question(name: str, then: Look, part: str, now: Look) -> bool:
    basis = now.bases.get(part)
    return name == part or (basis is not None and then.bases.get(name) == basis)
