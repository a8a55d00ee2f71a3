"""What did a change do to each group, and which one may be said to suffer most?"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from audits.errors import MeasureError
from audits.estimand import Declared, Estimate, Lean, Ratio
from audits.evidence import Part
from audits.groups import ENOUGH, LEAST, only
from audits.intervals import holm
from audits.sample import borrow, nameless
from audits.significance import change as tested

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Moved:
    """A group's paired difference, new minus old; `p` of no change, by Holm over the groups.

    Without an estimate `absent` says why.
    """

    group: str
    n: int
    estimate: Estimate | None
    p: float | None = None
    absent: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """A measure's paired difference over all and by group.

    `suffers` is the group that lost most, in the measure's own direction, where its loss is
    sure among all groups (Holm); empty where none may be named.
    """

    measure: str
    by: str
    whole: Estimate
    groups: tuple[Moved, ...]
    suffers: str


def change(
    declared: Declared,
    new: "pd.DataFrame",
    old: "pd.DataFrame",
    *,
    by: str = "group",
    least: int = LEAST,
    enough: int = ENOUGH,
    alpha: float = 0.05,
) -> Change:
    """Compare two models on the same examples, over all and in every group of a column.

    Args:
        declared: a ratio or a leaning.
        new: completed records of the changed model.
        old: of the model it was made from.
        by: the column of groups.
        least: examples that a group must have to be compared.
        enough: and those it must have to be named.
        alpha: for naming the one that suffers, over all groups.

    Raises:
        MeasureError: as `Declared.difference`; or the records have no groups.
    """
    whole = declared.difference(new, old, level=0.95)
    if by not in new or by not in old:
        raise MeasureError(f"{declared.name}: records have no column {by!r} to group by")
    # A record lost on one side is of the group that the other knows.
    placed = declared.model_copy(update={"where": {**declared.where, by: ""}})
    new, old = borrow(placed, new, old), borrow(placed, old, new)
    names = sorted(set(new[by][~nameless(new[by])].astype(str)))
    found = [_moved(only(declared, by, name), name, new, old, least) for name in names]
    if all(m.estimate is None for m in found):
        raise MeasureError(f"{declared.name}: {found[0].absent if found else 'no groups'}")
    known = [m for m in found if m.p is not None]
    adjusted = dict(
        zip((m.group for m in known), holm([m.p or 0.0 for m in known]), strict=True)
    )
    found = [replace(m, p=adjusted.get(m.group)) for m in found]
    return Change(
        declared.name, by, whole, tuple(found), _suffers(declared, found, enough, alpha)
    )


def told(part: Part) -> tuple[Declared, ...]:
    """The measures of a part that are told by group: as declared, else its first over all.

    Only ratios and leanings whose records are in two groups at least.
    """
    ratios = [d for d in part.declared if isinstance(d.of, Ratio | Lean)]
    chosen = [d for d in ratios if d.by] or [
        d.model_copy(update={"by": "group"}) for d in ratios if not d.where
    ][:1]
    return tuple(d for d in chosen if _several(part.records, d.by))


def _several(records: "pd.DataFrame", by: str) -> bool:
    return by in records and records[by][~nameless(records[by])].nunique() > 1


def _moved(
    declared: Declared, name: str, new: "pd.DataFrame", old: "pd.DataFrame", least: int
) -> Moved:
    try:
        found = declared.difference(new, old, level=0.95)
        if found.n < least:
            few = f"{found.n} examples where {least} are required"
            return Moved(name, found.n, None, absent=few)
        return Moved(name, found.n, found, tested(declared, new, old)[0])
    except MeasureError as error:
        return Moved(name, 0, None, absent=str(error))


def _suffers(declared: Declared, found: list[Moved], enough: int, alpha: float) -> str:
    sign = 1 if declared.better == "lower" else -1
    lost = [
        (sign * m.estimate.value, m)
        for m in found
        if m.estimate is not None and sign * m.estimate.value > 0
    ]
    if not lost:
        return ""
    most = max(lost, key=lambda pair: pair[0])[1]
    sure = most.n >= enough and most.p is not None and most.p <= alpha
    return most.group if sure else ""
