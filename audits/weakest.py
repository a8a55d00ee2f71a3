"""The worst of several shares, with limits that hold whichever of them it is."""

from collections.abc import Sequence

from audits.errors import MeasureError
from audits.estimand import Declared, Estimate, Ratio, Weakest


def shares(declared: Declared, of: Weakest) -> tuple[Declared, ...]:
    """The share of each group, as a measure of its own.

    Raises:
        MeasureError: the measure says that lower is better, of which the worst is the largest.
    """
    if declared.better != "higher":
        raise MeasureError(
            f"{declared.name}: the weakest share is one of which higher is better"
        )
    return tuple(
        declared.model_copy(
            update={"of": Ratio(value=of.value), "where": {**declared.where, of.by: group}}
        )
        for group in of.groups
    )


def weakest(found: Sequence[Estimate], surer: Sequence[Estimate]) -> Estimate:
    """The smallest of the shares.

    Its lower limit is the smallest lower limit: for all of them to lie above the smallest
    share, that share's own must (an intersection-union test, Berger 1982). Its upper limit is
    the smallest upper limit of `surer`, the same shares at the level `shared`: any of the
    limits could be the one that is too low.
    """
    least = min(found, key=lambda each: each.value)
    return Estimate(
        value=least.value,
        low=min(each.low for each in found),
        high=min(each.high for each in surer),
        n=sum(each.n for each in found),
        clusters=min(each.clusters for each in found),
        method=f"weakest of {len(found)}, {least.method}",
        se=least.se,
        skew=max(each.skew for each in found),
    )


def shared(level: float, n: int) -> float:
    """The level of each of `n` limits that together hold at `level` (Bonferroni).

    >>> round(shared(0.9, 2), 6)
    0.95
    """
    return 1 - (1 - level) / n


def weakest_difference(
    changes: Sequence[Estimate], new: Sequence[Estimate], old: Sequence[Estimate]
) -> Estimate:
    """How far the new model's weakest share lies above the old one's.

    It lies between the smallest and the largest change of a share, and so do its limits:
    wider than need be, and right whichever share is the weakest in either model.
    """
    least = min(changes, key=lambda each: each.low)
    return Estimate(
        value=min(e.value for e in new) - min(e.value for e in old),
        low=least.low,
        high=max(each.high for each in changes),
        n=sum(each.n for each in changes),
        clusters=min(each.clusters for each in changes),
        method=f"weakest of {len(changes)}, {least.method}",
        se=max(each.se for each in changes),
        skew=max(each.skew for each in changes),
    )
