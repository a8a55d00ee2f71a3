"""Can enough of a set's examples be told by a measure that leaves some of them out?"""

from typing import TYPE_CHECKING

from audits.errors import MeasureError
from audits.estimand import Covers, Declared
from audits.sample import mostly, select

if TYPE_CHECKING:
    import pandas as pd


def require_covers(declared: Declared, given: Covers, frame: "pd.DataFrame") -> None:
    """Refuse a measure that leaves out more than it may.

    Rows that are invalid have a limit of their own (`audits.sample.TOLERATED`) and count here
    neither way.

    Raises:
        MeasureError: naming how many are left out, of how many, and the commonest reason.
    """
    asked = declared.model_copy(update={"where": given.where})
    chosen = select(asked, frame)
    if given.why not in frame:
        raise MeasureError(f"{declared.name}: records have no column {given.why!r}")
    why = frame[given.why].iloc[chosen.at][~chosen.lost].fillna("no reason is given")
    out = (why != "").to_numpy(dtype=bool)
    if out.sum() > given.most * len(out):
        raise MeasureError(
            f"{declared.name}: {int(out.sum())} of {len(out)} examples are left out"
            f"{mostly(why, out)}; at most {given.most:.0%} may be"
        )
