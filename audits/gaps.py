"""How far does each group lie from all others together, and is that sure?"""

import math
from dataclasses import dataclass, replace

import numpy as np

from audits.exchange import p_value
from audits.intervals import Floats, holm
from audits.spreads import RESAMPLES, Cells, drawn_out, weighted


@dataclass(frozen=True, slots=True)
class Gap:
    """A difference with its 95 % interval, and its p-value by Holm, in the direction asked."""

    value: float
    low: float
    high: float
    p: float


def gaps(
    cells: Cells, shuffled: tuple[Floats, Floats], *, sign: int = 0, shares: bool = True
) -> list[Gap]:
    """Each group against the rest: Student's t by cluster, and the null's own opinion.

    Labels without meaning are exact where no group differs, t where others do; a group is told
    from the rest by the less sure of both, and then by Holm. The limits are those of random
    weights of the clusters (`audits.spreads.weighted`): t's are too short where a small group
    shows nothing of what is rare.

    Args:
        cells: of one rate.
        shuffled: their sums under labels that say nothing.
        sign: 1 where only groups above the rest will be named, -1 below, 0 either.
        shares: whether every numerator lies between 0 and its denominator.
    """
    groups = range(cells.num.shape[1])
    both = _beside_rest(cells)
    limits = _limits(both, shares=shares)
    found = [_gap(both.num[:, :, 0], both.den[:, :, 0], at, sign) for at in groups]
    drawn = _towards(_against_rest(*(s[:, :, 0] for s in shuffled)), sign)
    seen = _towards(np.array([value for value, _ in found]), sign)
    p = [max(p, p_value(float(seen[at]), drawn[:, at])) for at, (_, p) in enumerate(found)]
    return [
        Gap(value, min(value, float(low)), max(value, float(high)), each)
        for (value, _), low, high, each in zip(found, *limits, holm(p), strict=True)
    ]


def _towards(values: Floats, sign: int) -> Floats:
    return np.asarray(sign * values if sign else np.abs(values))


def _against_rest(num: Floats, den: Floats) -> Floats:
    """Rate of each group minus that of all others together; sums come as (…, groups)."""
    rest = num.sum(axis=-1, keepdims=True) - num, den.sum(axis=-1, keepdims=True) - den
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(num / den - rest[0] / rest[1])


def _beside_rest(cells: Cells) -> Cells:
    """The groups, and behind them for each one all others together."""
    num, den = (
        np.concatenate([s, s.sum(axis=1, keepdims=True) - s], axis=1)
        for s in (cells.num, cells.den)
    )
    return replace(cells, num=num, den=den)


def _limits(both: Cells, *, shares: bool) -> tuple[Floats, Floats]:
    """Lower and upper limits of each group's rate minus its rest's."""
    least, most = (s[:, :, 0] for s in weighted(both, RESAMPLES, shares=shares))
    groups = least.shape[1] // 2
    rates = both.rates()[:, 0]
    value = rates[:groups] - rates[groups:]
    below = value - (least[:, :groups] - most[:, groups:])
    above = (most[:, :groups] - least[:, groups:]) - value
    if not shares:
        stretch = drawn_out(both, 0.95)[:, 0]
        stretch = np.maximum(stretch[:groups], stretch[groups:])
        below, above = below * stretch, above * stretch
    return value - np.quantile(below, 0.975, axis=0), value + np.quantile(above, 0.975, axis=0)


def _gap(num: Floats, den: Floats, at: int, toward: int) -> tuple[float, float]:
    """The difference of one group from its rest, and t's p-value."""
    from scipy import special

    groups = num.shape[1] // 2
    influence, rates, clusters = np.zeros(len(num)), [], []
    for sign, side in ((1, at), (-1, groups + at)):
        above, below = num[:, side], den[:, side]
        rates.append(float(above.sum() / below.sum()))
        influence += sign * (above - rates[-1] * below) / below.sum()
        clusters.append(int((below > 0).sum()))
    value, few = rates[0] - rates[1], min(clusters)
    if few < 2:
        return value, 1.0
    # As many clusters as the smaller side has, in the error and in its degrees of freedom.
    se = math.sqrt(few / (few - 1) * float(np.square(influence).sum()))
    far = toward * value if toward else abs(value)
    p = float(special.stdtr(few - 1, -far / se)) if se > 0 else float(far <= 0)
    return value, p if toward else min(1.0, 2 * p)
