"""AUROC, calibration error and spread, alone and paired, by redrawing clusters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from audits import resample
from audits.errors import MeasureError
from audits.estimand import Auroc, CalibrationError, Declared, Estimate, Spread
from audits.groups import group_difference
from audits.intervals import Floats, Ints
from audits.sample import cluster_names, numbers

if TYPE_CHECKING:
    import pandas as pd


def _statistics(
    declared: Declared, rows: "pd.DataFrame"
) -> tuple[tuple[resample.Statistic, ...], int]:
    """Statistics of row weights, equal at the estimate, whose intervals' hull is wanted.

    With them, how many trials the rarer kind of row is worth.
    """
    of = declared.of
    if isinstance(of, Auroc):
        score, label = numbers(declared, rows, of.score), numbers(declared, rows, of.label)
        if set(np.unique(label)) != {0.0, 1.0}:
            raise MeasureError(f"{declared.name}: {of.label} must hold both 0 and 1, no more")
        cluster = rows["cluster"].to_numpy(dtype=str)
        kinds = [len(np.unique(cluster[label == kind])) for kind in (0, 1)]
        return (resample.auroc(score, label),), min(kinds)
    if isinstance(of, CalibrationError):
        confidence = numbers(declared, rows, of.confidence)
        correct = numbers(declared, rows, of.correct)
        if confidence.min() < 0 or confidence.max() > 1 or not np.isin(correct, (0, 1)).all():
            raise MeasureError(
                f"{declared.name}: confidences lie in [0, 1], outcomes are 0 or 1"
            )
        asked = confidence, correct, of.bins
        both = resample.calibration_excess(*asked), resample.calibration_above_null(*asked)
        return both, rows["cluster"].nunique()
    assert isinstance(of, Spread)
    value, group = _grouped(declared, of, rows)
    return (resample.spread(value, group),), rows["cluster"].nunique()


def _grouped(declared: Declared, of: Spread, rows: "pd.DataFrame") -> tuple[Floats, Ints]:
    if of.by not in rows:
        raise MeasureError(f"{declared.name}: records have no column {of.by!r}")
    names, group = np.unique(rows[of.by].to_numpy(dtype=str), return_inverse=True)
    if len(names) < 2:
        raise MeasureError(f"{declared.name}: one group in {of.by}, a spread needs two")
    return numbers(declared, rows, of.value), group


def redrawn(declared: Declared, rows: "pd.DataFrame", level: float) -> Estimate:
    """One model."""
    of = declared.of
    if isinstance(of, Spread):
        rows = rows[rows[of.by] != ""] if of.by in rows else rows
    cluster, clusters = _clusters(declared, rows)
    statistics, trials = _statistics(declared, rows)
    value = float(statistics[0](np.ones((len(rows), 1)))[0])
    if isinstance(of, Spread):
        value = group_difference(rows, of.value, of.by)
        found = resample.spread_interval(*_grouped(declared, of, rows), cluster, level)
    else:
        counted = [resample.by_cluster(statistic, cluster) for statistic in statistics]
        found = _hull(declared, counted, clusters, trials=trials, cells=len(rows), level=level)
    low, high = min(found.low, value), max(found.high, value)
    if isinstance(of, Auroc):
        low, high = max(0.0, low), min(1.0, high)
    return Estimate(value, low, high, len(rows), clusters, found.method, found.se)


def redrawn_difference(
    declared: Declared, new: "pd.DataFrame", old: "pd.DataFrame", level: float
) -> Estimate:
    """Two models: the same redrawn clusters for both."""
    if isinstance(declared.of, Spread) and declared.of.by in new and declared.of.by in old:
        new, old = new[new[declared.of.by] != ""], old[old[declared.of.by] != ""]
    owner = old.drop_duplicates("example").set_index("example")["cluster"]
    new = new.assign(cluster=new["example"].map(owner))
    (cluster_new, clusters), (cluster_old, _) = (
        _clusters(declared, new),
        _clusters(declared, old),
    )
    ours, trials = _statistics(declared, new)
    theirs, _ = _statistics(declared, old)
    changes = [
        _change(mine, cluster_new, other, cluster_old)
        for mine, other in zip(ours, theirs, strict=True)
    ]
    found = _hull(declared, changes, clusters, trials=trials, cells=len(new), level=level)
    value = float(changes[0](np.ones((clusters, 1)))[0])
    low, high = min(found.low, value), max(found.high, value)
    return Estimate(value, low, high, len(new), clusters, found.method, found.se)


def _change(
    new: resample.Statistic, cluster_new: Ints, old: resample.Statistic, cluster_old: Ints
) -> resample.Statistic:
    def change(counts: Floats) -> Floats:
        return new(counts[cluster_new]) - old(counts[cluster_old])

    return change


def _hull(
    declared: Declared,
    statistics: Sequence[resample.Statistic],
    clusters: int,
    *,
    trials: int,
    cells: int,
    level: float,
) -> resample.Resampled:
    bca = isinstance(declared.of, Auroc)
    return resample.hull(
        [
            resample.interval(each, clusters, level, trials=trials, bca=bca, cells=cells)
            for each in statistics
        ]
    )


def _clusters(declared: Declared, rows: "pd.DataFrame") -> tuple[Ints, int]:
    found, codes = np.unique(cluster_names(rows), return_inverse=True)
    if len(found) < 2:
        raise MeasureError(f"{declared.name}: {len(found)} cluster, an interval needs two")
    return codes, len(found)
