"""AUROC, risk-coverage, calibration error, spreads, ranks: by redrawing clusters."""

import math
from collections.abc import Sequence

import numpy as np

from audits import binned, icat, resample, selective, spreads, variation
from audits.columns import compact
from audits.errors import MeasureError
from audits.estimand import (
    Auroc,
    Binned,
    CalibrationError,
    Consistency,
    Declared,
    Estimate,
    Icat,
    Odds,
    RankCorrelation,
    RiskCoverage,
    Spread,
    Variation,
)
from audits.intervals import Floats, Ints
from audits.pairing import pairing
from audits.sample import Selection, nameless, numbers
from audits.weakest import shared

Found = tuple[list[resample.Statistic], int]


def _statistics(declared: Declared, rows: Selection, cluster: Ints, clusters: int) -> Found:
    """Statistics of cluster counts, equal at the estimate, whose intervals' hull is wanted.

    With them, how many trials the rarer kind of row is worth. `cluster` numbers the rows'
    clusters, of which there are `clusters` with another model's.
    """
    of = declared.of
    if isinstance(of, Auroc):
        return _auroc(declared, of, rows, cluster, clusters)
    if isinstance(of, RiskCoverage):
        return _risk_coverage(declared, of, rows, cluster)
    if isinstance(of, CalibrationError | Binned):
        return _calibration(declared, of, rows, cluster)
    assert isinstance(of, RankCorrelation)
    found = _rank_correlation(declared, of, rows, cluster, clusters)
    return [found], len(np.unique(cluster))


def _auroc(
    declared: Declared, of: Auroc, rows: Selection, cluster: Ints, clusters: int
) -> Found:
    label = numbers(declared, rows, of.label)
    if set(np.unique(label)) != {0.0, 1.0}:
        raise MeasureError(f"{declared.name}: {of.label} must hold both 0 and 1, no more")
    kinds = [len(np.unique(cluster[label == kind])) for kind in (0, 1)]
    mine = resample.auroc(numbers(declared, rows, of.score), label, cluster, clusters)
    if not of.against:
        return [mine], min(kinds)
    theirs = resample.auroc(numbers(declared, rows, of.against), label, cluster, clusters)
    return [_change(mine, lambda counts: _farther(theirs(counts)))], min(kinds)


def _risk_coverage(
    declared: Declared, of: RiskCoverage, rows: Selection, cluster: Ints
) -> Found:
    # Surest first, so that resamples are not put in order again each time.
    order = np.argsort(-numbers(declared, rows, of.confidence), kind="stable")
    wrong = 1 - _outcomes(declared, rows, of.correct)[order]
    found = selective.areas(numbers(declared, rows, of.confidence)[order], wrong, of.area)
    if of.against:
        other = numbers(declared, rows, of.against)[order]
        up, down = (selective.areas(each, wrong, of.area) for each in (other, -other))
        found = _change(found, lambda weights: np.minimum(up(weights), down(weights)))
    return [resample.by_cluster(found, cluster[order])], len(np.unique(cluster))


def _farther(area: Floats) -> Floats:
    """AUROC of a score, or of its negative where that is higher."""
    return np.asarray(np.maximum(area, 1 - area))


def _calibration(
    declared: Declared, of: CalibrationError | Binned, rows: Selection, cluster: Ints
) -> Found:
    confidence, correct = _forecasts(declared, of, rows)
    if isinstance(of, Binned):
        member = binned.members(confidence, of.bins, mass=of.mass)
        found = binned.statistic(confidence, correct, member, of.term)
        return [resample.by_cluster(found, cluster)], len(np.unique(cluster))
    asked = confidence, correct, of.bins
    both = resample.calibration_excess(*asked), resample.calibration_above_null(*asked)
    return [resample.by_cluster(s, cluster) for s in both], len(np.unique(cluster))


def _forecasts(
    declared: Declared, of: CalibrationError | Binned | Consistency, rows: Selection
) -> tuple[Floats, Floats]:
    confidence = numbers(declared, rows, of.confidence)
    correct = _outcomes(declared, rows, of.correct)
    if confidence.min() < 0 or confidence.max() > 1:
        raise MeasureError(f"{declared.name}: {of.confidence} must lie in [0, 1]")
    return confidence, correct


def tested(declared: Declared, of: Consistency, rows: Selection) -> Estimate:
    """The p-value of calibration, with the interval of the draws behind it."""
    confidence, correct = _forecasts(declared, of, rows)
    value, (low, high) = binned.consistency(confidence, correct, of.bins)
    clusters = len(np.unique(rows.placed().cluster))
    n = len(confidence)
    return Estimate(value, low, high, n, clusters, "consistency resampling", 0.0)


def _outcomes(declared: Declared, rows: Selection, column: str) -> Floats:
    found = numbers(declared, rows, column)
    if not np.isin(found, (0, 1)).all():
        raise MeasureError(f"{declared.name}: {column} must be 0 or 1 in every record")
    return found


def _rank_correlation(
    declared: Declared, of: RankCorrelation, rows: Selection, cluster: Ints, clusters: int
) -> resample.Statistic:
    held = np.bincount(cluster, minlength=clusters)
    means = [
        np.bincount(cluster, numbers(declared, rows, column), minlength=clusters)
        / np.maximum(held, 1)
        for column in (of.score, of.against)
    ]
    for column, mean in zip((of.score, of.against), means, strict=True):
        if np.ptp(mean[held > 0]) == 0:
            raise MeasureError(f"{declared.name}: {column} is the same in every cluster")
    found = resample.rank_correlation(*(mean[held > 0] for mean in means))
    return lambda counts: found(counts[held > 0])


def _cells(
    declared: Declared, of: Spread | Odds, rows: Selection, cluster: Ints
) -> spreads.Cells:
    names, group = np.unique(rows.rows()[of.by].to_numpy(dtype=str), return_inverse=True)
    if len(names) < 2:
        raise MeasureError(f"{declared.name}: one group in {of.by}, a spread needs two")
    if isinstance(of, Spread):
        value = numbers(declared, rows, of.value)[:, None]
        if of.proportion and not ((value >= -1e-9) & (value <= 1 + 1e-9)).all():
            raise MeasureError(
                f"{declared.name}: {of.value} is no share; declare the spread with "
                "proportion false"
            )
        return spreads.Cells.of(value, np.ones_like(value), group, cluster)
    selected, truth = (_outcomes(declared, rows, c) for c in (of.selected, of.truth))
    kinds = np.stack([truth, 1 - truth], axis=1)
    found = spreads.Cells.of(selected[:, None] * kinds, kinds, group, cluster, of.over)
    if (empty := found.den.sum(axis=0) == 0).any():
        where, kind = (int(at[0]) for at in np.nonzero(empty))
        raise MeasureError(
            f"{declared.name}: no record of {of.by} {names[where]} has {of.truth} {1 - kind}"
        )
    return found


def _in_groups(declared: Declared, rows: Selection) -> Selection:
    """Of a spread, only the rows that are in some group."""
    if not isinstance(declared.of, Spread | Odds):
        return rows
    if declared.of.by not in rows.frame:
        raise MeasureError(f"{declared.name}: records have no column {declared.of.by!r}")
    kept = ~nameless(rows.frame[declared.of.by])[rows.at]
    if not kept.any():
        raise MeasureError(f"{declared.name}: no group in {declared.of.by}, a spread needs two")
    return rows.keep(kept)


def redrawn(declared: Declared, rows: Selection, level: float) -> Estimate:
    """One model."""
    of = declared.of
    rows = _in_groups(declared, rows)
    cluster, clusters = compact(rows.placed().cluster)
    if clusters < 2:
        raise MeasureError(f"{declared.name}: {clusters} cluster, an interval needs two")
    if isinstance(of, Spread | Odds):
        cells = _cells(declared, of, rows, cluster)
        value = cells.spread()
        shares = isinstance(of, Odds) or of.proportion
        found = spreads.interval(cells, level, shares=shares)
    elif isinstance(of, Variation):
        value, found = variation.interval(declared, of, rows, level)
    elif isinstance(of, Icat):
        value, found = icat.interval(declared, of, rows, level)
    else:
        statistics, trials = _statistics(declared, rows, cluster, clusters)
        value = float(statistics[0](np.ones((clusters, 1)))[0])
        found = _hull(
            declared, statistics, clusters, trials=trials, cells=len(cluster), level=level
        )
    low, high = min(found.low, value), max(found.high, value)
    least, most = _range(declared)
    low, high = max(least, low), min(most, high)
    return Estimate(value, low, high, len(cluster), clusters, found.method, found.se)


def _range(declared: Declared) -> tuple[float, float]:
    """Between what values the measure can lie."""
    of = declared.of
    if isinstance(of, Auroc | RiskCoverage) and of.against:
        return -1.0, 1.0
    if isinstance(of, RankCorrelation):
        return -1.0, 1.0
    if isinstance(of, Auroc | Icat) or (isinstance(of, RiskCoverage) and of.area != "eaurc"):
        return 0.0, 1.0
    return -math.inf, math.inf


def redrawn_difference(
    declared: Declared, new: Selection, old: Selection, level: float
) -> Estimate:
    """Two models: the same redrawn clusters for both."""
    new, old = _in_groups(declared, new), _in_groups(declared, old)
    both = pairing(declared, new.placed(), old.placed())
    if both.clusters < 2:
        raise MeasureError(f"{declared.name}: one cluster, an interval needs two")
    if isinstance(declared.of, Spread | Odds | Variation | Icat):
        return _of_extremes(declared, new, old, level)
    ours, trials = _statistics(declared, new, both.cluster[both.new], both.clusters)
    theirs, others = _statistics(declared, old, both.cluster[both.old], both.clusters)
    changes = [_change(mine, other) for mine, other in zip(ours, theirs, strict=True)]
    found = _hull(
        declared,
        changes,
        both.clusters,
        trials=min(trials, others),
        cells=max(len(both.new), len(both.old)),
        level=level,
    )
    value = float(changes[0](np.ones((both.clusters, 1)))[0])
    low, high = min(found.low, value), max(found.high, value)
    return Estimate(value, low, high, len(both.new), both.clusters, found.method, found.se)


def _of_extremes(declared: Declared, new: Selection, old: Selection, level: float) -> Estimate:
    """Change of the largest (or least) of several numbers, from each model's own limits.

    The largest that was drawn lies above the largest there is, and by more where several are
    alike: redrawn together, the change leans to whichever model has them so, and no resample
    knows by how much. Both models' own limits know; at half of what the level leaves out they
    hold together (Bonferroni), and so does the one's lower minus the other's upper.
    """
    surer = shared(level, 2)
    mine, other = (redrawn(declared, rows, surer) for rows in (new, old))
    return Estimate(
        value=mine.value - other.value,
        low=mine.low - other.high,
        high=mine.high - other.low,
        n=mine.n,
        clusters=mine.clusters,
        method=f"{mine.method}, of each model",
        se=math.hypot(mine.se, other.se),
    )


def _change(new: resample.Statistic, old: resample.Statistic) -> resample.Statistic:
    return lambda counts: new(counts) - old(counts)


def _hull(
    declared: Declared,
    statistics: Sequence[resample.Statistic],
    clusters: int,
    *,
    trials: int,
    cells: int,
    level: float,
) -> resample.Resampled:
    bca = isinstance(declared.of, Auroc | RiskCoverage | RankCorrelation)
    return resample.hull(
        [
            resample.interval(each, clusters, level, trials=trials, bca=bca, cells=cells)
            for each in statistics
        ]
    )
