"""What would the worst of fewer samples have been?"""

from collections.abc import Sequence
from math import comb


def expected_maximum(scores: Sequence[float], m: int) -> float:
    """Mean of the largest of `m` scores over all ways to choose them (a U-statistic).

    >>> expected_maximum([0.0, 0.5, 1.0], 2)  # (0.5 + 1 + 1) / 3
    0.8333333333333334
    """
    k = len(scores)
    ways = comb(k, m)
    return sum(x * comb(at, m - 1) for at, x in enumerate(sorted(scores))) / ways


def any_of(hits: int, k: int, m: int) -> float:
    """Share of the ways to choose `m` of `k` samples that hold one of the hits.

    >>> any_of(1, 4, 2)
    0.5
    """
    return 1 - comb(k - hits, m) / comb(k, m)
