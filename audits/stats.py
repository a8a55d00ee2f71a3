"""From a declaration and records to a number with an interval, alone or paired.

The two functions a gate needs are `estimate` and `difference`; `needs_n` says what would
settle an open question. Records in any order give the same numbers.
"""

import math
from typing import TYPE_CHECKING

from audits.above import above, above_difference
from audits.covering import require_covers
from audits.detector import Parts, corrected_difference, require_detects, truth
from audits.errors import MeasureError
from audits.estimand import (
    Able,
    Above,
    Better,
    Consistency,
    Corrected,
    Covers,
    Declared,
    Detects,
    Estimate,
    Exact,
    Lean,
    Ratio,
    Weakest,
)
from audits.intervals import (
    clopper_pearson,
    cluster_se,
    holm,
    normal_quantile,
    tango,
    wilson,
)
from audits.pairing import pairing
from audits.ratios import ratio, ratio_difference
from audits.redrawn import redrawn, redrawn_difference, tested
from audits.sample import Selection, borrow, complete, numbers, select, sums
from audits.weakest import shared, shares, weakest, weakest_difference

if TYPE_CHECKING:
    import pandas as pd

EXACT = "clopper-pearson"
"""How the method of independent trials is called."""

__all__ = [
    "clopper_pearson",
    "cluster_se",
    "difference",
    "enough_for_skew",
    "estimate",
    "holm",
    "needs_n",
    "tango",
    "wilson",
]


def estimate(
    declared: Declared,
    frame: "pd.DataFrame",
    *,
    level: float,
    optimistic: bool = False,
    whole: bool = False,
) -> Estimate:
    """The measure on these records, with its two-sided interval.

    Up to 2 % of the records may be invalid; a proportion counts them in the direction that
    is worst for the model, and nothing else has a worst case. With `optimistic` they count
    at their best: a FAIL is only sure where even that fails. `whole` says that the clusters are
    all there are, so that a share need leave no room for one that was not drawn, and a mean
    need not fear the tail of those that were.

    Raises:
        MeasureError: no rows, a missing column, too many invalid rows, values that are not
            finite, fewer than two clusters, or nothing that varies on an unknown scale.
    """
    _require(declared, frame)
    if isinstance(declared.of, Weakest):
        parts = shares(declared, declared.of)
        return weakest(
            *(
                [
                    estimate(each, frame, level=at, optimistic=optimistic, whole=whole)
                    for each in parts
                ]
                for at in (level, shared(level, len(parts)))
            )
        )
    if isinstance(declared.of, Corrected):

        def at(each: Declared, level: float) -> Estimate:
            return estimate(each, frame, level=level, optimistic=optimistic, whole=whole)

        return truth(declared, declared.of, at, level)
    if isinstance(declared.of, Lean):
        share = estimate(
            _share(declared, declared.of),
            frame,
            level=level,
            optimistic=optimistic,
            whole=whole,
        )
        return _twice(share, less=1.0)
    if isinstance(declared.of, Ratio):
        counted = sums(declared, declared.of, frame, worst=not optimistic, alone=True).counted()
        return ratio(declared, declared.of, counted, level, whole=whole)
    if isinstance(declared.of, Above):
        return above(declared, declared.of, frame, level, whole=whole)
    return _of_whole_rows(declared, complete(declared, select(declared, frame)), level)


def _of_whole_rows(declared: Declared, rows: Selection, level: float) -> Estimate:
    """What has no worst case to count an invalid row as."""
    if isinstance(declared.of, Exact):
        value = _single(declared, rows)
        return Estimate(value, value, value, 1, 1, "exact", 0.0)
    if isinstance(declared.of, Consistency):
        return tested(declared, declared.of, rows)
    return redrawn(declared, rows, level)


def difference(
    declared: Declared,
    new: "pd.DataFrame",
    old: "pd.DataFrame",
    *,
    level: float,
    optimistic: bool = False,
    whole: bool = False,
) -> Estimate:
    """New minus old on the same examples, with a paired two-sided interval.

    Invalid records of a proportion count as worst for the new model and best for the old
    one, or the other way round with `optimistic`. `whole` as in `estimate`.

    Raises:
        MeasureError: as `estimate`, or the two do not hold the same examples.
    """
    _require(declared, new)
    _require(declared, old)
    if isinstance(declared.of, Weakest):
        parts = shares(declared, declared.of)
        return weakest_difference(
            [
                difference(each, new, old, level=level, optimistic=optimistic, whole=whole)
                for each in parts
            ],
            [estimate(each, new, level=level, optimistic=optimistic) for each in parts],
            [estimate(each, old, level=level, optimistic=not optimistic) for each in parts],
        )
    if isinstance(declared.of, Corrected):
        told, surer = Parts.of(declared, declared.of), shared(level, 3)
        change = difference(
            told.rate, new, old, level=surer, optimistic=optimistic, whole=whole
        )
        worth = [estimate(each, new, level=surer, optimistic=optimistic) for each in told.worth]
        return corrected_difference(declared, change, worth)
    if isinstance(declared.of, Lean):
        share = _share(declared, declared.of)
        change = difference(share, new, old, level=level, optimistic=optimistic, whole=whole)
        return _twice(change, less=0.0)
    new, old = borrow(declared, new, old), borrow(declared, old, new)
    if isinstance(declared.of, Ratio):
        ours = sums(declared, declared.of, new, worst=not optimistic)
        theirs = sums(declared, declared.of, old, worst=optimistic)
        return ratio_difference(declared, declared.of, ours, theirs, level, whole=whole)
    if isinstance(declared.of, Above):
        return above_difference(declared, declared.of, new, old, level, whole=whole)
    rows = complete(declared, select(declared, new)), complete(declared, select(declared, old))
    if isinstance(declared.of, Exact):
        pairing(declared, *(side.placed() for side in rows))
        apart = _single(declared, rows[0]) - _single(declared, rows[1])
        return Estimate(apart, apart, apart, 1, 1, "exact", 0.0)
    if isinstance(declared.of, Consistency):
        raise MeasureError(f"{declared.name}: a p-value is of one model and compares with none")
    return redrawn_difference(declared, *rows, level)


def _require(declared: Declared, frame: "pd.DataFrame") -> None:
    """Raise MeasureError where the capability that a measure rests on is not shown."""
    if declared.given is None:
        return
    if isinstance(declared.given, Able):
        _require_able(declared, declared.given, frame)
        return
    if isinstance(declared.given, Covers):
        require_covers(declared, declared.given, frame)
        return
    if isinstance(declared.given, Detects):
        require_detects(
            declared, declared.given, lambda share, level: estimate(share, frame, level=level)
        )
        return
    asked = declared.model_copy(update={"of": declared.given, "given": None})
    found = redrawn(asked, complete(asked, select(asked, frame)), 0.95)
    if found.low <= 0.5:
        raise MeasureError(
            f"{declared.name}: AUROC of {declared.given.score} is {found.value:.2f}, from"
            f" {found.low:.2f}; not surely above 0.5, it says nothing of {declared.given.label}"
        )


def _require_able(declared: Declared, able: Able, frame: "pd.DataFrame") -> None:
    asked = Declared(
        name=declared.name, better="higher", about="", of=Ratio(value=able.value),
        where=able.where,
    )  # fmt: skip
    found = estimate(asked, frame, level=0.95)
    if found.low <= able.above:
        place = ", ".join(able.where.values())
        raise MeasureError(
            f"{declared.name}: the model cannot do the task: {able.value}"
            f"{f' ({place})' if place else ''} is {found.value:.2f}, from {found.low:.2f}, not"
            f" surely above {able.above:.2f}; until it can, this says nothing"
        )


def _share(declared: Declared, of: Lean) -> Declared:
    """The share behind a leaning; that the model is able was asked before."""
    return declared.model_copy(update={"of": of.share, "given": None})


def _twice(share: Estimate, *, less: float) -> Estimate:
    """Twice a share, or a change of shares, less so much."""
    return Estimate(
        value=2 * share.value - less,
        low=2 * share.low - less,
        high=2 * share.high - less,
        n=share.n,
        clusters=share.clusters,
        method=f"share by {share.method}",
        se=2 * share.se,
        skew=share.skew,
    )


def needs_n(
    estimate: Estimate, bound: float, *, alpha: float, power: float, better: Better
) -> int | None:
    """How many rows would let a one-sided limit at `alpha` meet `bound` with this `power`.

    Taken at the current estimate, variance and clustering; for a difference, `bound` is the
    margin with its sign. None where no number will do: the estimate itself does not meet
    the bound. Where nothing varied, the interval shrinks with n and not with its root, and
    a rate of 0 (or 1) needs ln(alpha) / ln(1 - bound) trials.
    """
    gap = bound - estimate.value if better == "lower" else estimate.value - bound
    if estimate.low == estimate.high:
        return estimate.n if gap >= 0 else None
    if gap <= 0:
        return None
    if estimate.se == 0:
        half = max(estimate.high - estimate.value, estimate.value - estimate.low)
        needed = estimate.n * half / gap
        if estimate.value in (0.0, 1.0) and 0 < gap < 1:
            trials = math.log(alpha) / math.log1p(-gap)
            needed = max(needed, trials * estimate.n / estimate.clusters)
        return math.ceil(needed)
    if estimate.method == EXACT:
        # Of a rate the limit's own power is known.
        from audits.power import needed_absolute

        enough = needed_absolute(estimate.value, bound, better, alpha, power)
        if enough is not None:
            return enough
    # What varies between clusters shrinks with the root of their number, and what the limit
    # leaves open besides (an unseen cluster) with the number itself.
    reach = normal_quantile(1 - 2 * alpha)
    half = (
        estimate.high - estimate.value if better == "lower" else estimate.value - estimate.low
    )
    both = (reach + normal_quantile(2 * power - 1)) * estimate.se
    besides = max(0.0, half - reach * estimate.se)
    root = 2 * gap / (both + math.sqrt(both * both + 4 * besides * gap))
    skewed = enough_for_skew(estimate, better) / estimate.clusters
    return math.ceil(estimate.n * max(root**-2, skewed))


def enough_for_skew(estimate: Estimate, better: Better) -> int:
    """Clusters from which on the limit that must meet a bound holds in spite of its skew.

    Cochran (Sampling Techniques, 1977, 2.15) asks for 25 times the squared skewness before a
    mean is treated as normal. It matters only where the long tail points to the limit: there
    what was drawn lacks the values that would move it. 0 where any number will do.
    """
    towards = estimate.skew if better == "lower" else -estimate.skew
    return math.ceil(25 * towards**2) if towards > 0 else 0


def _single(declared: Declared, rows: Selection) -> float:
    assert isinstance(declared.of, Exact)
    if (n := len(rows.lost)) != 1:
        raise MeasureError(f"{declared.name}: an exact value is one record, not {n}")
    return float(numbers(declared, rows, declared.of.value)[0])
