"""How far are the shares of groups from even ones, or from those of a text?"""

import math

import numpy as np

from audits.columns import compact
from audits.errors import MeasureError
from audits.estimand import Declared, Variation
from audits.intervals import (
    Floats,
    Ints,
    cluster_sums,
    normal_quantile,
    score_interval,
    t_quantile,
)
from audits.resample import Resampled
from audits.sample import Selection, numbers

SEED = 0
RESAMPLES = 999


def distance(shares: Floats, against: Floats) -> Floats:
    """Total variation: half the sum of what the shares differ by; groups come first.

    >>> float(distance(np.array([0.75, 0.25]), np.array([0.5, 0.5])))
    0.25
    """
    spread = np.abs(shares - against.reshape(-1, *[1] * (shares.ndim - 1)))
    return np.asarray(spread.sum(axis=0) / 2)


def interval(
    declared: Declared, of: Variation, rows: Selection, level: float
) -> tuple[float, Resampled]:
    """The distance, and limits that hold 0 as often as they should.

    A distance is never negative, and its own bootstrap excludes 0 even where all is even. No
    distance of the sample is farther from the true one than the sample's shares are from the
    true shares: the quantile of that distance, from redrawn clusters, is the half-width,
    drawn out as Student's t is for so few clusters. Where the shares are the true ones every
    error moves the distance up, so the lower limit takes the quantile of one side alone.
    """
    cluster, clusters = compact(rows.placed().cluster)
    counts, against, less = _parts(declared, of, rows, cluster)
    at = _shares(counts.sum(axis=0)[:, None])
    rng = np.random.default_rng(SEED)
    drawn = rng.multinomial(clusters, np.full(clusters, 1 / clusters), RESAMPLES)
    off = distance(_shares(counts.T @ drawn.T), at[:, 0])
    short = t_quantile(level, clusters) / normal_quantile(level)
    short *= math.sqrt(clusters / (clusters - 1))
    below, half = (short * float(n) for n in np.nanquantile(off, [(1 + level) / 2, level]))
    if half <= 0:
        below = half = score_interval(0.0, clusters, normal_quantile(level))[1]
    value = float(distance(at, against)[0])
    low, high = max(0.0, value - below), min(1.0, value + half)
    se = half / normal_quantile(level)
    found = Resampled(low - less, high - less, se, "cluster bootstrap of the shares")
    return value - less, found


def _parts(
    declared: Declared, of: Variation, rows: Selection, cluster: Ints
) -> tuple[Floats, Floats, float]:
    """Counts by cluster and group, the shares to compare with, and what is taken off."""
    columns = [numbers(declared, rows, name) for name in of.counts]
    counts = np.stack([cluster_sums(values, cluster) for values in columns], axis=1)
    if (counts < 0).any() or counts.sum() <= 0:
        raise MeasureError(
            f"{declared.name}: no word of any group was counted, so there are no shares"
        )
    even = np.full(len(columns), 1 / len(columns))
    against = _constant(declared, of.against, rows) if of.against else even
    less = distance(_constant(declared, of.less, rows), even) if of.less else 0.0
    return counts, against, float(less)


def _constant(declared: Declared, names: tuple[str, ...], rows: Selection) -> Floats:
    """Shares that stand alike in every row."""
    found = np.array([numbers(declared, rows, name).mean() for name in names])
    if found.sum() <= 0:
        raise MeasureError(f"{declared.name}: the text holds no word of any group")
    return np.asarray(found / found.sum())


def _shares(counts: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(counts / counts.sum(axis=0))
