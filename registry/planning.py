"""Can a rule decide at all with the examples a run will have? Said before any compute.

Sizes come from what audits declare and the data holds. Only shares can be planned: the
variance of a mean is not known before a model has been asked. How alike the examples of a
cluster are is not known either, so every chance is what independent ones would do: a rule
that is hopeless here is hopeless, one that is fine may still turn out weak. What can pass at
all hangs on the clusters, for one that was not drawn may be unlike all that were.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from audits.estimand import Better, Declared, Exact, Odds, Ratio, Spread
from registry.judging import Required
from registry.looking import plural
from registry.policy import Policy
from registry.rules import (
    Absolute,
    AnyRule,
    AtLeast,
    AtMost,
    Detected,
    Equivalent,
    NoWorse,
    RatioAtMost,
)
from registry.wording import number

POWER = 0.8
"""Below this chance of passing a model that is as good as it should be, a rule is weak."""
DISCORDANCE = 0.1
"""Share of paired answers assumed to differ between two models that are equally good."""

COMMON = 0.1
"""Share assumed of both models where the ratio of two shares is planned."""
LARGEST = 10_000_000
"""Examples that nobody will ask for."""

Problem = Literal["cannot pass", "cannot fail", "weak", "noise", "diagnostic", "sign"]


@dataclass(frozen=True, slots=True)
class Size:
    """What a measure will rest on, at most."""

    n: int
    clusters: int
    groups: "Mapping[str, Mapping[str, Size]]" = field(default_factory=dict)
    """By column and its value, where a rule must hold in each."""

    def __str__(self) -> str:
        if self.n == self.clusters:
            return plural(self.n, "item")
        return f"{plural(self.n, 'item')} in {plural(self.clusters, 'cluster')}"


@dataclass(frozen=True, slots=True)
class Floor:
    """How much a measure moved when nothing but chance did."""

    value: float
    origin: str
    """What was made again to see it."""
    at: float | None = None
    """What it measured before, from where it moved."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is to be expected of a rule that will not decide as it should."""

    rule: str
    problem: Problem
    said: str
    hard: bool

    @property
    def hopeless(self) -> bool:
        """Whether no outcome of the run could promote anything."""
        return self.hard and self.problem == "cannot pass"


def plan(
    policy: Policy,
    declared: Mapping[str, Declared],
    sizes: Mapping[str, Size],
    floors: Mapping[str, Floor] | None = None,
    absent: Mapping[str, str] | None = None,
) -> tuple[Outlook, ...]:
    """Every rule that can never pass, can never fail, is weak, or asks below the noise.

    And every hard bound on a measure of which no level says that a model is good, and every
    hard rule that asks for less, or more, of one of which 0 is best. `absent` says by the name
    of a measure why there will be none.
    """
    found: list[Outlook] = []
    for rule in policy.rules:
        if isinstance(rule, Required):
            if why := (absent or {}).get(rule.measure):
                said = f"it can never pass: {why}"
                found.append(Outlook(rule.id, "cannot pass", said, rule.hard))
                continue
            found += _rule(rule, declared.get(rule.measure), sizes.get(rule.measure))
            found += _noise(rule, (floors or {}).get(rule.measure))
            found += _diagnostic(rule, declared.get(rule.measure))
            found += _sign(rule, declared.get(rule.measure))
    return tuple(found)


def _rule(rule: AnyRule, declared: Declared | None, size: Size | None) -> Iterator[Outlook]:
    if declared is None or size is None or isinstance(declared.of, Exact):
        return
    by = getattr(rule, "by", "")
    if not by and isinstance(declared.of, Spread | Odds) and declared.of.by in size.groups:
        by = declared.of.by  # it rests on the smallest group
    if not by:
        yield from _of(rule, declared, size)
        return
    # All groups must pass: the first problem of the smallest one that has any says enough.
    groups = sorted(size.groups.get(by, {}).items(), key=lambda g: (g[1].clusters, g[1].n))
    for name, part in groups:
        if found := tuple(_of(rule, declared, part)):
            yield replace(found[0], said=f"{by} {name}: {found[0].said}")
            return


def _of(rule: AnyRule, declared: Declared, size: Size) -> Iterator[Outlook]:
    assert isinstance(rule, Required)
    needs = f"the rule asks for {rule.min_n:,} in {rule.min_clusters:,} clusters"
    if size.n < rule.min_n or size.clusters < rule.min_clusters:
        yield Outlook(rule.id, "cannot pass", f"it can never pass: {size}, {needs}", rule.hard)
        return
    if not (isinstance(declared.of, Ratio) and declared.of.proportion):
        return
    if rule.clusters == "all":
        size = replace(size, clusters=size.n)
    # Were the examples of a cluster independent: nothing can do better than this.
    if isinstance(rule, AtLeast | AtMost):
        yield from _absolute(
            rule, rule.bound, "higher" if isinstance(rule, AtLeast) else "lower", size
        )
    elif isinstance(rule, Detected):
        yield from _absolute(
            rule, rule.bound, "lower" if declared.better == "higher" else "higher", size
        )
    elif isinstance(rule, NoWorse | Equivalent):
        yield from _paired(rule, rule.margin, size)
    elif isinstance(rule, RatioAtMost):
        yield from _ratio(rule, rule.ratio, size)


def _absolute(rule: Required, bound: float, better: Better, size: Size) -> Iterator[Outlook]:
    from audits import power

    idle = bound <= 0 if better == "higher" else bound >= 1
    if idle:
        yield Outlook(
            rule.id, "cannot fail", "it can never fail: no share lies beyond it", rule.hard
        )
        return
    least = power.least_to_pass_absolute(bound, better, rule.spent)
    if least is None or size.clusters < least:
        known = "no number would do" if least is None else f"{least:,} are needed"
        whole = "clusters " if size.clusters < size.n else ""
        error = "an exception" if isinstance(rule, Detected) else "a single error"
        said = f"it can never pass: {size}, and without {error} {whole}{known}"
        said = said.replace("clusters no number", "no number")
        yield Outlook(rule.id, "cannot pass", said, rule.hard)
        return
    if not isinstance(rule, Detected) and not power.can_fail_absolute(
        size.n, bound, better, rule.spent
    ):
        said = f"it can never fail: {size}, and the worst outcome is not surely beyond it"
        yield Outlook(rule.id, "cannot fail", said, rule.hard)
    truth = (bound + (1.0 if better == "higher" else 0.0)) / 2
    chance = power.power_absolute(size.n, truth, bound, better, rule.spent)
    if chance < POWER:
        enough = power.needed_absolute(truth, bound, better, rule.spent, POWER)
        more = f"{enough:,} needed for {POWER:.0%}" if enough else "no number reaches 80%"
        said = (
            f"it passes {_often(chance)} where the truth is {number(truth)}, halfway to "
            f"perfect: {size}; {more}; under {least:,} it cannot pass at all"
        )
        yield Outlook(rule.id, "weak", said, rule.hard)


def _paired(rule: Required, margin: float, size: Size) -> Iterator[Outlook]:
    from audits import power

    lone, sides = size.n == size.clusters, 2 if isinstance(rule, Equivalent) else 1
    if lone:
        least = power.least_to_pass_paired(margin, rule.spent)
    else:
        least = power.least_to_pass_absolute(margin, "lower", rule.spent)
    if least is None or size.clusters < least:
        known = "no number would do" if least is None else f"{least:,} are needed"
        known = known if lone or least is None else known.replace(" are", " clusters are")
        said = f"it can never pass: {size}, and with equal answers throughout {known}"
        yield Outlook(rule.id, "cannot pass", said, rule.hard)
        return
    if not power.can_fail_paired(size.n, margin, rule.spent):
        said = f"it can never fail: {size}, and even the worst change is not surely beyond it"
        yield Outlook(rule.id, "cannot fail", said, rule.hard)
    # Both limits must hold for equivalence, and each may miss.
    miss = 1 - power.power_paired(size.n, DISCORDANCE, 0.0, margin, rule.spent)
    chance, asked = max(0.0, 1 - sides * miss), 1 - (1 - POWER) / sides
    if chance < POWER:
        enough = _enough_paired(margin, rule.spent, asked)
        said = (
            f"it passes {_often(chance)} at {DISCORDANCE:.0%} discordance: {size}, margin "
            f"{number(100 * margin)} points; {enough:,} needed for {POWER:.0%}; under "
            f"{least:,} it cannot pass at all"
        )
        yield Outlook(rule.id, "weak", said, rule.hard)


def _enough_paired(margin: float, alpha: float, asked: float) -> int:
    """What the usual formula says, where it comes within a point of the power it promises."""
    from audits import power

    usual = power.needed_paired(DISCORDANCE, margin, alpha, asked)
    if power.power_paired(usual, DISCORDANCE, 0.0, margin, alpha) >= asked - 0.01:
        return usual
    return power.enough_paired(DISCORDANCE, margin, alpha, asked) or usual


def _ratio(rule: Required, ratio: float, size: Size) -> Iterator[Outlook]:
    """A ratio of two sampled shares: of each its own limit at half of alpha."""
    if ratio <= 1:
        said = "it passes hardly ever where both models are equal: its ratio is not above 1"
        yield Outlook(rule.id, "weak", said, rule.hard)
        return
    if _ratio_of_equals(size.n, rule.spent) <= ratio:
        return
    enough = size.n
    while enough < LARGEST and _ratio_of_equals(enough, rule.spent) > ratio:
        enough = -(-enough * 5 // 4)
    needed = f"about {enough:,} are needed" if enough < LARGEST else "no number would do"
    said = (
        f"it passes seldom where both models are equal: at {COMMON:.0%} in either, the limits "
        f"of {size} leave a ratio of {number(_ratio_of_equals(size.n, rule.spent))}; {needed}"
    )
    yield Outlook(rule.id, "weak", said, rule.hard)


def _ratio_of_equals(n: int, alpha: float) -> float:
    from audits.intervals import exact_interval, normal_quantile

    low, high = exact_interval(COMMON, n, normal_quantile(1 - alpha))
    return high / low if low > 0 else float("inf")


def _noise(rule: AnyRule, floor: Floor | None) -> Iterator[Outlook]:
    if floor is None:
        return
    margin = getattr(rule, "margin", None)
    if margin is not None and margin < floor.value:
        said = (
            f"its margin {number(margin)} lies inside the noise floor {number(floor.value)} "
            f"({floor.origin})"
        )
        yield Outlook(rule.id, "noise", said, rule.hard)
    bound = rule.bound if isinstance(rule, Absolute) else None
    if bound is not None and floor.at is not None and abs(bound - floor.at) < floor.value:
        said = (
            f"its bound {number(bound)} lies within the noise floor {number(floor.value)} of "
            f"{number(floor.at)}, which was measured ({floor.origin})"
        )
        yield Outlook(rule.id, "noise", said, rule.hard)


def _diagnostic(rule: AnyRule, declared: Declared | None) -> Iterator[Outlook]:
    bounded = rule.hard and isinstance(rule, Absolute)
    if bounded and declared is not None and declared.diagnostic:
        said = (
            f"it is a hard bound on a diagnostic: {declared.diagnostic}; say hard: false, or "
            "compare with the parent (no_worse)"
        )
        yield Outlook(rule.id, "diagnostic", said, rule.hard)


def _sign(rule: AnyRule, declared: Declared | None) -> Iterator[Outlook]:
    """A rule that the strongest lean in one direction passes."""
    if not (rule.hard and declared and isinstance(rule, AtMost | AtLeast | NoWorse)):
        return
    if declared.diagnostic or declared.one_way:
        return
    end = -1 if declared.better == "lower" else 1
    instead = "equivalent" if isinstance(rule, NoWorse) else "within"
    said = f"{end} passes it, which is as much of a lean as {-end}; bound both with {instead}"
    yield Outlook(rule.id, "sign", said, rule.hard)


def _often(chance: float) -> str:
    """A chance as people say it.

    >>> _often(0.2), _often(0.63), _often(0.001)
    ('about one time in 5', '63% of the time', 'hardly ever')
    """
    if chance < 0.01:
        return "hardly ever"
    if chance <= 0.5:
        return f"about one time in {round(1 / chance)}"
    return f"{chance:.0%} of the time"
