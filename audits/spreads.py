"""How far do rates of groups lie apart, and how sure is that?

Everything follows from the sums of each cluster in each group, so ten thousand resamples of a
hundred thousand rows are products of matrices. fairlearn's own bootstrap redraws rows, which
knows no clusters, and builds a frame anew for each resample.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from audits.intervals import Floats, Ints, normal_quantile, score_interval, t_quantile
from audits.resample import BATCH, SEED, Resampled

RESAMPLES = 999
FEW_KINDS = 8
"""Where no more than one in so many clusters differ, those of a kind are weighted as one."""
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

    def joined(self, pairs: Floats) -> float:
        """What differences of two groups (pairs, rates) come to: the largest, or their mean."""
        largest = pairs.max(axis=0)
        return float(largest.max() if self.over == "worst_case" else largest.mean())


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


def interval(
    cells: Cells, level: float, resamples: int = RESAMPLES, *, shares: bool = True
) -> Resampled:
    """Interval of a spread that excludes 0 as seldom as it says, and whose upper limit holds.

    Largest minus smallest is never negative and grows with the number of groups, so its own
    bootstrap excludes 0 even where no group differs. Here every difference of two groups has
    limits of its own, by random weights of the clusters (`weighted`). The true spread is one
    of these differences, so the highest of their upper limits holds it (an intersection-union
    test, Berger 1982). The highest lower limit could be any, so these hold together: each is
    its error's 95 % quantile away, drawn out by as much as the largest of all errors asks.

    Args:
        cells: of the rates.
        level: two-sided.
        resamples: sets of weights.
        shares: whether every numerator lies between 0 and its denominator. A difference of
            other values has no bound that an unseen cluster could reach: its errors are drawn
            out as Student's t is, for as many clusters as the smaller group has.
    """
    at = cells.rates()
    one, other = np.nonzero(~np.eye(len(at), dtype=bool))
    value = at[one] - at[other]
    least, most = weighted(cells, resamples, shares=shares)
    below = value - (least[:, one] - most[:, other])
    above = (most[:, one] - least[:, other]) - value
    if not shares:
        short = drawn_out(cells, level)
        stretch = np.maximum(short[one], short[other])
        below, above = below * stretch, above * stretch
    # The mean of two limits holds if both do; of the worse one's nothing more is asked.
    both = at.shape[1] if cells.over == "mean" else 1
    upper = value + np.quantile(above, 1 - (1 - level) / 2 / both, axis=0)
    low = max(0.0, cells.joined(_together(value, below, level)))
    high = cells.joined(upper)
    method = "weighted clusters, pair by pair"
    if high - low <= 1e-12 * max(1.0, float(np.abs(at).max())):
        # As far as an unseen value may lie, on the scale of those that are known.
        half = score_interval(0.0, len(cells.num), normal_quantile(level))[1]
        half *= float(np.abs(at).max()) or 1.0
        return Resampled(max(0.0, low - half), high + half, 0.0, f"{method}, no variation")
    se = float(above.std(axis=0).flat[int(upper.argmax())])
    return Resampled(low, high, se, method)


def _together(value: Floats, below: Floats, level: float) -> Floats:
    """Lower limits (pairs, rates) of which all hold at `level`, from errors (draws, …)."""
    scale = np.quantile(below, 0.95, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        worst = np.where(scale > 0, below / scale, 0.0).max(axis=(1, 2))
    return np.asarray(value - float(np.quantile(worst, level)) * scale)


def drawn_out(cells: Cells, level: float) -> Floats:
    """By how much the few clusters of each group draw out its errors: (groups, 1)."""
    held = np.maximum(2, (cells.den > 0).any(axis=2).sum(axis=0))
    t = np.array([t_quantile(level, int(n)) for n in held])
    return np.asarray(t / normal_quantile(level) * np.sqrt(held / (held - 1)))[:, None]


def weighted(cells: Cells, resamples: int, *, shares: bool) -> tuple[Floats, Floats]:
    """Rates (resamples, groups, rates) under random weights, as low and as high as may be.

    Weights are standard exponentials, one for each cluster, and of shares one more for a
    cluster that was not drawn: as large as the largest, and of the rate of all or nothing in
    every group. Of one rate alone the quantiles are the limits of `audits.unseen`. Equal
    clusters are weighted together.
    """
    clusters, *shape = cells.num.shape
    flat = np.concatenate([s.reshape(clusters, -1) for s in (cells.num, cells.den)], axis=1)
    rng = np.random.default_rng(SEED)
    kinds, times = np.unique(flat, axis=0, return_counts=True)
    if len(kinds) * FEW_KINDS <= clusters:
        sums = rng.standard_gamma(times, (resamples, len(kinds))) @ kinds
    else:
        step = max(1, BATCH // clusters)
        sums = np.concatenate(
            [
                rng.standard_exponential((min(step, resamples - at), clusters)) @ flat
                for at in range(0, resamples, step)
            ]
        )
    num, den = (s.reshape(resamples, *shape) for s in np.split(sums, 2, axis=1))
    if not shares:
        return (both := _over(num, den)), both
    unseen = rng.standard_exponential((resamples, 1, 1)) * cells.den.max(axis=0)
    return _over(num, den + unseen), _over(num + unseen, den + unseen)


def rates_of(num: Floats, den: Floats) -> Floats:
    """Rates (draws, groups, rates) of sums of that shape; NaN where there is nothing."""
    return _over(num, den)


def spread_of(num: Floats, den: Floats, over: Over = "worst_case") -> Floats:
    """Spreads (draws,) of sums (draws, groups, rates)."""
    return _apart(_over(num, den), over)
