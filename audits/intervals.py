"""How sure can one be of a rate, a mean or a paired difference? Closed forms only."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]
Interval = tuple[float, float]


def normal_quantile(level: float) -> float:
    """Half-width, in standard errors, of a two-sided normal interval at `level`."""
    return NormalDist().inv_cdf(0.5 + level / 2)


def t_quantile(level: float, clusters: int) -> float:
    """The same with Student's t on `clusters - 1` degrees of freedom."""
    from scipy import special  # scipy.stats has it too, and takes half a second to load

    return float(special.stdtrit(clusters - 1, 0.5 + level / 2))


def wilson(successes: int, n: int, level: float) -> Interval:
    """Wilson score interval of a proportion of independent trials.

    Chosen over the normal interval because audit rates sit near 0 and 1, where the
    normal one leaves [0, 1] and collapses to zero width.

    >>> low, high = wilson(0, 50, 0.95)
    >>> (round(low, 5), round(high, 5))
    (0.0, 0.07135)
    """
    from scipy import stats

    found = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)


def clopper_pearson(successes: int, n: int, level: float) -> Interval:
    """Exact interval of a proportion: never covers less than `level`, often more."""
    from scipy import stats

    found = stats.binomtest(successes, n).proportion_ci(level, method="exact")
    return float(found.low), float(found.high)


def score_interval(p: float, n: float, quantile: float) -> Interval:
    """Wilson's formula for a real-valued (effective) number of trials and any quantile."""
    zz = quantile * quantile
    centre = (p + zz / (2 * n)) / (1 + zz / n)
    half = quantile / (1 + zz / n) * math.sqrt(p * (1 - p) / n + zz / (4 * n * n))
    return max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half))


def exact_interval(p: float, n: float, quantile: float) -> Interval:
    """Clopper and Pearson's interval for a real-valued (effective) number of trials.

    The gate's limit of a rate: Wilson's passes a model that misses its bound up to 8 times
    in a hundred where 5 were allowed (at most 0.02 or so, or few trials), this one never
    more often than it says. Beta quantiles, as `clopper_pearson` has them for whole counts.
    """
    from scipy import special

    tail = NormalDist().cdf(-quantile)
    k = p * n
    low = float(special.betaincinv(k, n - k + 1, tail)) if k > 0 else 0.0
    high = float(special.betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return min(p, low), max(p, high)


def tango(b: float, c: float, n: float, level: float) -> Interval:
    """Score interval of a paired difference of proportions (Tango 1998, Stat. Med. 17:891).

    Args:
        b: pairs where only the first (the new model) has the property.
        c: pairs where only the second (the old model) has it.
        n: all pairs. Counts need not be whole: effective numbers are welcome.
        level: two-sided.

    Returns:
        Limits of (b - c) / n; wider than zero even where b = c = 0.
    """
    return tango_at(b, c, n, normal_quantile(level))


def tango_at(b: float, c: float, n: float, quantile: float) -> Interval:
    """`tango` with the quantile given, for Student's t where pairs come in clusters."""
    from scipy.optimize import brentq

    estimate = (b - c) / n

    def limit(end: float, sign: float) -> float:
        def miss(at: float) -> float:
            return tango_z(b, c, n, at) - sign * quantile

        if miss(end) * miss(estimate) >= 0:
            return end
        low, high = min(estimate, end), max(estimate, end)
        return float(brentq(miss, low, high, xtol=1e-13, rtol=1e-13))

    return limit(-1 + 1e-12, 1), limit(1 - 1e-12, -1)


def tango_z(b: float, c: float, n: float, difference: float) -> float:
    """Tango's score statistic: how far the data are from a true `difference`."""
    shift = b - c - n * difference
    if shift == 0:
        return 0.0
    first = 2 * n
    second = -b - c + (2 * n - b + c) * difference
    third = -c * difference * (1 - difference)
    root = math.sqrt(max(0.0, second * second - 4 * first * third))
    # The same root of the quadratic either way; each side is exact where the other cancels.
    restricted = (root - second) / (2 * first) if second <= 0 else -2 * third / (second + root)
    variance = n * (2 * restricted + difference * (1 - difference))
    return shift / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, shift)


def cluster_sums(values: Floats, cluster: Ints) -> Floats:
    """Sum of `values` within each cluster; clusters are numbered from 0."""
    return np.asarray(np.bincount(cluster, weights=values), dtype=np.float64)


def cluster_se(num: Floats, den: Floats, cluster: Ints) -> float:
    """Cluster-robust standard error of sum(num) / sum(den), by linearization.

    sqrt(C/(C-1) * sum over clusters of (sum of residuals)^2) / sum(den), which is the
    cluster-robust error of statsmodels' OLS on a constant where every `den` is 1; compare
    arXiv:2411.00640, appendix A, which leaves out C/(C-1). Needs two clusters.
    """
    return ratio_se(cluster_sums(num, cluster), cluster_sums(den, cluster))


def ratio_se(num: Floats, den: Floats) -> float:
    """The same from the sums of each cluster."""
    total = den.sum()
    return influence_se((num - num.sum() / total * den) / total)


def influence_se(influence: Floats) -> float:
    """Standard error from the influence of each cluster on the estimate."""
    clusters = len(influence)
    return math.sqrt(clusters / (clusters - 1) * float(np.square(influence).sum()))


def skewness(values: Floats) -> float:
    """Third moment about the mean over the 3/2 power of the second; 0 where none varies."""
    centred = values - values.mean()
    second = float(np.square(centred).mean())
    return float((centred**3).mean()) / second**1.5 if second > 0 else 0.0


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's adjusted p-values (1979), in the order given: for asserting one of many.

    As statsmodels' multipletests has them, which takes a second to load.

    >>> holm([0.04, 0.01, 0.5])
    (0.08, 0.03, 0.5)
    """
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    found, least = [0.0] * len(p_values), 0.0
    for rank, at in enumerate(order):
        least = max(least, min(1.0, p_values[at] * (len(order) - rank)))
        found[at] = least
    return tuple(found)
