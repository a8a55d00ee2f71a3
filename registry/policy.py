"""What must be true of a model before it is promoted? A written policy, and its fingerprint."""

import difflib
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from audits.estimand import Better, Declared
from audits.settings import Settings
from registry.documents import read_yaml, validate
from registry.finding import COSTS, PROFILE
from registry.rules import Absolute, AnyRule

SMALLEST = f"{PROFILE}/size_bytes"


class Preference(Settings):
    """Which of several passing candidates becomes champion."""

    measure: str = SMALLEST
    better: Better = "lower"


Said = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Waiver(Settings):
    """Somebody answers for one rule that does not pass, for a reason and until a day.

    It holds through that day (UTC) and lapses by itself. It stands in the policy, so a
    decision's policy digest covers it.
    """

    rule: Said
    """The rule's line, as reports show it."""
    owner: Said
    reason: Said
    expires: date

    def holds(self, today: date) -> bool:
        """Whether it has not lapsed yet."""
        return today <= self.expires

    def __str__(self) -> str:
        return f"{self.owner}, until {self.expires}: {self.reason}"


class Policy(Settings):
    """Rules that must all be met, and what is preferred among those that meet them.

    At least one hard absolute rule is required: a policy of comparisons alone would
    promote whatever is no worse than something nobody vouched for.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")]
    about: str = ""
    rules: tuple[AnyRule, ...]
    prefer: Preference = Preference()
    waivers: tuple[Waiver, ...] = ()

    def waiver(self, rule: str) -> Waiver | None:
        """The waiver of a rule, by its line; lapsed or not."""
        return next((w for w in self.waivers if w.rule == rule), None)

    @model_validator(mode="after")
    def _waivers_name_hard_rules(self) -> Self:
        """Refuse waivers of nothing: a typo would leave a rule unwaived without a word."""
        hard = [rule.id for rule in self.rules if rule.hard]
        for at, waiver in enumerate(self.waivers):
            if waiver.rule not in hard:
                near = difflib.get_close_matches(waiver.rule, hard, n=1, cutoff=0.4)
                hint = f"; the nearest is {near[0]!r}" if near else ""
                raise ValueError(f"waivers[{at}]: there is no hard rule {waiver.rule!r}{hint}")
        waived = [w.rule for w in self.waivers]
        if twice := next((r for r in waived if waived.count(r) > 1), None):
            raise ValueError(f"the rule {twice!r} is waived twice; remove one")
        return self

    @model_validator(mode="after")
    def _can_decide(self) -> Self:
        """Refuse policies that could promote anything, or the same rule twice."""
        if not self.rules:
            raise ValueError("the policy has no rules and would promote nothing; add a rule")
        if not any(r.hard and isinstance(r, Absolute) for r in self.rules):
            raise ValueError(
                "no hard at_least, at_most or within rule, so it proves nothing of a model; "
                "add one"
            )
        ids = [rule.id for rule in self.rules]
        if twice := next((i for i in ids if ids.count(i) > 1), None):
            raise ValueError(f"the rule {twice!r} is given twice; remove one")
        return self


def load_policy(path: Path) -> Policy:
    """Read a policy file.

    Raises:
        SpecError: unreadable, not YAML, or no policy; one line per mistake.
    """
    return validate(Policy, read_yaml(path), str(path))


def directions(parts: Iterable[tuple[str, Iterable[Declared]]]) -> dict[str, Better]:
    """Full names and directions of everything that named parts declare."""
    return {f"{part}/{d.name}": d.better for part, declared in parts for d in declared}


def lint(policy: Policy, declared: Mapping[str, Better]) -> list[str]:
    """What is wrong with a policy for a run that will measure `declared`; empty if nothing.

    One sentence per problem: a measure no stage produces, or a rule against the direction.
    """
    problems: list[str] = []
    for at, rule in enumerate(policy.rules):
        place = f"policy {policy.name}, rules[{at}]"
        if not rule.measure:
            continue
        if rule.measure not in declared:
            problems.append(f"{place}: {_unknown(rule.measure, declared)}")
        elif rule.requires not in (None, declared[rule.measure]):
            problems.append(
                f"{place}: {rule.kind} contradicts {rule.measure}, which is better "
                f"{declared[rule.measure]}; use {_instead(rule.kind)}"
            )
    proving = [r.measure for r in policy.rules if r.hard and isinstance(r, Absolute)]
    if proving and all(name.partition("/")[0] in COSTS for name in proving):
        problems.append(
            f"policy {policy.name}: its hard absolute rules ask only what the model "
            "costs, and none what it answers, so it would promote nothing; add one that "
            "does"
        )
    if policy.prefer.measure not in declared:
        problems.append(
            f"policy {policy.name}, prefer: {_unknown(policy.prefer.measure, declared)}"
        )
    return problems


def _unknown(measure: str, declared: Mapping[str, Better]) -> str:
    near = difflib.get_close_matches(measure, declared, n=3, cutoff=0.5)
    known = near or sorted(declared)[:5]
    remedy = f"; nearest: {', '.join(known)}" if known else "; nothing is measured at all"
    return f"no stage of this run measures {measure!r}{remedy}"


def _instead(kind: str) -> str:
    return {"at_least": "at_most", "at_most": "at_least"}.get(kind, "no_worse")
