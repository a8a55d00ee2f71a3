"""Did anything change between two models, and where? Tests of no change at all.

A gate never passes by them, for "no significant difference" proves nothing; they are for
naming what changed, with Holm's adjustment where one of many is named.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from audits.errors import MeasureError
from audits.estimand import Declared, Lean, Ratio
from audits.intervals import Floats, cluster_sums, holm, influence_se
from audits.ratios import paired
from audits.resample import BATCH, SEED
from audits.sample import borrow, sums

if TYPE_CHECKING:
    import pandas as pd

SWAPS = 1_999
"""Random swaps; every one is tried where there are no more than so many (10 clusters)."""
MANY = 5_000
"""Above so many clusters Student's t is as good, and a thousand times as fast."""


def mcnemar(b: int, c: int) -> float:
    """Exact two-sided p-value of McNemar's test; 1 where no pair is discordant.

    Args:
        b: pairs where only the new model has the property.
        c: pairs where only the old one has it.

    >>> round(mcnemar(12, 3), 8)
    0.03515625
    """
    from scipy import special  # statsmodels has it too, and takes a second to load

    return min(1.0, 2 * float(special.bdtr(min(b, c), b + c, 0.5))) if b + c else 1.0


def sign_flip(num_new: Floats, den_new: Floats, num_old: Floats, den_old: Floats) -> float:
    """Two-sided p-value of a difference of ratios, by swapping the models cluster by cluster.

    Were the models alike, either could have given either of a cluster's answers. Exact for
    up to 10 clusters, else from seeded random swaps; 1 for a single cluster or no change.

    Args:
        num_new: numerators of the new model, summed within each cluster.
        den_new: its denominators.
        num_old: the same of the old model.
        den_old: the same of the old model.
    """
    from scipy import stats

    middle = np.array([num_new.sum() + num_old.sum(), den_new.sum() + den_old.sum()])
    change = np.stack([num_new - num_old, den_new - den_old])
    if len(num_new) < 2 or not change.any():
        return 1.0

    def difference(sign: Floats, axis: int = -1) -> Floats:
        top, bottom = np.moveaxis(np.moveaxis(sign, axis, -1) @ change.T, -1, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = (middle[0] + top) / (middle[1] + bottom)
            found = found - (middle[0] - top) / (middle[1] - bottom)
        return np.asarray(np.where(np.isfinite(found), found, np.inf))

    found = stats.permutation_test(
        (np.ones(len(num_new)),),
        difference,
        permutation_type="samples",
        vectorized=True,
        n_resamples=SWAPS,
        batch=max(1, BATCH // len(num_new)),
        rng=np.random.default_rng(SEED),
    )
    return min(1.0, float(found.pvalue))


def change(declared: Declared, new: "pd.DataFrame", old: "pd.DataFrame") -> tuple[float, str]:
    """Two-sided p-value of no change in a ratio on the same examples, and its method.

    Raises:
        MeasureError: as `audits.stats.difference`, or the measure is no ratio.
    """
    of = declared.of.share if isinstance(declared.of, Lean) else declared.of
    if not isinstance(of, Ratio):
        raise MeasureError(f"{declared.name}: a test of change needs a ratio, not {of.kind}")
    new, old = borrow(declared, new, old), borrow(declared, old, new)
    ours, theirs = (sums(declared, of, new, worst=True), sums(declared, of, old, worst=False))
    pair = paired(declared, ours, theirs)
    if pair.binary and len(pair.num_new) == pair.clusters:
        flipped = pair.num_new - pair.num_old
        return mcnemar(int((flipped > 0).sum()), int((flipped < 0).sum())), "exact McNemar"
    if pair.clusters > MANY:
        return _t_test(pair.value(), influence_se(pair.influence())), "clustered t"
    columns = (pair.num_new, pair.den_new, pair.num_old, pair.den_old)
    return sign_flip(*(cluster_sums(c, pair.cluster) for c in columns)), "sign flip by cluster"


def changed(p_values: Mapping[str, float], alpha: float) -> tuple[str, ...]:
    """Names that may be said to have changed, so that one is wrong with chance `alpha` at most.

    >>> changed({"a": 0.04, "b": 0.01, "c": 0.5}, 0.05)
    ('b',)
    """
    adjusted = holm(list(p_values.values()))
    return tuple(n for n, p in zip(p_values, adjusted, strict=True) if p <= alpha)


def _t_test(value: float, se: float) -> float:
    return math.erfc(abs(value) / se / math.sqrt(2)) if se > 0 else 1.0
