"""How far do rates of groups lie apart, how sure is that, and what would chance alone show?

Everything follows from the sums of each cluster in each group, so ten thousand resamples of a
hundred thousand rows are products of matrices. fairlearn's own bootstrap redraws rows, which
knows no clusters, and builds a frame anew for each resample.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from audits.intervals import Floats, Ints, normal_quantile, score_interval, t_quantile
from audits.resample import BATCH, SEED, Resampled, Statistic

RESAMPLES = 999
FEW_KINDS = 8
"""Where no more than one in so many clusters differ, how often each kind is drawn is drawn."""
Over = Literal["worst_case", "mean"]


@dataclass(frozen=True, eq=False)
class Cells:
    """Numerators and denominators of one or more rates: arrays (clusters, groups, rates).

    A rate of a group is the sum of its numerators over that of its denominators; `over` says
    whether the rate that differs most counts, or the mean of all differences.
    """

    num: Floats
    den: Floats
    over: Over = "worst_case"

    @classmethod
    def of(
        cls,
        num: Floats,
        den: Floats,
        group: Ints,
        cluster: Ints,
        over: Over = "worst_case",
        *,
        clusters: int = 0,
    ) -> "Cells":
        """From rows (rows, rates), and the codes of their groups and clusters.

        `clusters` says how many there are, where some may have no rows here.
        """
        groups, clusters = int(group.max()) + 1, clusters or int(cluster.max()) + 1
        cell, shape = cluster * groups + group, (clusters, groups, -1)
        num, den = (_summed(s, cell, clusters * groups).reshape(shape) for s in (num, den))
        return cls(num, den, over)

    def rates(self, counts: Floats | None = None) -> Floats:
        """Rates (groups, rates), or (resamples, groups, rates) of drawn clusters; NaN: none.

        Args:
            counts: how often each cluster is drawn (clusters, resamples).
        """
        if counts is None:
            return _over(self.num.sum(axis=0), self.den.sum(axis=0))
        return _over(*(np.tensordot(counts.T, s, axes=1) for s in (self.num, self.den)))

    def spread(self) -> float:
        """Largest minus smallest rate between groups."""
        return float(_apart(self.rates()[None], self.over)[0])

    def statistic(self) -> Statistic:
        """The spread as a function of how often each cluster is drawn."""
        return lambda counts: _apart(self.rates(counts), self.over)


def _summed(rows: Floats, cell: Ints, cells: int) -> Floats:
    """Column by column, the sum of the rows of each cell: (cells, columns)."""
    sums = [np.bincount(cell, column, minlength=cells) for column in rows.T]
    return np.stack(sums, axis=1).astype(np.float64)


def _over(num: Floats, den: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(den > 0, num / den, np.nan))


def _apart(rates: Floats, over: Over) -> Floats:
    """From (resamples, groups, rates) to largest minus smallest, over groups that have any."""
    found = np.fmax.reduce(rates, axis=1) - np.fmin.reduce(rates, axis=1)
    return np.asarray(found.max(axis=1) if over == "worst_case" else found.mean(axis=1))


def redrawn(cells: Cells, resamples: int = RESAMPLES) -> Floats:
    """Rates (resamples, groups, rates) of clusters drawn again, with replacement.

    Only the sums of a cluster matter, so where few kinds of clusters differ (yes or no in
    some group) it is the number of each kind that is drawn, from the multinomial that drawing
    one by one amounts to.
    """
    clusters, *shape = cells.num.shape
    flat = np.concatenate([s.reshape(clusters, -1) for s in (cells.num, cells.den)], axis=1)
    rng = np.random.default_rng(SEED)
    kinds, times = np.unique(flat, axis=0, return_counts=True)
    if len(kinds) * FEW_KINDS <= clusters:
        sums = rng.multinomial(clusters, times / clusters, resamples) @ kinds
    else:
        sums = np.empty((resamples, flat.shape[1]))
        step = max(1, BATCH // clusters)
        for at in range(0, resamples, step):
            drawn = [
                np.bincount(rng.integers(0, clusters, clusters), minlength=clusters)
                for _ in range(min(step, resamples - at))
            ]
            sums[at : at + step] = np.array(drawn, dtype=np.float64) @ flat
    num, den = np.split(sums, 2, axis=1)
    return _over(num.reshape(resamples, *shape), den.reshape(resamples, *shape))


def interval(cells: Cells, level: float, resamples: int = RESAMPLES) -> Resampled:
    """Interval of a spread that contains 0 as often as it should.

    Largest minus smallest is never negative and grows with the number of groups, so its
    own bootstrap excludes 0 even where no group differs. No spread can be off by more than
    the largest error of any difference of two groups: that error's quantile, from redrawn
    clusters, is the half-width, drawn out as Student's t is for as many clusters as the
    smallest group has.
    """
    worst = _apart(redrawn(cells, resamples) - cells.rates(), cells.over)
    few = max(2, int((cells.den > 0).any(axis=2).sum(axis=0).min()))
    short = t_quantile(level, few) / normal_quantile(level) * math.sqrt(few / (few - 1))
    half = short * float(np.quantile(worst, level))
    at = cells.spread()
    low, high, method = max(0.0, at - half), at + half, "simultaneous cluster bootstrap"
    if high <= low:
        half = score_interval(0.0, len(cells.num), normal_quantile(level))[1]
        return Resampled(at - half, at + half, 0.0, f"{method}, no variation")
    return Resampled(low, high, half / normal_quantile(level), method)


def rates_of(num: Floats, den: Floats) -> Floats:
    """Rates (draws, groups, rates) of sums of that shape; NaN where there is nothing."""
    return _over(num, den)


def spread_of(num: Floats, den: Floats, over: Over = "worst_case") -> Floats:
    """Spreads (draws,) of sums (draws, groups, rates)."""
    return _apart(_over(num, den), over)
