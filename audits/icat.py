"""StereoSet's ICAT: is meaning preferred to nonsense, and no stereotype to its opposite?"""

from dataclasses import replace

import numpy as np

from audits.columns import compact
from audits.errors import MeasureError
from audits.estimand import Declared, Icat
from audits.intervals import Floats, cluster_sums
from audits.resample import Resampled, Statistic
from audits.resample import interval as interval_of
from audits.sample import Selection, numbers
from audits.weakest import shared


def interval(
    declared: Declared, of: Icat, rows: Selection, level: float
) -> tuple[float, Resampled]:
    """LMS min(SS, 100 - SS) / 50 of the authors, of shares; and limits that hold at its kink.

    It is the lesser of 2 LMS SS and 2 LMS (1 - SS), each of which is smooth. Where both are
    alike the lesser that is drawn lies below the lesser that is, in every resample again. The
    lesser of both lower limits holds it, whichever it is; of upper ones, at half of what the
    level leaves out, either may be the lesser.
    """
    cluster, clusters = compact(rows.placed().cluster)
    weight = numbers(declared, rows, of.weight) if of.weight else np.ones(len(cluster))
    if weight.sum() <= 0:
        raise MeasureError(f"{declared.name}: nothing to divide by, all weights are 0")
    prefers, related = (numbers(declared, rows, c) for c in (of.prefers, of.related))
    sums = [cluster_sums(weight * c, cluster) for c in (prefers, related, np.ones_like(weight))]

    def side(sign: int) -> Statistic:
        def found(counts: Floats) -> Floats:
            liked, sensible, all_ = (column @ counts for column in sums)
            with np.errstate(invalid="ignore"):
                share = liked / all_ if sign > 0 else 1 - liked / all_
                return np.asarray(2 * sensible / all_ * share)

        return found

    plain, surer = (
        [
            interval_of(
                side(sign), clusters, at, trials=clusters, bca=False, cells=len(cluster)
            )
            for sign in (1, -1)
        ]
        for at in (level, shared(level, 2))
    )
    whole = np.ones((clusters, 1))
    value = min(float(side(sign)(whole)[0]) for sign in (1, -1))
    low, high = min(each.low for each in plain), min(each.high for each in surer)
    return value, replace(max(plain, key=lambda each: each.se), low=low, high=high)
