"""What did a change do to each group, and which one may be said to suffer most?"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from audits.errors import MeasureError
from audits.estimand import Declared, Estimate, Lean, Ratio
from audits.evidence import Part
from audits.exchange import Units
from audits.gaps import Gap, gaps
from audits.groups import ENOUGH, LEAST, only
from audits.intervals import Ints, holm
from audits.pairing import pairing
from audits.ratios import Pair, paired
from audits.sample import borrow, nameless, select, sums
from audits.significance import change as tested
from audits.spreads import Cells

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Moved:
    """A group's paired difference, new minus old; `p` of no change, by Holm over the groups.

    `beyond` is how far that lies from the difference of all other groups together; its `p` is
    of no larger loss than theirs, by Holm as well. Without an estimate `absent` says why; a
    single group lies beyond no other.
    """

    group: str
    n: int
    estimate: Estimate | None
    p: float | None = None
    absent: str = ""
    beyond: Gap | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A measure's paired difference over all and by group.

    `moved` are the groups that changed by more than chance shows, among all (Holm), and `lost`
    those of them that got worse. `suffers` is the one that lost most, where it lost more than
    all other groups together, by more than chance shows, too (Holm); empty where none may be
    named. Where a change hurts everybody alike, all have lost and none suffers more; where no
    end of the measure is good (`Declared.one_way`), groups move and nobody loses.
    """

    measure: str
    by: str
    whole: Estimate
    groups: tuple[Moved, ...]
    moved: tuple[str, ...]
    lost: tuple[str, ...]
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
    beyond = _beyond(declared, by, [m.group for m in known], new, old)
    found = [replace(m, p=adjusted.get(m.group), beyond=beyond.get(m.group)) for m in found]
    sure = [m for m in found if m.n >= enough and m.p is not None and m.p <= alpha]
    lost = [m for m in sure if declared.one_way and _loss(declared, m) > 0]
    return Change(
        declared.name, by, whole, tuple(found), tuple(m.group for m in sure),
        tuple(m.group for m in lost), _suffers(declared, found, lost, alpha),
    )  # fmt: skip


def told(part: Part) -> tuple[Declared, ...]:
    """The measures of a part that are told by group: as declared, else its first over all.

    Only ratios and leanings whose records are in two groups at least.
    """
    ratios = [d for d in part.declared if isinstance(d.of, Ratio | Lean)]
    chosen = [d for d in ratios if d.by] or [
        d.model_copy(update={"by": "group"}) for d in ratios if not d.where
    ][:1]
    return tuple(d for d in chosen if _several(d, part.records))


def _several(declared: Declared, records: "pd.DataFrame") -> bool:
    """Whether two groups have something that the measure counts."""
    of, by = declared.of, declared.by
    if by not in records:
        return False
    held = ~nameless(records[by])
    if isinstance(of, Ratio | Lean) and of.over in records:
        held &= (records[of.over] != 0).to_numpy()
    return records[by][held].nunique() > 1


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


def _beyond(
    declared: Declared,
    by: str,
    names: list[str],
    new: "pd.DataFrame",
    old: "pd.DataFrame",
) -> dict[str, Gap]:
    """Each group's change against that of all others together; nothing of a single group."""
    if len(names) < 2:
        return {}
    of = declared.of.share if isinstance(declared.of, Lean) else declared.of
    assert isinstance(of, Ratio)
    new, old = (frame[frame[by].astype(str).isin(names)] for frame in (new, old))
    ours, theirs = sums(declared, of, new, worst=True), sums(declared, of, old, worst=False)
    pair, both = paired(declared, ours, theirs), pairing(declared, ours.placed, theirs.placed)
    group = np.empty(both.n, dtype=np.intp)
    column = new[by].iloc[select(declared, new).at].to_numpy(dtype=str)
    group[both.new] = np.searchsorted(names, column)
    cells = _changes(pair, group)
    wide = 2.0 if isinstance(declared.of, Lean) else 1.0
    if of.proportion:  # changes lie between -1 and 1: twice a share, minus one
        cells, wide = replace(cells, num=(cells.num + cells.den) / 2), 2 * wide
    worse = (1 if declared.better == "lower" else -1) if declared.one_way else 0
    found = gaps(cells, Units.of(cells).shuffled(), sign=worse, shares=of.proportion)
    return {
        name: Gap(wide * gap.value, wide * gap.low, wide * gap.high, gap.p)
        for name, gap in zip(names, found, strict=True)
    }


def _changes(pair: Pair, group: Ints) -> Cells:
    """Differences as rates of one sum, to first order where the models were asked unlike much.

    Where they were asked alike, an example's numerator is its own difference.
    """
    rates, sizes = [], []
    for num, den in ((pair.num_new, pair.den_new), (pair.num_old, pair.den_old)):
        total = np.bincount(group, den)
        rates.append(np.bincount(group, num) / total)
        sizes.append(total)
    middle = (sizes[0] + sizes[1]) / 2
    scales = [(middle / size)[group] for size in sizes]
    off = (pair.num_new - rates[0][group] * pair.den_new) * scales[0]
    off -= (pair.num_old - rates[1][group] * pair.den_old) * scales[1]
    den = (pair.den_new * scales[0] + pair.den_old * scales[1]) / 2
    num = off + (rates[0] - rates[1])[group] * den
    return Cells.of(num[:, None], den[:, None], group, pair.cluster, clusters=pair.clusters)


def _loss(declared: Declared, moved: Moved) -> float:
    """How much worse a group fares, in the measure's own direction."""
    sign = 1 if declared.better == "lower" else -1
    return sign * moved.estimate.value if moved.estimate else 0.0


def _suffers(declared: Declared, found: list[Moved], lost: list[Moved], alpha: float) -> str:
    most = max(found, key=lambda moved: _loss(declared, moved))
    sure = most in lost and most.beyond is not None and most.beyond.p <= alpha
    return most.group if sure else ""
