"""What binned forecasts say: debiased calibration error, Murphy's terms, a test of calibration.

Confidences are put into bins once, on the whole sample; every statistic is then a function of
row weights, so that clusters can be redrawn. Bins are (lo, hi]: of equal width, or of equal
mass, whose edges lie halfway between neighbouring values.
"""

from itertools import pairwise
from typing import Literal

import numpy as np

from audits.intervals import Floats, Interval, Ints, clopper_pearson
from audits.resample import SEED, Statistic, bin_of

Term = Literal["debiased", "reliability", "resolution"]
DRAWS = 999


def members(confidence: Floats, bins: int, *, mass: bool) -> Ints:
    """Number of each confidence's bin, from 0.

    >>> members(np.array([0.1, 0.2, 0.3, 0.9]), 2, mass=True).tolist()
    [0, 0, 1, 1]
    """
    if not mass:
        return bin_of(confidence, bins)
    parts = [p for p in np.array_split(np.sort(confidence), bins) if len(p)]
    edges = np.unique([(a[-1] + b[0]) / 2 for a, b in pairwise(parts)])
    return np.searchsorted(edges, confidence, side="left")


def error(confidence: Floats, correct: Floats, member: Ints) -> float:
    """Expected calibration error over these bins: sum of n_b / n |accuracy - confidence|."""
    gaps = np.bincount(member, weights=correct - confidence)
    return float(np.abs(gaps).sum() / len(confidence))


def statistic(confidence: Floats, correct: Floats, member: Ints, term: Term) -> Statistic:
    """One term as a function of row weights (rows, resamples).

    With n_b, c_b and y_b the weight, mean confidence and accuracy of a bin and y that of all:

    * `debiased`: sum of n_b / n [(y_b - c_b)^2 - y_b (1 - y_b) / (n_b - 1)], the squared
      calibration error without the bias of its plug-in (Kumar et al., arXiv:1909.10155); bins
      of one row say nothing. It may lie below 0. A row drawn twice is not two observations:
      with weights w, 1 / (n_b - 1) is r / (1 - r) with r = sum w^2 / (sum w)^2, equal to it
      where all weigh alike; otherwise resamples would lie above what they stand for.
    * `reliability`: sum of n_b / n (c_b - y_b)^2, and
    * `resolution`: sum of n_b / n (y_b - y)^2. The Brier score of the bins' mean confidences is
      reliability - resolution + y (1 - y) (Murphy 1973).
    """
    held = np.zeros((int(member.max()) + 1, len(member)))
    held[member, np.arange(len(member))] = 1.0
    stating, hitting = held * confidence, held * correct  # small, unlike products with weights

    def of_weights(weights: Floats) -> Floats:
        size = held @ weights
        with np.errstate(invalid="ignore", divide="ignore"):
            stated, right = (stating @ weights) / size, (hitting @ weights) / size
            share = size / size.sum(axis=0)
            if term == "resolution":
                found = (right - np.nansum(share * right, axis=0)) ** 2
            else:
                found = (right - stated) ** 2
            if term == "debiased":
                r = (held @ weights**2) / size**2
                several = r < 1 - 1e-12
                found = np.where(several, found - right * (1 - right) * r / (1 - r), np.nan)
        return np.asarray(np.nansum(share * found, axis=0))

    return of_weights


def band(confidence: Floats) -> Interval:
    """Between what shares correct 95 % of calibrated outcomes of these rows lie."""
    rng = np.random.default_rng(SEED)
    drawn = (rng.random((DRAWS, len(confidence))) < confidence).mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def consistency(confidence: Floats, correct: Floats, bins: int) -> tuple[float, Interval]:
    """Chance that a calibrated model shows at least this calibration error, and its interval.

    Outcomes are redrawn from the stated confidences (consistency resampling, Bröcker and
    Smith 2007), independently by row; the interval is of the draws, 95 %. A small value speaks
    against calibration.
    """
    rng = np.random.default_rng(SEED)
    member = bin_of(confidence, bins)
    seen = error(confidence, correct, member)
    drawn = (rng.random((DRAWS, len(confidence))) < confidence).astype(np.float64)
    beyond = sum(error(confidence, row, member) >= seen - 1e-12 for row in drawn)
    share = (beyond + 1) / (DRAWS + 1)
    return share, clopper_pearson(beyond + 1, DRAWS + 1, 0.95)
