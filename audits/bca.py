"""What does the bootstrap say of a ratio? A second opinion on the closed forms.

Whole clusters are redrawn and the interval corrected for bias and skew (BCa), which is
worth its hundredfold cost where clusters are few or their sums skewed. Where nothing varies
between clusters a bootstrap knows no doubt, and the closed form answers.
"""

from typing import TYPE_CHECKING

import numpy as np

from audits import resample
from audits.columns import compact
from audits.errors import MeasureError
from audits.estimand import Declared, Estimate, Ratio
from audits.intervals import Floats, Ints, cluster_sums
from audits.ratios import paired, ratio, ratio_difference
from audits.sample import borrow, sums

if TYPE_CHECKING:
    import pandas as pd


def estimate(declared: Declared, frame: "pd.DataFrame", *, level: float) -> Estimate:
    """As `audits.stats.estimate`, for a ratio, by BCa over its clusters.

    Raises:
        MeasureError: as there, or the measure is no ratio.
    """
    of = _ratio(declared)
    rows = sums(declared, of, frame, worst=True).counted()
    closed = ratio(declared, of, rows, level)
    cluster, clusters = compact(rows.placed.cluster)
    share = _share(rows.num, rows.den, cluster)
    return _answer(closed, share, clusters, level, within=(0.0, 1.0) if of.proportion else None)


def difference(
    declared: Declared, new: "pd.DataFrame", old: "pd.DataFrame", *, level: float
) -> Estimate:
    """As `audits.stats.difference`, for a ratio: the same redrawn clusters for both models.

    Raises:
        MeasureError: as there, or the measure is no ratio.
    """
    of = _ratio(declared)
    new, old = borrow(declared, new, old), borrow(declared, old, new)
    ours = sums(declared, of, new, worst=True)
    theirs = sums(declared, of, old, worst=False)
    closed = ratio_difference(declared, of, ours, theirs, level)
    pair = paired(declared, ours, theirs)
    mine = _share(pair.num_new, pair.den_new, pair.cluster)
    other = _share(pair.num_old, pair.den_old, pair.cluster)

    def change(counts: Floats) -> Floats:
        return mine(counts) - other(counts)

    within = (-1.0, 1.0) if of.proportion else None
    return _answer(closed, change, pair.clusters, level, within=within)


def _ratio(declared: Declared) -> Ratio:
    if not isinstance(declared.of, Ratio):
        raise MeasureError(f"{declared.name}: {declared.of.kind} has its own bootstrap")
    return declared.of


def _share(num: Floats, den: Floats, cluster: Ints) -> resample.Statistic:
    top, bottom = cluster_sums(num, cluster), cluster_sums(den, cluster)

    def share(counts: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            found = (top @ counts) / (bottom @ counts)
        return np.asarray(np.where(np.isfinite(found), found, np.nan))

    return share


def _answer(
    closed: Estimate,
    statistic: resample.Statistic,
    clusters: int,
    level: float,
    *,
    within: tuple[float, float] | None,
) -> Estimate:
    if clusters < 2 or closed.se == 0:
        return closed
    found = resample.interval(
        statistic, clusters, level, trials=clusters, bca=True, cells=clusters
    )
    if found.se == 0:
        return closed
    least, most = within or (-np.inf, np.inf)
    low, high = max(found.low, least), min(found.high, most)
    low, high = min(low, closed.value), max(high, closed.value)
    return Estimate(closed.value, low, high, closed.n, closed.clusters, found.method, found.se)
