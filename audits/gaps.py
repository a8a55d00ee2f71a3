"""How far does each group lie from all others together, and is that sure?"""

import math
from dataclasses import dataclass, replace

import numpy as np

from audits.exchange import p_value
from audits.intervals import Floats, holm
from audits.spreads import Cells


@dataclass(frozen=True, slots=True)
class Gap:
    """A difference with its 95 % interval, and its p-value by Holm, in the direction asked."""

    value: float
    low: float
    high: float
    p: float


def gaps(cells: Cells, shuffled: tuple[Floats, Floats], *, sign: int = 0) -> list[Gap]:
    """Each group against the rest: Student's t by cluster, and the null's own opinion.

    Labels without meaning are exact where no group differs, t where others do; a group is told
    from the rest by the less sure of both, and then by Holm.

    Args:
        cells: of one rate.
        shuffled: their sums under labels that say nothing.
        sign: 1 where only groups above the rest will be named, -1 below, 0 either.
    """
    found = [
        _gap(cells.num[:, :, 0], cells.den[:, :, 0], at, sign)
        for at in range(cells.num.shape[1])
    ]
    drawn = _towards(_against_rest(*(s[:, :, 0] for s in shuffled)), sign)
    seen = _towards(np.array([gap.value for gap in found]), sign)
    p = [max(g.p, p_value(float(seen[at]), drawn[:, at])) for at, g in enumerate(found)]
    return [replace(gap, p=each) for gap, each in zip(found, holm(p), strict=True)]


def _towards(values: Floats, sign: int) -> Floats:
    return np.asarray(sign * values if sign else np.abs(values))


def _against_rest(num: Floats, den: Floats) -> Floats:
    """Rate of each group minus that of all others together; sums come as (…, groups)."""
    rest = num.sum(axis=-1, keepdims=True) - num, den.sum(axis=-1, keepdims=True) - den
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(num / den - rest[0] / rest[1])


def _gap(num: Floats, den: Floats, at: int, toward: int) -> Gap:
    from scipy import special

    sides = [(num[:, at], den[:, at])]
    sides.append((num.sum(axis=1) - num[:, at], den.sum(axis=1) - den[:, at]))
    influence, rates, clusters = np.zeros(len(num)), [], []
    for sign, (above, below) in zip((1, -1), sides, strict=True):
        rates.append(float(above.sum() / below.sum()))
        influence += sign * (above - rates[-1] * below) / below.sum()
        clusters.append(int((below > 0).sum()))
    value, few = rates[0] - rates[1], min(clusters)
    if few < 2:
        return Gap(value, -math.inf, math.inf, 1.0)
    # As many clusters as the smaller side has, in the error and in its degrees of freedom.
    se = math.sqrt(few / (few - 1) * float(np.square(influence).sum()))
    half = float(special.stdtrit(few - 1, 0.975)) * se
    far = toward * value if toward else abs(value)
    p = float(special.stdtr(few - 1, -far / se)) if se > 0 else float(far <= 0)
    p = p if toward else min(1.0, 2 * p)
    return Gap(value, value - half, value + half, p)
