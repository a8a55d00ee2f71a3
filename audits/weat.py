"""Do two sets of words lie nearer to one set of attributes than to another?

WEAT of words and SEAT of sentences. A diagnostic only: for causal models the vector of a
sentence is arbitrary, and a null result means nothing (May et al. 2019, arXiv:1903.10561).
"""

from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np

from audits.errors import MeasureError
from audits.intervals import Floats

PARTITIONS = 200_000
"""More ways to part the words than these are not gone over."""
EQUAL = 1e-12


@dataclass(frozen=True, slots=True)
class Association:
    """How much nearer the first set is to the first attributes, in standard deviations.

    `p` is the share of equal partitions of both sets whose difference is at least as large,
    this one included; equal sums count, which an exact comparison of floats misses.
    """

    effect: float
    p: float


def weat(x: Floats, y: Floats, a: Floats, b: Floats) -> Association:
    """Effect size and exact one-sided p (Caliskan et al. 2017), of vectors in rows.

    Raises:
        MeasureError: sets of other sizes, a vector of zeros, nothing that varies, or too many
            words for all partitions.
    """
    if len(x) != len(y) or not len(x) or not len(a) or not len(b):
        raise MeasureError("weat: X and Y need as many words, and A and B some")
    if comb(2 * len(x), len(x)) > PARTITIONS:
        raise MeasureError(f"weat: {len(x)} words have too many partitions; give at most 10")
    words = np.concatenate([x, y])
    near = _cosines(words, a).mean(axis=1) - _cosines(words, b).mean(axis=1)
    spread = float(near.std(ddof=1))
    if spread <= EQUAL:
        raise MeasureError("weat: every word is as near to both attributes")
    n = len(x)
    effect = float(near[:n].mean() - near[n:].mean()) / spread
    chosen = np.array(list(combinations(range(2 * n), n)))
    sums = near[chosen].sum(axis=1)
    return Association(effect, float(np.mean(sums >= near[:n].sum() - EQUAL)))


def _cosines(one: Floats, other: Floats) -> Floats:
    sizes = [np.linalg.norm(v, axis=1, keepdims=True) for v in (one, other)]
    if not all(size.all() for size in sizes):
        raise MeasureError("weat: a vector of zeros has no direction")
    return np.asarray((one / sizes[0]) @ (other / sizes[1]).T)
