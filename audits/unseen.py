"""How far may a share be off when clusters that were not drawn are unlike any that was?

What varies between the clusters at hand says nothing of a kind that is too rare to be among
them: thirty clusters without one that fails as a whole are no surprise where one in eleven
does. So one more cluster is added to those that were drawn, as bad as a cluster can be, and
all of them get random weights, Dirichlet(1, ..., 1): the limit is a quantile of the weighted
share. For clusters of one 0 or 1 each it is Clopper and Pearson's limit to the digit; for
anything between it is the bound of Gaffke (2005) and of Learned-Miller and Thomas
(arXiv:1905.06208), whose coverage at every size and for every bounded distribution is
conjectured, never yet contradicted, and simulated in our tests. scipy has no such limit.
"""

import math
from dataclasses import dataclass

import numpy as np

from audits.intervals import Floats, Interval, Ints, normal_quantile

DISTINCT = 1_000
"""Beyond so many different clusters the quantile is expanded (Cornish and Fisher) instead."""
SORTED = 20_000
"""Beyond so many, only whole numbers are looked through for equal clusters."""
STEP, NODES, FIRST, LAST = 0.125, 88, -8.0, 36.0
"""Nodes of the inversion integral on a logarithmic axis, where its integrand is analytic: the
trapezoidal rule then errs by about exp(-pi ** 2 / 2 / STEP), 1e-17. Left of the first it is a
power series, of which one term is taken; at the last nothing is left of it."""


@dataclass(frozen=True, eq=False)
class Clusters:
    """Numerator and denominator of each cluster, and of one as bad as any can be.

    `num` - share * `den` of a cluster is what it adds to the evidence that a share is higher.
    """

    num: Floats
    den: Floats
    worst_num: float
    worst_den: float

    def upper(self, alpha: float) -> float:
        """One-sided upper limit of sum(num) / sum(den), at 1 - `alpha`.

        >>> zeros = np.zeros(50)
        >>> round(Clusters(zeros, zeros + 1, 1, 1).upper(0.05), 5)  # 1 - 0.05 ** (1 / 50)
        0.05816
        """
        value = float(self.num.sum() / self.den.sum())
        most = self.worst_num / self.worst_den
        if most <= value:
            return value
        distinct = self._distinct()
        if distinct is None:
            every = self.num, self.den, np.ones(len(self.num))
            return min(most, self._expanded(every, value, alpha))
        return self._inverted(distinct, value, alpha)

    def _distinct(self) -> "tuple[Floats, Floats, Floats] | None":
        """Clusters that differ, with how many there are of each; None where too many do."""
        if len(self.num) <= SORTED:
            both, count = np.unique(self.num + 1j * self.den, return_counts=True)
            num, den = both.real.copy(), both.imag.copy()
        else:
            counted = _counted(self.num, self.den)
            if counted is None:
                return None
            num, den, count = counted
        return (num, den, count.astype(np.float64)) if len(num) <= DISTINCT else None

    def _expanded(
        self, distinct: tuple[Floats, Floats, Floats], value: float, alpha: float
    ) -> float:
        """By mean, variance and skewness of the weighted share, to first order."""
        num, den, count = distinct
        clusters = float(count.sum())
        scale = clusters / float(self.den.sum())
        worst = (self.worst_num - value * self.worst_den) * scale
        times = np.append(count, 1.0)
        mean = worst / (clusters + 1)
        off = np.append((num - value * den) * scale, worst) - mean
        square = times * off * off
        variance = float(square.sum()) / ((clusters + 1) * (clusters + 2))
        third = 2 * float((square * off).sum()) / (clusters + 1) ** 3
        z = normal_quantile(1 - 2 * alpha)
        skew = third / variance**1.5 if variance > 0 else 0.0
        expanded = mean + math.sqrt(variance) * (z + (z * z - 1) * skew / 6)
        # Where no cluster is like the worst, this many of them may still be.
        return value + max(expanded, worst * -math.expm1(math.log(alpha) / clusters))

    def _inverted(
        self, distinct: tuple[Floats, Floats, Floats], value: float, alpha: float
    ) -> float:
        """The quantile itself, looked for upwards of the share and around a first guess."""
        from scipy.optimize import brentq

        num, den, count = distinct
        times, most = np.append(count, 1.0), self.worst_num / self.worst_den
        fine = STEP if alpha >= 1e-3 else STEP / 2

        def excess(share: float) -> float:
            weights = np.append(num - share * den, self.worst_num - share * self.worst_den)
            return chance_positive(weights, times, step=fine) - alpha

        # The first guess is a few percent off; far from it the integral is only noise.
        about = min(most, self._expanded(distinct, value, alpha))
        near = value + 0.999 * (about - value)
        up, step = excess(near) > 0, 0.03 * (near - value)
        while True:
            far = near + min(step, 0.5 * (most - near)) if up else max(value, near - step)
            if far == value or most - far < 1e-12:
                return far if up else value
            if (excess(far) > 0) is not up:
                break
            near, step = far, 2 * step if not up else step
        low, high = sorted((near, far))
        return float(brentq(excess, low, high, xtol=1e-10, rtol=1e-9))


def _counted(num: Floats, den: Floats) -> "tuple[Floats, Floats, Ints] | None":
    """Pairs of small whole numbers that occur, and how often; None where they are none."""
    first, base = float(num.min()), float(den.max()) + 1
    if base * (num.max() - first + 1) > SORTED:
        return None
    if not ((num == np.rint(num)).all() and (den == np.rint(den)).all()):
        return None
    times = np.bincount(((num - first) * base + den).astype(np.intp))
    held = np.flatnonzero(times)
    whole = held.astype(np.float64)
    return np.floor_divide(whole, base) + first, np.mod(whole, base), times[held]


def interval(
    num: Floats, den: Floats, least: Interval, most: Interval, level: float
) -> Interval:
    """Two-sided interval of sum(num) / sum(den), from both one-sided limits.

    Args:
        num: numerator of each cluster.
        den: its denominator.
        least: numerator and denominator of the cluster that would lower the share most.
        most: the same of the one that would raise it most.
        level: two-sided; each side leaves out half of what it lacks of 1.
    """
    tail = (1 - level) / 2
    return (
        -Clusters(-num, den, -least[0], least[1]).upper(tail),
        Clusters(num, den, *most).upper(tail),
    )


def chance_positive(weights: Floats, times: Floats, *, step: float = STEP) -> float:
    """Chance that a weighted sum of independent standard exponentials is positive.

    The inversion formula of Gil-Pelaez (1951) with the characteristic function
    prod (1 - i w u) ** -times, as Imhof (1961) integrates it.

    >>> round(chance_positive(np.array([1.0, -1.0]), np.array([1.0, 2.0])), 9)
    0.25
    """
    scale = math.sqrt(float((times * weights * weights).sum()))
    if scale == 0:
        return 0.0
    weights = weights / scale
    total, at = 0.0, FIRST
    while at < LAST:
        u = np.exp(at + step * np.arange(NODES))
        turned = np.outer(u, weights)
        angle = np.arctan(turned) @ times
        shrunk = np.log1p(turned * turned) @ times / 2
        total += float((np.sin(angle) * np.exp(-shrunk)).sum())
        if shrunk[-1] > 35:
            break
        at += NODES * step
    # Left of the first node the integrand is sum(weights) * u: a geometric series.
    left = float((times * weights).sum()) * math.exp(FIRST) / math.expm1(step)
    return min(1.0, max(0.0, 0.5 + step * (total + left) / math.pi))
