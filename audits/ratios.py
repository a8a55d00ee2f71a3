"""Ratios of sums, alone and paired: the interval follows from what the rows are."""

import math
from dataclasses import dataclass

import numpy as np

from audits.columns import compact
from audits.errors import MeasureError
from audits.estimand import Declared, Estimate, Ratio
from audits.intervals import (
    Floats,
    Ints,
    cluster_se,
    cluster_sums,
    exact_interval,
    influence_se,
    kish,
    normal_quantile,
    score_interval,
    t_quantile,
    tango,
    tango_at,
)
from audits.pairing import pairing
from audits.sample import Sums


def ratio(declared: Declared, of: Ratio, rows: Sums, level: float) -> Estimate:
    """One model: Clopper-Pearson for independent 0/1 rows, else linearized over clusters."""
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
    se = _nonzero(cluster_se(rows.num, rows.den, cluster), rows.num, total / n)
    quantile = t_quantile(level, clusters)
    if not of.proportion:
        return _mean(declared, value, se, n, clusters, quantile)
    value = min(1.0, max(0.0, value))
    if se == 0 or value in (0.0, 1.0):
        trials = kish(cluster_sums(rows.den, cluster))
        trials = min(trials, rows.most_trials(rows.heaviest_cluster))
    else:
        lone = influence_se((rows.num - value * rows.den) / total)
        deff = max(1.0, (se / lone) ** 2)
        trials = min(value * (1 - value) / se**2, rows.most_trials(rows.heaviest_row) / deff)
    low, high = exact_interval(value, max(1.0, trials), quantile)
    return Estimate(value, low, high, n, clusters, "clopper-pearson, effective n", se)


def _mean(
    declared: Declared, value: float, se: float, n: int, clusters: int, quantile: float
) -> Estimate:
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
    declared: Declared, of: Ratio, new: Sums, old: Sums, level: float
) -> Estimate:
    """Two models on the same examples: Tango for 0/1 rows, else linearized over clusters."""
    pair = paired(declared, new, old)
    if pair.binary:
        return _proportions(declared, pair, level)
    trials = min(pair.clusters, *(s.most_trials(s.heaviest_cluster) for s in (new, old)))
    return _linearized(declared, of, pair, max(1.0, trials), level)


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


def _proportions(declared: Declared, pair: Pair, level: float) -> Estimate:
    """Tango's interval, on as many pairs as the clustered ones are worth."""
    n = len(pair.num_new)
    change = pair.num_new - pair.num_old
    b, c = float((change > 0).sum()), float((change < 0).sum())
    value = (b - c) / n
    if n == pair.clusters:
        low, high = tango(b, c, n, level)
        se = math.sqrt(max(0.0, (b + c) / n - value**2) / n)
        return _paired(value, low, high, n, pair.clusters, "tango", se)
    if pair.clusters < 2:
        raise MeasureError(f"{declared.name}: one cluster, an interval needs two")
    se = influence_se(pair.influence())
    independent = ((b + c) / n - value**2) / n
    deff = max(1.0, se**2 / independent) if independent > 0 else n / pair.clusters
    quantile = t_quantile(level, pair.clusters)
    low, high = tango_at(b / deff, c / deff, n / deff, quantile)
    se = max(se, math.sqrt(max(0.0, independent)))
    return _paired(value, low, high, n, pair.clusters, "tango, effective n", se)


def _linearized(
    declared: Declared, of: Ratio, pair: Pair, trials: float, level: float
) -> Estimate:
    """Student's t on cluster influences; a proportion keeps the width of no change at all."""
    n, value = len(pair.num_new), pair.value()
    if pair.clusters < 2:
        raise MeasureError(f"{declared.name}: one cluster, an interval needs two")
    quantile = t_quantile(level, pair.clusters)
    size = 1.0 if of.proportion else pair.scale()
    se = _nonzero(influence_se(pair.influence()), np.array([size]), 1.0)
    half, method = quantile * se, "paired cluster t"
    if of.proportion or se == 0:
        least = size * tango_at(0.0, 0.0, trials, quantile)[1]
        if least >= half:
            half, method = least, "paired cluster t, at least tango"
    if half == 0:
        raise MeasureError(f"{declared.name}: all {n} values are 0, which has no interval")
    return _paired(value, value - half, value + half, n, pair.clusters, method, se)


def _paired(
    value: float, low: float, high: float, n: int, clusters: int, method: str, se: float
) -> Estimate:
    return Estimate(value, min(low, value), max(high, value), n, clusters, method, se)


def _nonzero(se: float, values: Floats, scale: float) -> float:
    """The standard error, or 0 where it is only rounding of equal values."""
    return se if se > 1e-12 * max(float(np.abs(values).max()) / scale, 1e-300) else 0.0
