"""How does any rule come to its finding?"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import Field

from audits.errors import MeasureError
from audits.estimand import Better, Estimate, Ratio
from audits.evidence import Evidence
from audits.settings import Settings
from registry import wording
from registry.finding import Case, Finding, Verdict
from registry.looking import (
    Limits,
    Sight,
    Unsettled,
    in_groups,
    likeness,
    look,
    needed,
    same_machine,
)
from registry.wording import Wording

Than = Literal["parent", "champion"]


class Required(Settings):
    """What every rule has: a measure, how sure one must be, and whether it can refuse."""

    measure: Annotated[str, Field(pattern=r"^[^/\s]+/\S+$")]
    """Full name, `part/measure/stratum`."""
    alpha: Annotated[float, Field(ge=1e-6, le=0.2)] = 0.05
    """One-sided chance of passing a model that misses the bound."""
    max_looks: Annotated[int, Field(ge=1, le=100)] = 1
    """How often fresh records of the same weights may be judged until the rule passes: each
    look spends alpha / max_looks, for looking again until it passes is how chance passes."""
    min_n: Annotated[int, Field(ge=1)] = 30
    """Fewer valid examples decide nothing; exact values (a file's size) need none."""
    min_clusters: Annotated[int, Field(ge=1)] = 10
    clusters: Literal["drawn", "all"] = "drawn"
    """`all`: the clusters that were measured are all there are (every paradigm of a benchmark,
    every occupation of a world). Otherwise they were drawn from others, of which one may be
    unlike all of them, and the limit of a share leaves room for that."""
    hard: bool = True
    """Whether anything but PASS stands in the way of promotion."""
    because: str = ""
    """Why the bound is what it is; shown in reports."""

    @property
    def id(self) -> str:
        """The rule in one line; unique within a policy."""
        return self.measure

    @property
    def requires(self) -> Better | None:
        """The direction the measure must have for the rule to make sense; None: either."""
        return None

    @property
    def spent(self) -> float:
        """What one look may spend of alpha."""
        return self.alpha / self.max_looks

    def stricter(self, share: float) -> Self:
        """The same rule at a share of its alpha, as Holm's steps ask."""
        return self.model_copy(update={"alpha": self.alpha * share})


class Grouped(Required):
    """A rule that may have to hold in every group, and so in the worst one.

    Passing needs no correction for the number of groups (every one must pass); naming the
    group that fails is asserting one of many, so those p-values are Holm's.
    """

    by: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]*$")] = ""
    """Column of the records (`group`) in each of whose values the rule must hold; empty: over
    all examples together. `min_n` and `min_clusters` then hold in each group."""

    def named(self, what: str) -> str:
        """The rule's line, with the groups it asks for."""
        return f"{what} in every {self.by}" if self.by else what


def closed(rule: Required, judge: Callable[[], Finding]) -> Finding:
    """Whatever keeps a rule from deciding becomes an INCONCLUSIVE finding with its reason."""
    try:
        return judge()
    except (Unsettled, MeasureError) as reason:
        because = str(reason)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        # Stored records may hold anything; what breaks the statistics proves nothing.
        because = f"its records do not compute ({type(error).__name__}: {error})"
    return Finding(rule.id, Verdict.INCONCLUSIVE, because, rule.hard, rule.measure)


def sight(rule: Required, case: Case, whose: Evidence, who: str) -> Sight:
    """What the rule may look at in someone's evidence.

    Raises:
        Unsettled: absent, against the rule's direction, guessed, or too little of it.
    """
    seen = replace(look(rule.measure, whose, case, who), whole=rule.clusters == "all")
    if rule.requires not in (None, seen.declared.better):
        raise Unsettled(
            f"{rule.measure} is better {seen.declared.better}, which this rule contradicts"
        )
    if rule.hard and seen.is_guessed_energy():
        raise Unsettled("this energy was not measured, and an estimate satisfies no hard rule")
    seen.require(rule.min_n, rule.min_clusters)
    looks = case.looks.get(rule.id, 1)
    if looks > rule.max_looks and not seen.exact:
        raise Unsettled(
            f"this is look {looks} at fresh records of these weights, and the rule allows "
            f"{rule.max_looks}: declare max_looks before looking, each then spends less alpha; "
            "what earlier looks have spent stays spent"
        )
    return seen


def absolute(rule: Grouped, case: Case, judge: Callable[[Required, Sight], Finding]) -> Finding:
    """Judge the candidate by itself, in every group where the rule asks for it."""
    seen = sight(rule, case, case.candidate, "the candidate")
    if not rule.by:
        return judge(rule, seen)
    members = in_groups(rule.by, seen)
    return worst(rule, {n: _alone(judge, seen.only(m)) for n, m in members.items()})


def bounded(rule: Required, seen: Sight, bound: float, better: Better) -> Finding:
    """Compare one limit of a measure with a bound."""
    words = wording.absolute(seen, bound, better)
    return settle(rule, seen, seen.limits(rule.spent), bound, better, words)


def outward(
    rule: Required, seen: Sight, limits: Limits, bound: float, words: Wording
) -> Finding:
    """Compare both limits with a bound in either direction: two one-sided tests.

    The side that lies further out decides: with it inside, the other is inside too. Only
    whether a limit holds for so few at their skewness must be asked of both.
    """
    sides: list[tuple[Better, float]] = [("lower", bound), ("higher", -bound)]
    if limits.high + limits.low <= 0:
        sides.reverse()
    found, other = (settle(rule, seen, limits, at, better, words) for better, at in sides)
    return found if found.verdict is not Verdict.PASS else other


def compared(
    rule: Grouped,
    judge: Callable[[Required, Sight, Sight], Finding],
    mine: Sight,
    theirs: Sight,
) -> Finding:
    """Judge two models beside each other, in every group where the rule asks for it."""
    if not rule.by:
        return judge(rule, mine, theirs)
    members = in_groups(rule.by, mine, theirs)
    return worst(
        rule,
        {n: _beside(judge, mine.only(m), theirs.only(m)) for n, m in members.items()},
    )


Judge = Callable[[Required], Finding]


def _alone(judge: Callable[[Required, Sight], Finding], seen: Sight) -> Judge:
    return lambda rule: _enough(rule, seen) or judge(rule, seen)


def _beside(
    judge: Callable[[Required, Sight, Sight], Finding], mine: Sight, theirs: Sight
) -> Judge:
    return lambda rule: _enough(rule, mine) or judge(rule, mine, theirs)


def _enough(rule: Required, seen: Sight) -> Finding | None:
    """A finding where a group is too small for any, else None."""
    try:
        seen.require(rule.min_n, rule.min_clusters)
    except Unsettled as reason:
        return Finding(rule.id, Verdict.INCONCLUSIVE, str(reason), rule.hard, rule.measure)
    return None


def worst(rule: Grouped, judges: Mapping[str, Judge]) -> Finding:
    """One finding for all groups: the worst one's, named."""
    found = {name: judge(rule) for name, judge in judges.items()}
    failing = {n for n, f in found.items() if f.verdict is Verdict.FAIL}
    sure = holm_steps(
        failing,
        len(found),
        lambda name, share: judges[name](rule.stricter(share)).verdict is Verdict.FAIL,
    )
    order = (sure, failing, {n for n, f in found.items() if f.verdict is not Verdict.PASS})
    pool = next((names for names in order if names), set(found))
    name = min(sorted(pool), key=lambda n: _room(found[n]))
    chosen = found[name]
    verdict = chosen.verdict
    if name in failing and name not in sure:
        verdict = Verdict.INCONCLUSIVE
    passing = sum(f.verdict is Verdict.PASS for f in found.values())
    because = f"{rule.by} {name}: {chosen.because}; {passing} of {len(found)} groups pass"
    p = None if chosen.p is None else min(1.0, chosen.p * len(found))
    if verdict is not chosen.verdict:
        because += f"; not sure among {len(found)} groups (Holm)"
    return replace(chosen, verdict=verdict, because=because, p=p)


def _room(finding: Finding) -> float:
    """Distance of the deciding limit from its bound: the smaller, the worse."""
    if finding.limit is None or finding.bound is None:
        return float("-inf")
    return abs(finding.limit - finding.bound) * (1 if finding.verdict is Verdict.PASS else -1)


def holm_steps(
    failing: Collection[str], hypotheses: int, still: Callable[[str, float], bool]
) -> set[str]:
    """Which of many failures may be asserted together (Holm 1979, step-down).

    `still(name, share)` says whether one still fails at that share of its alpha. Rejecting
    all that stand at 1/m, then at 1/(m - rejected), and so on, is Holm's procedure.
    """
    sure: set[str] = set()
    while len(sure) < len(failing):
        share = 1 / (hypotheses - len(sure))
        more = {name for name in failing if name not in sure and still(name, share)}
        if not more:
            break
        sure |= more
    return sure


def relative(
    rule: Required, than: Than, case: Case, judge: Callable[[Sight, Sight], Finding]
) -> Finding:
    """Judge the candidate beside another model, or say that there is nothing to compare."""
    other = case.parent if than == "parent" else case.champion
    reason = _nothing_to_compare(case, other, than)
    if other is None or reason:
        return Finding(
            rule.id, Verdict.PASS, f"nothing to compare with: {reason}", rule.hard,
            rule.measure, applies=False,
        )  # fmt: skip
    mine = sight(rule, case, case.candidate, "the candidate")
    theirs = sight(rule, case, other, f"the {than}")
    likeness(mine, theirs)
    same_machine(mine, theirs)
    return judge(mine, theirs)


def _nothing_to_compare(case: Case, other: Evidence | None, than: Than) -> str:
    """Why a relative rule does not apply; empty where it does.

    Raises:
        Unsettled: the candidate names a parent that is not the one at hand, or itself.
    """
    if than == "parent":
        stated = case.candidate.about.get("parent") or ""
        if stated == case.candidate.subject:
            raise Unsettled(
                "it was published as its own parent, so nobody knows what to compare it with; "
                "run it again"
            )
        if stated and (other is None or other.subject != stated):
            raise Unsettled(f"the evidence of its parent {str(stated)[:12]} is not at hand")
        if other is None:
            return "this is the uncompressed model"
    if other is None:
        return "there is no champion"
    return f"this is the {than} itself" if other.subject == case.candidate.subject else ""


def settle(
    rule: Required, seen: Sight, limits: Limits, bound: float, better: Better, words: Wording
) -> Finding:
    """Compare limits with a bound (a margin with its sign) and say so in one sentence."""
    if better == "higher":
        limit, passes, fails = limits.low, limits.low >= bound, limits.high < bound
    else:
        limit, passes, fails = limits.high, limits.high <= bound, limits.low > bound
    verdict = Verdict.PASS if passes else Verdict.FAIL if fails else Verdict.INCONCLUSIVE
    n, clusters = (1, 1) if seen.exact else seen.counts
    short = too_skewed(limits, verdict, better)
    if short:
        verdict = Verdict.INCONCLUSIVE
    because = wording.sentence(words, limits, verdict, better, rule.spent)
    because += wording.footing(seen)
    needs = None
    if verdict is Verdict.INCONCLUSIVE:
        needs = needed(limits, bound, better, rule.spent, n)
        because += f"{short}: {wording.remedy(needs)}"
    return Finding(
        rule.id, verdict, because, rule.hard, rule.measure,
        value=limits.pessimistic.value, limit=limit, bound=bound,
        n=n, clusters=clusters, needs_n=needs,
    )  # fmt: skip


def too_skewed(limits: Limits, verdict: Verdict, better: Better) -> str:
    """Why the limit that decides does not hold for so few; empty where it does.

    A verdict and its mirror image (the models swapped) rest on the same limit, so both stand
    or neither does.
    """
    from audits.stats import enough_for_skew

    if verdict is Verdict.INCONCLUSIVE:
        return ""
    decided_above = (better == "lower") is (verdict is Verdict.PASS)
    enough = enough_for_skew(limits.pessimistic, "lower" if decided_above else "higher")
    if limits.pessimistic.clusters >= enough:
        return ""
    skew = wording.number(limits.pessimistic.skew)
    return f"; with a skewness of {skew} it takes {enough:,} independent ones to decide"


def tested(finding: Finding, mine: Sight, theirs: Sight) -> Finding:
    """A finding of a change with the p-value of none: McNemar's, or of swaps by cluster.

    It decides nothing; naming what changed, of all that was compared, rests on it.
    """
    from audits.significance import change

    if not isinstance(mine.declared.of, Ratio):
        return finding
    p, how = change(mine.declared, mine.frame, theirs.frame)
    because = f"{finding.because}; {how}: p {wording.number(p)}"
    return replace(finding, because=because, p=p)


def ratio(new: Limits, old: Limits) -> Limits:
    """Limits of new over old that hold wherever both models' own limits hold.

    Raises:
        Unsettled: the denominator is not surely positive.
    """
    if old.low <= 0 or new.low < 0:
        raise Unsettled("a ratio needs values that are surely positive")
    value = new.pessimistic.value / old.pessimistic.value
    low, high = new.low / old.high, new.high / old.low
    n, clusters = new.pessimistic.n, new.pessimistic.clusters
    # Of a ratio only the limits are known; a quarter of their distance is its error. Its upper
    # limit rests on the new model's upper and on the old one's lower.
    skew = max(new.pessimistic.skew, -old.pessimistic.skew)
    se = (high - low) / 4
    joint = Estimate(value, low, high, n, clusters, "ratio of limits", se, skew)
    return Limits(joint, low, high)
