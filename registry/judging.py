"""How does any rule come to its finding?"""

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field

from audits.errors import MeasureError
from audits.estimand import Better, Estimate
from audits.evidence import Evidence
from audits.settings import Settings
from registry import wording
from registry.finding import Case, Finding, Verdict
from registry.looking import Limits, Sight, Unsettled, likeness, look, needed, same_machine
from registry.wording import Wording

Than = Literal["parent", "champion"]


class Required(Settings):
    """What every rule has: a measure, how sure one must be, and whether it can refuse."""

    measure: Annotated[str, Field(pattern=r"^[^/\s]+/\S+$")]
    """Full name, `part/measure/stratum`."""
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """One-sided chance of passing a model that misses the bound."""
    min_n: Annotated[int, Field(ge=1)] = 30
    """Fewer valid examples decide nothing; exact values (a file's size) need none."""
    min_clusters: Annotated[int, Field(ge=1)] = 10
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
    seen = look(rule.measure, whose, case, who)
    if rule.requires not in (None, seen.declared.better):
        raise Unsettled(
            f"{rule.measure} is better {seen.declared.better}, which this rule contradicts"
        )
    if rule.hard and seen.is_guessed_energy():
        raise Unsettled("this energy was not measured, and an estimate satisfies no hard rule")
    seen.require(rule.min_n, rule.min_clusters)
    return seen


def absolute(rule: Required, bound: float, better: Better, case: Case) -> Finding:
    """Judge the candidate by itself."""
    seen = sight(rule, case, case.candidate, "the candidate")
    limits = seen.limits(rule.alpha)
    words = wording.absolute(seen, bound, better)
    return settle(rule, seen, limits, bound, better, words)


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
        Unsettled: the candidate names a parent, and it is not the one at hand.
    """
    if than == "parent":
        stated = case.candidate.about.get("parent") or ""
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
    because = wording.sentence(words, limits, verdict, better, rule.alpha)
    because += wording.footing(seen)
    needs = None
    if verdict is Verdict.INCONCLUSIVE:
        needs = needed(limits, bound, better, rule.alpha, n)
        because += f": {wording.remedy(needs)}"
    return Finding(
        rule.id, verdict, because, rule.hard, rule.measure,
        value=limits.pessimistic.value, limit=limit, bound=bound,
        n=n, clusters=clusters, needs_n=needs,
    )  # fmt: skip


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
    # Of a ratio only the limits are known; a quarter of their distance is its error.
    joint = Estimate(value, low, high, n, clusters, "ratio of limits", (high - low) / 4)
    return Limits(joint, low, high)
