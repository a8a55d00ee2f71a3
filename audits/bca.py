"""Is a mean on an unknown scale less sure than Student's t says? The bootstrap's opinion.

Whole clusters are redrawn and the interval corrected for bias and skew (BCa). Where few
clusters are skewed t is too short on the side that matters, and BCa is shorter still where
they are not: the wider of both is taken, end by end.
"""

from dataclasses import replace

import numpy as np

from audits import resample
from audits.errors import MeasureError
from audits.estimand import Estimate
from audits.intervals import Floats

FEW = 200
"""From so many clusters on t alone is taken: what skew is left by then is asked for elsewhere
(`audits.stats.enough_for_skew`)."""


def share(top: Floats, bottom: Floats) -> resample.Statistic:
    """Ratio of sums as a function of how often each cluster is drawn."""

    def of_counts(counts: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            found = (top @ counts) / (bottom @ counts)
        return np.asarray(np.where(np.isfinite(found), found, np.nan))

    return of_counts


def wider(closed: Estimate, statistic: resample.Statistic, level: float) -> Estimate:
    """`closed`, where few clusters are behind it with each end as far out as BCa has it."""
    clusters = closed.clusters
    if clusters >= FEW or closed.se == 0:
        return closed
    try:
        found = resample.interval(
            statistic, clusters, level, trials=clusters, bca=True, cells=clusters
        )
    except MeasureError:  # too few clusters hold anything: there is nothing to redraw
        return closed
    if found.se == 0:
        return closed
    low, high = min(found.low, closed.low), max(found.high, closed.high)
    return replace(closed, low=low, high=high, method=f"{closed.method} or BCa")
