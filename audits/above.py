"""What does a model show above models that know nothing, of which only a few were drawn?"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from audits.estimand import Above, Declared, Estimate, Ratio
from audits.intervals import Floats, t_quantile
from audits.ratios import ratio, ratio_difference
from audits.sample import Sums, sums

if TYPE_CHECKING:
    import pandas as pd


def above(
    declared: Declared, of: Above, frame: "pd.DataFrame", level: float, *, whole: bool
) -> Estimate:
    """The mean of `value` minus the mean over the nulls, with room for other nulls.

    Args:
        declared: the measure.
        of: its columns.
        frame: completed records.
        level: two-sided.
        whole: whether the clusters are all there are.

    Raises:
        MeasureError: as `audits.stats.estimate` of a ratio that is no proportion.
    """
    own, nulls = _parts(declared, of, frame)
    rows = replace(own, num=own.num - _mean(nulls))
    found = ratio(declared, _ratio(of.value, of), rows.counted(), level, whole=whole)
    return _wider(found, _levels(nulls), level)


def above_difference(
    declared: Declared,
    of: Above,
    new: "pd.DataFrame",
    old: "pd.DataFrame",
    level: float,
    *,
    whole: bool,
) -> Estimate:
    """New minus old on the same examples; nulls that both share, as by rule, cancel."""
    ours, mine = _parts(declared, of, new)
    theirs, others = _parts(declared, of, old)
    # One difference of means, so that nulls that are the same cancel to the last digit.
    beside = replace(theirs, num=theirs.num - (_mean(others) - _mean(mine)))
    found = ratio_difference(declared, _ratio(of.value, of), ours, beside, level, whole=whole)
    levels = zip(_levels(mine), _levels(others), strict=True)
    return _wider(found, [one - other for one, other in levels], level)


def _parts(declared: Declared, of: Above, frame: "pd.DataFrame") -> tuple[Sums, list[Sums]]:
    """Sums of the model and of each null, row by row."""
    own, *nulls = (
        sums(declared, _ratio(column, of), frame, worst=True)
        for column in (of.value, *of.nulls)
    )
    return own, nulls


def _mean(nulls: Sequence[Sums]) -> Floats:
    return np.asarray(np.mean([null.num for null in nulls], axis=0))


def _levels(nulls: Sequence[Sums]) -> list[float]:
    """What each null has over all."""
    return [float(null.num.sum() / null.den.sum()) for null in nulls]


def _ratio(column: str, of: Above) -> Ratio:
    return Ratio(value=column, over=of.over, proportion=False)


def _wider(found: Estimate, nulls: Sequence[float], level: float) -> Estimate:
    """The estimate with what one more null would differ from these added in quadrature.

    A new draw from a normal population lies t(K - 1) s sqrt(1 + 1/K) about the mean of K.
    """
    k = len(nulls)
    error = statistics.stdev(nulls) * math.sqrt(1 + 1 / k)
    room = t_quantile(level, k) * error
    return replace(
        found,
        low=found.value - math.hypot(found.value - found.low, room),
        high=found.value + math.hypot(found.high - found.value, room),
        se=math.hypot(found.se, error),
        method=f"{found.method}, t of {k} nulls",
    )
