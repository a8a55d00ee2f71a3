"""Intervals by redrawing whole clusters: AUROC, calibration error.

Each statistic is a function of row weights, so a thousand resamples are a few matrix
operations and no loop over rows.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from audits.errors import MeasureError
from audits.intervals import Floats, Ints, normal_quantile, score_interval

SEED = 0
RESAMPLES = 999
NULL_DRAWS = 200
BATCH = 4_000_000
"""Cells of weights held in memory at once."""
BCA_CELLS = 6_000_000
"""Beyond so many cells of leave-one-cluster-out weights, percentiles instead of BCa."""

TABLE_CELLS = 4_000_000
"""Of the table of clusters by rows that AUROC is counted from at once."""
SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")

Statistic = Callable[[Floats], Floats]
"""From weights (rows or clusters, resamples) to values (resamples,); NaN where undefined.

Rows come first, so that picking and ordering them copies contiguous memory.
"""


@dataclass(frozen=True, slots=True)
class Resampled:
    """An interval, its spread, and how it was made."""

    low: float
    high: float
    se: float
    method: str


def auroc(score: Floats, label: Floats, cluster: Ints, clusters: int) -> Statistic:
    """Probability that a row of label 1 scores above one of label 0, by cluster counts.

    Ties count half. How often the rows of one cluster beat those of another is counted once;
    a resample is then a quadratic form in the counts, 20 times cheaper than going over the
    rows again. Where that table would be too large, the rows are gone over.
    """
    if max(clusters, int((label == 0).sum())) * clusters > TABLE_CELLS:
        return by_cluster(_auroc_of_rows(score, label), cluster)
    positive, negative, below, up_to = _ranked(score, label)
    seen = np.zeros((len(negative) + 1, clusters))
    seen[np.arange(1, len(negative) + 1), cluster[negative]] = 1.0
    np.cumsum(seen, axis=0, out=seen)
    beaten = np.zeros((clusters, clusters))
    np.add.at(beaten, cluster[positive], seen[below])
    np.add.at(beaten, cluster[positive], seen[up_to])
    kinds = [np.bincount(cluster[rows], minlength=clusters) for rows in (positive, negative)]

    def statistic(counts: Floats) -> Floats:
        won = np.einsum("cb,cb->b", counts, beaten @ counts)
        with np.errstate(invalid="ignore"):
            return np.asarray(won / (2 * (kinds[0] @ counts) * (kinds[1] @ counts)))

    return statistic


def _auroc_of_rows(score: Floats, label: Floats) -> Statistic:
    positive, negative, below, up_to = _ranked(score, label)

    def statistic(weights: Floats) -> Floats:
        above, rivals = weights[positive], weights[negative]
        beaten = np.zeros((len(negative) + 1, weights.shape[1]))
        np.cumsum(rivals, axis=0, out=beaten[1:])
        won = np.einsum("rb,rb->b", above, beaten[below])
        won += np.einsum("rb,rb->b", above, beaten[up_to])
        with np.errstate(invalid="ignore"):
            return np.asarray(won / (2 * above.sum(axis=0) * beaten[-1]))

    return statistic


def _ranked(score: Floats, label: Floats) -> tuple[Ints, Ints, Ints, Ints]:
    """Rows of label 1; of label 0 by score; how many of these each of those beats, or ties."""
    positive, negative = np.flatnonzero(label == 1), np.flatnonzero(label == 0)
    negative = negative[np.argsort(score[negative], kind="stable")]
    below, up_to = (np.searchsorted(score[negative], score[positive], side) for side in SIDES)
    return positive, negative, below, up_to


def rank_correlation(one: Floats, other: Floats) -> Statistic:
    """Spearman's correlation of two values of each cluster, ranked among the drawn ones."""
    below = [
        (v < v[:, None]).astype(np.float64) + 0.5 * (v == v[:, None]) for v in (one, other)
    ]

    def statistic(counts: Floats) -> Floats:
        middle = counts.sum(axis=0) / 2
        first, second = (table @ counts - middle for table in below)
        shared, ours, theirs = (
            np.einsum("cb,cb,cb->b", counts, a, b)
            for a, b in ((first, second), (first, first), (second, second))
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(shared / np.sqrt(ours * theirs))

    return statistic


def bin_of(confidence: Floats, bins: int) -> Ints:
    """Number of the equal-width bin (lo, hi] that holds each confidence; 0 is in the first."""
    edges = np.arange(bins + 1) / bins  # rounded once, so that 3/10 is 0.3 and not above it
    return np.maximum(np.searchsorted(edges, confidence, side="left") - 1, 0)


def calibration_error(confidence: Floats, correct: Floats, bins: int) -> float:
    """Expected calibration error: sum over bins of n_b/n |accuracy - mean confidence|."""
    gaps = np.bincount(bin_of(confidence, bins), weights=correct - confidence)
    return float(np.abs(gaps).sum() / len(confidence))


def calibration_excess(confidence: Floats, correct: Floats, bins: int) -> Statistic:
    """Calibration error above what outcomes drawn from the confidences would show.

    0 on average for a calibrated model of any sample size. For others it lies below the
    error of an endless sample, by up to the null: compare at equal n, and gate on the
    signed gap and the Brier score, which have no such bias.

    The plug-in error is biased upward at small n, and again in every resample; the null of
    a resample carries the same weights, so both biases leave together (consistency
    resampling, Bröcker and Smith 2007). Outcomes are redrawn independently by row. For a
    calibrated model this is centred in resamples; for others it takes off too much, and
    `calibration_above_null` bounds them from above.
    """
    rng = np.random.default_rng(SEED)
    drawn = rng.random((NULL_DRAWS, len(confidence))) < confidence
    groups = _bins(confidence, bins)

    def statistic(weights: Floats) -> Floats:
        expected = np.zeros(weights.shape[1])
        for rows in groups:
            expected += np.abs((drawn[:, rows] - confidence[rows]) @ weights[rows]).mean(axis=0)
        observed = _weighted_error(weights, confidence, correct, groups)
        return np.asarray(observed - expected / weights.sum(axis=0))

    return statistic


def calibration_above_null(confidence: Floats, correct: Floats, bins: int) -> Statistic:
    """The same, above the null of the whole sample in every resample.

    Centred for a model far from calibrated; for others a resample's own noise stays in.
    """
    whole = np.ones((len(confidence), 1))
    groups = _bins(confidence, bins)
    excess = calibration_excess(confidence, correct, bins)(whole)
    null = _weighted_error(whole, confidence, correct, groups) - excess

    def statistic(weights: Floats) -> Floats:
        return _weighted_error(weights, confidence, correct, groups) - null

    return statistic


def _bins(confidence: Floats, bins: int) -> list[Ints]:
    member = bin_of(confidence, bins)
    return [np.flatnonzero(member == b) for b in np.unique(member)]


def _weighted_error(
    weights: Floats, confidence: Floats, correct: Floats, groups: list[Ints]
) -> Floats:
    observed = np.zeros(weights.shape[1])
    for rows in groups:
        observed += np.abs((correct[rows] - confidence[rows]) @ weights[rows])
    return np.asarray(observed / weights.sum(axis=0))


def interval(
    statistic: Statistic, clusters: int, level: float, *, trials: int, bca: bool, cells: int
) -> Resampled:
    """Cluster bootstrap of a statistic of cluster counts (clusters, resamples).

    Args:
        statistic: from cluster counts to values.
        clusters: how many there are.
        level: two-sided.
        trials: what the sample is worth where no resample differs from the estimate.
        bca: corrected for bias and skew, where that is affordable and defined.
        cells: rows behind the statistic, which bounds the memory of one batch.
    """
    from scipy import stats

    def of_indices(indices: Ints, axis: int = -1) -> Floats:
        flat = indices.reshape(-1, indices.shape[-1])
        return statistic(_counts(flat, clusters)).reshape(indices.shape[:-1])

    method: Literal["BCa", "percentile"] = (
        "BCa" if bca and clusters * cells <= BCA_CELLS else "percentile"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a degenerate distribution is handled below
        found = stats.bootstrap(
            (np.arange(clusters),),
            of_indices,
            n_resamples=RESAMPLES,
            vectorized=True,
            method=method,
            confidence_level=level,
            rng=np.random.default_rng(SEED),
            batch=max(1, BATCH // max(cells, clusters)),
        )
    low, high = map(float, found.confidence_interval)
    draws = found.bootstrap_distribution[np.isfinite(found.bootstrap_distribution)]
    if len(draws) < 0.9 * RESAMPLES:
        raise MeasureError("too few clusters hold both kinds of rows for an interval")
    if not (math.isfinite(low) and math.isfinite(high)):
        method = "percentile"
        low, high = (float(np.quantile(draws, (1 + side * level) / 2)) for side in (-1, 1))
    at = float(statistic(np.ones((clusters, 1)))[0])
    low, high = min(low, at), max(high, at)
    name = f"cluster bootstrap, {method}"
    # Where most resamples do not differ from the estimate, quantiles of those that do are few
    # clusters' luck. Asked of the draws and not of the limits, it holds at every level or none.
    if high - low <= 1e-12 or float((abs(draws - at) <= 1e-12).mean()) >= 0.5:
        wide = _widened(at, trials, level, name)
        low, high = min(low, wide.low), max(high, wide.high)
        return Resampled(low, high, float(draws.std(ddof=1)), wide.method)
    return Resampled(low, high, float(draws.std(ddof=1)), name)


def hull(found: Sequence[Resampled]) -> Resampled:
    """The interval that holds all of these: where none alone is right for every truth."""
    widest = max(found, key=lambda r: r.se)
    return replace(widest, low=min(r.low for r in found), high=max(r.high for r in found))


def by_cluster(statistic: Statistic, cluster: Ints) -> Statistic:
    """The same statistic as a function of how often each cluster is drawn."""

    def of_counts(counts: Floats) -> Floats:
        return statistic(counts[cluster])

    return of_counts


def _widened(at: float, trials: int, level: float, method: str) -> Resampled:
    """Where few resamples differ: what as many equal trials of a proportion leave open."""
    half = score_interval(0.0, max(1, trials), normal_quantile(level))[1]
    return Resampled(at - half, at + half, 0.0, f"{method}, no variation")


def _counts(indices: Ints, clusters: int) -> Floats:
    """How often each cluster was drawn, from (resamples, draws) to (clusters, resamples)."""
    resamples = len(indices)
    cells = indices * resamples + np.arange(resamples)[:, None]
    counted = np.bincount(cells.ravel(), minlength=clusters * resamples)
    return counted.reshape(clusters, resamples).astype(np.float64)
