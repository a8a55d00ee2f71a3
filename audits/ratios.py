"""Ratios of sums, alone and paired: the interval follows from what the rows are."""

import math
from dataclasses import dataclass, replace

import numpy as np

from audits import bca, unseen
from audits.columns import compact
from audits.errors import MeasureError
from audits.estimand import Declared, Estimate, Ratio
from audits.intervals import (
    Floats,
    Interval,
    Ints,
    cluster_sums,
    exact_interval,
    influence_se,
    normal_quantile,
    ratio_se,
    score_interval,
    skewness,
    t_quantile,
    tango,
    tango_at,
)
from audits.pairing import pairing
from audits.sample import Sums


def ratio(
    declared: Declared, of: Ratio, rows: Sums, level: float, *, whole: bool = False
) -> Estimate:
    """One model: Clopper-Pearson for independent 0/1 rows, else by what its clusters say."""
    total = float(rows.den.sum())
    if total <= 0:
        raise MeasureError(f"{declared.name}: nothing to divide by, its denominator is 0")
    cluster, clusters = compact(rows.placed.cluster)
    n = len(rows.num)
    value = float(rows.num.sum()) / total
    if rows.binary and not of.weight and n == clusters and (rows.den == 1).all():
        low, high = exact_interval(value, n, normal_quantile(level))
        se = math.sqrt(value * (1 - value) / n)
        return Estimate(value, low, high, n, n, "clopper-pearson", se)
    if clusters < 2:
        raise MeasureError(f"{declared.name}: {clusters} cluster, an interval needs two")
    num, den = cluster_sums(rows.num, cluster), cluster_sums(rows.den, cluster)
    se = _nonzero(ratio_se(num, den), rows.num, total / n)
    if not of.proportion:
        found = _mean(declared, value, se, n, clusters, level)
        # Where no cluster was drawn, none that would move the mean can have been missed.
        skew = skewness(num - value * den) if se > 0 and not whole else 0.0
        return replace(bca.wider(found, bca.share(num, den), level), skew=skew)
    value = min(1.0, max(0.0, value))
    if whole:
        trials = min(n, total / rows.heaviest_row) if rows.heaviest_row > 0 else n
        alone = exact_interval(value, max(1.0, trials), normal_quantile(level))
        return _whole(value, se, alone, n, clusters, level)
    most = max(rows.heaviest_cluster, float(den.max()))
    low, high = unseen.interval(num, den, (0.0, most), (most, most), level)
    low, high = max(0.0, min(low, value)), min(1.0, max(high, value))
    return Estimate(value, low, high, n, clusters, "gaffke", se)


def _whole(
    value: float, se: float, alone: Interval, n: int, clusters: int, level: float
) -> Estimate:
    """Clusters that are all there are: Student's t, no shorter than independent rows have it.

    Rows are then drawn within clusters, and a share of such rows varies no more than one of
    rows drawn from all alike (Hoeffding 1956).
    """
    half = t_quantile(level, clusters) * se
    low, high = min(alone[0], value - half), max(alone[1], value + half)
    return _paired(value, low, high, n, clusters, "cluster t, at least exact", se)


def _mean(
    declared: Declared, value: float, se: float, n: int, clusters: int, level: float
) -> Estimate:
    quantile = t_quantile(level, clusters)
    if se > 0:
        half, method = quantile * se, "cluster t"
    else:
        # Every value is equal on an unknown scale: leave open that unseen ones lie up to
        # |value| away, as often as Wilson leaves open for a rate that was never seen.
        half = abs(value) * score_interval(0.0, clusters, quantile)[1]
        method = "cluster t, no variation"
    if half == 0:
        raise MeasureError(f"{declared.name}: all {n} values are 0, which has no interval")
    return Estimate(value, value - half, value + half, n, clusters, method, se)


def ratio_difference(
    declared: Declared, of: Ratio, new: Sums, old: Sums, level: float, *, whole: bool = False
) -> Estimate:
    """Two models on the same examples: Tango for independent 0/1 rows, else by cluster."""
    pair = paired(declared, new, old)
    if pair.binary and len(pair.num_new) == pair.clusters:
        return _tango(pair, level)
    if pair.clusters < 2:
        raise MeasureError(f"{declared.name}: one cluster, an interval needs two")
    if of.proportion and whole:
        n, change = len(pair.num_new), pair.num_new - pair.num_old
        lost, won = float((change > 0).sum()), float((change < 0).sum())
        se = _nonzero(influence_se(pair.influence()), np.ones(1), 1.0)
        alone = tango(lost, won, n, level)
        return _whole(pair.value(), se, alone, n, pair.clusters, level)
    if of.proportion:
        return _shares(pair, (new.heaviest_cluster, old.heaviest_cluster), level)
    return _means(declared, pair, level)


def paired(declared: Declared, new: Sums, old: Sums) -> "Pair":
    """Sums of both models by example.

    Raises:
        MeasureError: other examples or clusters there, or nothing to divide by.
    """
    both = pairing(declared, new.placed, old.placed)
    single = both.n == len(new.num) == len(old.num)

    def by_example(values: Floats, at: Ints) -> Floats:
        return values if single else cluster_sums(values, at)

    den_new, den_old = by_example(new.den, both.new), by_example(old.den, both.old)
    if den_new.sum() <= 0 or den_old.sum() <= 0:
        raise MeasureError(f"{declared.name}: nothing to divide by, a denominator is 0")
    ones = bool((den_new == 1).all() and (den_old == 1).all())
    return Pair(
        by_example(new.num, both.new),
        den_new,
        by_example(old.num, both.old),
        den_old,
        both.cluster,
        both.clusters,
        binary=single and ones and new.binary and old.binary,
    )


@dataclass(frozen=True, eq=False)
class Pair:
    """Sums of two models over the same examples, and the cluster of each example.

    `binary` says that every example has one row in each, which is 0 or 1.
    """

    num_new: Floats
    den_new: Floats
    num_old: Floats
    den_old: Floats
    cluster: Ints
    clusters: int
    binary: bool

    def value(self) -> float:
        """Ratio of the new model minus that of the old one."""
        return float(
            self.num_new.sum() / self.den_new.sum() - self.num_old.sum() / self.den_old.sum()
        )

    def influence(self) -> Floats:
        """What each cluster adds to the difference, to first order."""
        sides = []
        for num, den in ((self.num_new, self.den_new), (self.num_old, self.den_old)):
            sides.append((num - num.sum() / den.sum() * den) / den.sum())
        return cluster_sums(sides[0] - sides[1], self.cluster)

    def scale(self) -> float:
        """How far apart the values of single examples lie, in either model."""
        held = [
            num[den > 0] / den[den > 0]
            for num, den in ((self.num_new, self.den_new), (self.num_old, self.den_old))
        ]
        values = np.concatenate(held)
        return float(np.ptp(values)) or float(np.abs(values).max())


def _tango(pair: Pair, level: float) -> Estimate:
    n = len(pair.num_new)
    change = pair.num_new - pair.num_old
    b, c = float((change > 0).sum()), float((change < 0).sum())
    value = (b - c) / n
    low, high = tango(b, c, n, level)
    se = math.sqrt(max(0.0, (b + c) / n - value**2) / n)
    return _paired(value, low, high, n, pair.clusters, "tango", se)


def _shares(pair: Pair, heaviest: tuple[float, float], level: float) -> Estimate:
    """Difference of two shares by what each cluster adds to it.

    The unseen cluster is one that the one model fails as a whole and the other not at all.
    """
    if np.array_equal(pair.den_new, pair.den_old):
        num = cluster_sums(pair.num_new - pair.num_old, pair.cluster)
        den = cluster_sums(pair.den_new, pair.cluster)
        most = max(*heaviest, float(den.max()))
        least, worst = (-most, most), (most, most)
    else:
        num, den, least, worst = _to_first_order(pair, heaviest)
    low, high = unseen.interval(num, den, least, worst, level)
    value, n = pair.value(), len(pair.num_new)
    se = _nonzero(ratio_se(num, den), np.ones(1), 1.0)
    return _paired(value, low, high, n, pair.clusters, "paired gaffke", se)


def _to_first_order(
    pair: Pair, heaviest: tuple[float, float]
) -> tuple[Floats, Floats, Interval, Interval]:
    """The same where the models were asked unlike much: numerators that add up to it."""
    value, clusters = pair.value(), pair.clusters
    sizes, most, rates = [], [], []
    sides = (pair.num_new, pair.den_new), (pair.num_old, pair.den_old)
    for (num, den), heavy in zip(sides, heaviest, strict=True):
        scale = clusters / float(den.sum())
        sizes.append(cluster_sums(den, pair.cluster) * scale)
        most.append(max(heavy * scale, float(sizes[-1].max())))
        rates.append(float(num.sum() / den.sum()))
    size = (most[0] + most[1]) / 2
    up = most[0] * (1 - rates[0]) + most[1] * rates[1]
    down = most[0] * rates[0] + most[1] * (1 - rates[1])
    den = (sizes[0] + sizes[1]) / 2
    num = clusters * pair.influence() + value * den
    return num, den, (value * size - down, size), (value * size + up, size)


def _means(declared: Declared, pair: Pair, level: float) -> Estimate:
    """Student's t on cluster influences, or the bootstrap of few clusters where wider."""
    n, value = len(pair.num_new), pair.value()
    quantile = t_quantile(level, pair.clusters)
    size, influence = pair.scale(), pair.influence()
    se = _nonzero(influence_se(influence), np.array([size]), 1.0)
    half, method = quantile * se, "paired cluster t"
    if se == 0:
        half = size * tango_at(0.0, 0.0, pair.clusters, quantile)[1]
        method = "paired cluster t, at least tango"
    if half == 0:
        raise MeasureError(f"{declared.name}: all {n} values are 0, which has no interval")
    found = _paired(value, value - half, value + half, n, pair.clusters, method, se)
    if se == 0:
        return found
    mine, other = (
        bca.share(cluster_sums(num, pair.cluster), cluster_sums(den, pair.cluster))
        for num, den in ((pair.num_new, pair.den_new), (pair.num_old, pair.den_old))
    )
    found = bca.wider(found, lambda counts: mine(counts) - other(counts), level)
    return replace(found, skew=skewness(influence))


def _paired(
    value: float, low: float, high: float, n: int, clusters: int, method: str, se: float
) -> Estimate:
    return Estimate(value, min(low, value), max(high, value), n, clusters, method, se)


def _nonzero(se: float, values: Floats, scale: float) -> float:
    """The standard error, or 0 where it is only rounding of equal values."""
    return se if se > 1e-12 * max(float(np.abs(values).max()) / scale, 1e-300) else 0.0
