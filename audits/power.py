"""What can be decided with so many examples? Planned before any model is asked.

A rule passes when its pessimistic one-sided limit at 1 - alpha meets the bound, so what can
pass follows from the same limits that the gate takes: Clopper and Pearson's for a rate, Tango's
score limit for a paired difference. The chances are exact sums over the outcomes that pass.
Examples are taken as independent: examples in
clusters are worth fewer. Nothing here loads scipy.stats, which takes longer than the answer.
"""

import math

import numpy as np

from audits.estimand import Better
from audits.intervals import Floats, Ints, normal_quantile

MANY = 20_000
"""Above so many examples the normal approximation is used: it is off by less than 1 %."""
TAIL = 9.0
"""Standard deviations of discordant pairs that are summed over; beyond lies under 1e-15."""


def least_to_pass_absolute(bound: float, better: Better, alpha: float) -> int | None:
    """Fewest examples at which a rate without a single error passes.

    Args:
        bound: of the rate, in [0, 1].
        better: "lower" where the upper limit must stay within the bound.
        alpha: one-sided.

    Returns:
        The number; None where no number will do (nobody is surely perfect).

    >>> least_to_pass_absolute(0.05, "lower", 0.05), least_to_pass_absolute(0, "lower", 0.05)
    (59, None)
    """
    allowed = _allowed(bound, better)
    if allowed <= 0:
        return None
    if allowed >= 1:
        return 1
    # A model at the bound makes no error in n examples with a chance of (1 - bound)^n.
    return max(1, math.ceil(math.log(alpha) / math.log1p(-allowed)))


def least_to_pass_paired(margin: float, alpha: float) -> int | None:
    """Fewest pairs at which two models that never differ pass as no worse by `margin`.

    None for a margin of 0, which equal models never pass.

    >>> least_to_pass_paired(0.02, 0.05)
    133
    """
    if margin <= 0:
        return None
    # Without discordant pairs Tango's limit is zz / (n + zz).
    zz = _quantile(alpha) ** 2
    return max(1, math.ceil(zz * (1 - margin) / margin))


def can_fail_absolute(n: int, bound: float, better: Better, alpha: float) -> bool:
    """Whether the worst of all outcomes, errors only, would FAIL: lie surely beyond it."""
    allowed = _allowed(bound, better)
    # The lower limit of n errors in n is alpha^(1/n).
    return bool(allowed < alpha ** (1 / n))


def can_fail_paired(n: int, margin: float, alpha: float) -> bool:
    """Whether a new model that loses every single pair would FAIL."""
    zz = _quantile(alpha) ** 2
    # At n losses in n Tango's z is sqrt(n (1 - D) / (1 + D)).
    return margin < (n - zz) / (n + zz)


def power_absolute(n: int, truth: float, bound: float, better: Better, alpha: float) -> float:
    """Chance that a rate of `truth` passes with `n` independent examples.

    Exact at every n: the binomial sum over the outcomes whose limit meets the bound.
    """
    allowed, wrong = _allowed(bound, better), _allowed(truth, better)
    if n < 1 or not 0 <= truth <= 1:
        raise ValueError(f"no chance follows from {n} examples of a rate of {truth}")
    return float(_power(np.array([n]), wrong, allowed, alpha)[0])


def needed_absolute(
    truth: float, bound: float, better: Better, alpha: float, power: float
) -> int | None:
    """Fewest examples from which on a rate of `truth` passes with at least this `power`.

    Exact up to `MANY`: the chance saws with n, and no larger number falls below `power`.

    Returns:
        The number; None where `truth` does not meet the bound.
    """
    allowed, wrong = _allowed(bound, better), _allowed(truth, better)
    least = least_to_pass_absolute(bound, better, alpha)
    if least is None or wrong >= allowed:
        return None
    spread = _quantile(alpha) * math.sqrt(max(0.0, allowed * (1 - allowed)))
    spread += _quantile(1 - power) * math.sqrt(wrong * (1 - wrong))
    about = math.ceil(max(least, (spread / (allowed - wrong)) ** 2))
    if about > MANY:
        return about
    sizes = np.arange(1, 2 * about + 100)
    short = np.flatnonzero(_power(sizes, wrong, allowed, alpha) < power)
    return int(sizes[short[-1]]) + 1 if len(short) else 1


def power_paired(
    n: int, discordance: float, difference: float, margin: float, alpha: float
) -> float:
    """Chance that a new model passes as no worse by `margin` on `n` independent pairs.

    Exact: the trinomial sum over the outcomes whose Tango limit stays within the margin.

    Args:
        n: pairs.
        discordance: share of pairs in which exactly one of the two models is wrong.
        difference: by how much the new model is truly worse (negative: better); at most
            `discordance` in size.
        margin: what it may be worse by.
        alpha: one-sided.
    """
    if n < 1 or not abs(difference) <= discordance <= 1:
        raise ValueError(
            f"no {n} pairs differ in {discordance} of all and by {difference} on balance"
        )
    if margin >= 1:
        return 1.0
    from scipy import special

    spread = TAIL * math.sqrt(n * discordance * (1 - discordance)) + TAIL
    first, last = max(0, n * discordance - spread), min(n, n * discordance + spread)
    discordant = np.arange(math.floor(first), math.ceil(last) + 1)
    chance = np.exp(
        special.gammaln(n + 1) - special.gammaln(discordant + 1)
        - special.gammaln(n - discordant + 1)
        + special.xlogy(discordant, discordance)
        + special.xlog1py(n - discordant, -discordance)
    )  # fmt: skip
    worse = _most_worse(n, discordant, margin, _quantile(alpha))
    share = (discordance + difference) / (2 * discordance) if discordance else 0.0
    passing = np.where(worse < 0, 0.0, special.bdtr(np.maximum(worse, 0), discordant, share))
    return min(1.0, float(chance @ passing))


def needed_paired(discordance: float, margin: float, alpha: float, power: float) -> int:
    """Pairs for this `power` where two models do not differ, by the usual formula.

    (z_alpha + z_beta)^2 * discordance / margin^2, as papers and reviewers compute it. It is
    close at many discordant pairs (1,546 for 10 % and 2 points have a power of .796) and
    too low at few (310 for 2 % and 2 points have .67): `enough_paired` is exact.

    >>> needed_paired(0.10, 0.02, 0.05, 0.8)
    1546
    """
    both = _quantile(alpha) + _quantile(1 - power)
    return max(1, math.ceil(both * both * discordance / (margin * margin)))


def enough_paired(discordance: float, margin: float, alpha: float, power: float) -> int | None:
    """Pairs at which `power_paired` reaches `power` where two models do not differ.

    Found by bisection: the chance saws by up to a point or two between neighbours where few
    pairs are discordant. None for a margin of 0.
    """
    least = least_to_pass_paired(margin, alpha)
    if least is None:
        return None

    def reached(n: int) -> bool:
        return power_paired(n, discordance, 0.0, margin, alpha) >= power

    low, high = least - 1, max(least, needed_paired(discordance, margin, alpha, power))
    while not reached(high):
        low, high = high, math.ceil(high * 1.25)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def _allowed(rate: float, better: Better) -> float:
    """A rate, counted in errors."""
    return rate if better == "lower" else 1 - rate


def _quantile(alpha: float) -> float:
    return normal_quantile(1 - 2 * alpha)


def _power(n: Ints, wrong: float, allowed: float, alpha: float) -> Floats:
    """Chance, for each n, that few enough errors occur."""
    from scipy import special

    if allowed >= 1:
        return np.ones(len(n))
    if allowed <= 0:
        return np.zeros(len(n))
    # The upper limit of k errors is within `allowed` where so few are that rare there.
    low, high = np.full(len(n), -1), np.floor(n * allowed).astype(np.intp)
    while (low < high).any():
        middle = (low + high + 1) // 2
        passes = special.bdtr(np.maximum(middle, 0), n, allowed) <= alpha
        low, high = np.where(passes, middle, low), np.where(passes, high, middle - 1)
    found = special.bdtr(np.maximum(low, 0), n, wrong)
    return np.asarray(np.where(low < 0, 0.0, found), dtype=np.float64)


def _most_worse(n: int, discordant: Ints, margin: float, quantile: float) -> Ints:
    """Most pairs the new model may lose, of so many discordant ones; -1 where none passes.

    By bisection: of a fixed number of discordant pairs, each further loss raises z.
    """
    low, high = np.full(len(discordant), -1), discordant.copy()
    while (low < high).any():
        middle = (low + high + 1) // 2
        passes = _tango_z(middle, discordant - middle, n, margin) <= -quantile
        low, high = np.where(passes, middle, low), np.where(passes, high, middle - 1)
    return low


def _tango_z(b: Ints, c: Ints, n: int, difference: float) -> Floats:
    """`audits.intervals.tango_z` for many outcomes at once."""
    second = -b - c + (2 * n - b + c) * difference
    third = -c * difference * (1 - difference)
    root = np.sqrt(np.maximum(0.0, second * second - 8 * n * third))
    with np.errstate(divide="ignore", invalid="ignore"):
        twice = np.where(second <= 0, (root - second) / (2 * n), -4 * third / (second + root))
        variance = n * (twice + difference * (1 - difference))
        shift = b - c - n * difference
        return np.asarray(np.where(shift == 0, 0.0, shift / np.sqrt(variance)))
