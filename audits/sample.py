"""Which rows does a declared measure count, and what does an unusable row count as?"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from audits.columns import Bools, Coded, coded, present, remembered, storage
from audits.errors import MeasureError
from audits.estimand import Declared, Ratio
from audits.intervals import Floats, Ints

if TYPE_CHECKING:
    import pandas as pd

TOLERATED = 0.02
"""More invalid rows than this share leave nothing that may be called a measurement."""


@dataclass(frozen=True, eq=False)
class Selection:
    """The rows of a frame that a measure counts, in the order of their examples.

    `at` holds their positions in the frame, or the slice of all of it.
    """

    frame: "pd.DataFrame"
    at: Ints | slice
    lost: Bools

    def rows(self) -> "pd.DataFrame":
        """The selected rows themselves."""
        return self.frame.iloc[self.at]

    def keep(self, kept: Bools) -> "Selection":
        """Only those of the selected rows."""
        at = np.arange(len(self.frame))[self.at][kept]
        return Selection(self.frame, at, self.lost[kept])

    def placed(self) -> "Placed":
        """To which example and cluster each row belongs."""
        owner = owners(self.frame)
        example, cluster = coded(self.frame["example"]), coded(owner)
        if self.at is example.order:
            in_order = _in_order_of(owner, self.frame["example"])
            return Placed(example, example.ordered, cluster, in_order)
        return Placed(example, example.codes[self.at], cluster, cluster.codes[self.at])


@remembered
def _in_order_of(column: "pd.Series", example: "pd.Series") -> Ints:
    return coded(column).codes[coded(example).order]


@dataclass(frozen=True, eq=False)
class Placed:
    """Example and cluster of each row, as codes: positions in the sorted names."""

    examples: Coded
    example: Ints
    clusters: Coded
    cluster: Ints

    def keep(self, kept: Bools) -> "Placed":
        """Only those rows."""
        return replace(self, example=self.example[kept], cluster=self.cluster[kept])


@dataclass(frozen=True, eq=False)
class Sums:
    """Numerator and denominator of each row, after weights, with its example and cluster.

    Rows come in the order of their examples. `heaviest_cluster` is the most that the rows of
    one cluster could have added to the denominator, whether or not they did (0 where no
    weights were applied): a stratum in which nothing happened must not make a rate look
    certain. `heaviest_row` is the same of one row. `binary` says that every numerator is 0 or
    all of its denominator.
    """

    placed: Placed
    num: Floats
    den: Floats
    heaviest_row: float
    heaviest_cluster: float
    binary: bool

    def counted(self) -> "Sums":
        """Only the rows that add to a sum."""
        kept = (self.den != 0) | (self.num != 0)
        if kept.all():
            return self
        return replace(
            self,
            placed=self.placed.keep(kept),
            num=self.num[kept],
            den=self.den[kept],
        )


def select(declared: Declared, frame: "pd.DataFrame") -> Selection:
    """Rows that `declared.where` asks for, in the order of their examples.

    An invalid row whose stratum is not known belongs to every stratum: losing a record
    must not improve any of them.

    Raises:
        MeasureError: no rows, a missing column, or too many invalid rows.
    """
    lost = invalid(frame["why"])
    kept = np.ones(len(frame), dtype=bool)
    for column, wanted in declared.where.items():
        if column not in frame:
            raise MeasureError(f"{declared.name}: records have no column {column!r}")
        fits = holds(frame[column], wanted)
        if lost.any():
            fits = fits | (lost & nameless(frame[column]))
        kept &= fits
    if not (kept & ~lost).any():
        because = mostly(frame["why"], kept & lost)
        raise MeasureError(f"{declared.name}: no valid records{_place(declared)}{because}")
    _limit_invalid(declared, frame["why"], kept, lost)
    at = _in_order(declared, frame, kept)
    return Selection(frame, at, lost[at] if lost.any() else np.zeros(kept.sum(), dtype=bool))


def _in_order(declared: Declared, frame: "pd.DataFrame", kept: Bools) -> Ints | slice:
    import pandas as pd

    examples = coded(frame["example"])
    if examples.codes.min() < 0:
        raise MeasureError(f"{declared.name}: a record names no example")
    order = examples.order
    if "sample" in frame:
        both = pd.DataFrame({"example": examples.codes, "sample": frame["sample"].array})
        sample = both["sample"].to_numpy()
        again = both["example"].diff().to_numpy()[1:] == 0
        if order is not None or not (sample[1:][again] > sample[:-1][again]).all():
            order = both.sort_values(["example", "sample"], kind="stable").index.to_numpy()
    if kept.all():
        return slice(None) if order is None else order
    return np.flatnonzero(kept) if order is None else order[kept[order]]


def holds(column: "pd.Series", wanted: str) -> Bools:
    """Rows in which a column, written as text, is exactly `wanted`."""
    import pandas as pd

    if storage(column) is not None:
        found = coded(column)
        return np.asarray(found.codes == found.of(wanted))
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biu":
        codes, values = pd.factorize(column)
        return (pd.Series(values).astype(str) == wanted).to_numpy(dtype=bool)[codes]
    return (column.astype(str) == wanted).to_numpy(dtype=bool)


def nameless(column: "pd.Series") -> Bools:
    """Rows in which a column holds nothing, or empty text."""
    empty = column.isna().to_numpy(dtype=bool)
    if column.dtype.kind in "biuf":
        return empty
    return empty | (column.astype(str) == "").to_numpy(dtype=bool)


def counts(declared: Declared, frame: "pd.DataFrame") -> tuple[int, int]:
    """Valid examples in the measure's stratum, and their clusters.

    Raises:
        MeasureError: a missing column.
    """
    for column in declared.where:
        if column not in frame:
            raise MeasureError(f"{declared.name}: records have no column {column!r}")
    strata = (frame[column] for column in declared.where)
    rows = frame["why"], frame["example"], owners(frame)
    return _counts(*rows, *strata, wanted=tuple(declared.where.values()))


def counts_by(
    declared: Declared, frame: "pd.DataFrame", by: str
) -> Mapping[str, tuple[int, int]]:
    """The same of each group that a column makes.

    Raises:
        MeasureError: a missing column.
    """
    if by not in frame:
        raise MeasureError(f"{declared.name}: records have no column {by!r}")
    names = sorted(set(frame[by][~nameless(frame[by])].astype(str)))
    where = {name: {**declared.where, by: name} for name in names}
    return {
        n: counts(declared.model_copy(update={"where": w}), frame) for n, w in where.items()
    }


@remembered
def _counts(
    why: "pd.Series",
    example: "pd.Series",
    owner: "pd.Series",
    *strata: "pd.Series",
    wanted: tuple[str, ...],
) -> tuple[int, int]:
    kept = ~invalid(why)
    for column, value in zip(strata, wanted, strict=True):
        kept = kept & holds(column, value)
    first, second = (
        int(np.count_nonzero(present(found.codes[kept & (found.codes >= 0)])))
        for found in (coded(example), coded(owner))
    )
    return first, second


@remembered
def invalid(why: "pd.Series") -> Bools:
    """Rows that give a reason for having no values."""
    return (why != "").to_numpy(dtype=bool)


def numbers(declared: Declared, chosen: Selection, column: str) -> Floats:
    """A column of the selected rows as floats; finite wherever the row is valid."""
    if column not in chosen.frame:
        raise MeasureError(f"{declared.name}: records have no column {column!r}")
    held = chosen.frame[column]
    try:
        values = held.to_numpy(dtype=np.float64, na_value=np.nan)[chosen.at]
    except (TypeError, ValueError) as error:
        raise MeasureError(f"{declared.name}: column {column!r} holds no numbers") from error
    bad = ~np.isfinite(values) & ~chosen.lost
    if bad.any():
        example = chosen.rows()["example"].iloc[int(bad.argmax())]
        raise MeasureError(
            f"{declared.name}: {column} of example {example!r} is not finite"
            f" ({int(bad.sum())} such valid records)"
        )
    return values


def complete(declared: Declared, chosen: Selection) -> Selection:
    """The rows, where every one is valid: for statistics that know no worst case."""
    lost = chosen.lost
    if lost.any():
        raise MeasureError(
            f"{declared.name}: {int(lost.sum())} invalid records, the first because"
            f" {chosen.rows()['why'].to_numpy()[lost][0]!r}, and no worst case to count them as"
        )
    return chosen


def sums(
    declared: Declared, of: Ratio, frame: "pd.DataFrame", *, worst: bool, alone: bool = False
) -> Sums:
    """Numerators and denominators; invalid rows count at their `worst`, or at their best.

    Only a proportion has a worst case: elsewhere one invalid row is a MeasureError. `alone`
    says that no other model's records will tell of which cluster a lost row was.
    """
    chosen = select(declared, frame)
    lost = chosen.lost
    if not of.proportion:
        complete(declared, chosen)
    value = numbers(declared, chosen, of.value)
    over, weight = (
        numbers(declared, chosen, column) if column else np.broadcast_to(1.0, len(lost))
        for column in (of.over, of.weight)
    )
    if lost.any():
        most = over[~lost].max()
        over = np.where(lost & ~(np.isfinite(over) & (over != 0)), most, over)
        weight = np.where(np.isfinite(weight), weight, weight[~lost].max())
        bad = float((declared.better == "lower") == worst)
        value = np.where(lost, bad * over, value)
    binary = of.proportion and bool(((value == 0) | (value == over)).all())
    shares = binary or not of.proportion or (value >= -1e-9) & (value <= over + 1e-9)
    if not np.all(shares):
        raise MeasureError(f"{declared.name}: {of.value} is no share of {of.over or 1}")
    if (of.over and (over < 0).any()) or (of.weight and (weight < 0).any()):
        raise MeasureError(f"{declared.name}: a denominator or weight is negative")
    placed = chosen.placed()
    if alone and lost.any():
        placed = _together(placed, lost)
    potential = over.max() * weight if of.weight else np.zeros(1)
    heaviest = np.bincount(placed.cluster, weights=potential).max() if of.weight else 0.0
    return Sums(
        placed=placed,
        num=value * weight if of.weight else value,
        den=over * weight if of.weight else over,
        heaviest_row=float(potential.max()),
        heaviest_cluster=float(heaviest),
        binary=binary,
    )


def _together(placed: Placed, lost: Bools) -> Placed:
    """Lost rows of clusters that nothing else is in, as one cluster.

    Of which they were is not known, and each by itself they would look like more clusters
    than were drawn: losing one that failed would make its failure look less of one.
    """
    clusters = np.unique(placed.cluster[~lost])
    if len(clusters) == len(np.unique(placed.example[~lost])):
        return placed  # every example is its own
    strayed = lost & ~np.isin(placed.cluster, clusters)
    if not strayed.any():
        return placed
    first = placed.cluster[strayed].min()
    return replace(placed, cluster=np.where(strayed, first, placed.cluster))


def owners(frame: "pd.DataFrame") -> "pd.Series":
    """The cluster of each row; a row without one is its own."""
    cluster, example = frame["cluster"], frame["example"]
    found = _owners(cluster, example)
    return cluster if found is None else found


@remembered
def _owners(cluster: "pd.Series", example: "pd.Series") -> "pd.Series | None":
    alone = nameless(cluster)
    return cluster.mask(alone, example) if alone.any() else None


def borrow(declared: Declared, frame: "pd.DataFrame", other: "pd.DataFrame") -> "pd.DataFrame":
    """Fill what lost rows of `frame` do not know of their example from `other`'s rows.

    Clusters, groups and strata belong to the example, not to the model that was asked.
    """
    if not invalid(frame["why"]).any():
        return frame
    wanted = ["cluster", *declared.where]
    if isinstance(declared.of, Ratio) and declared.of.weight:
        wanted.append(declared.of.weight)
    rows = frame["example"], frame["why"], other["example"]
    found: dict[str, pd.Series] = {}
    for column in dict.fromkeys(wanted):
        if column in frame and column in other:
            made = _filled(frame[column], other[column], *rows, own=column == "cluster")
            found |= {} if made is None else {column: made}
    return frame.assign(**found) if found else frame


@remembered
def _filled(
    column: "pd.Series",
    other: "pd.Series",
    example: "pd.Series",
    why: "pd.Series",
    other_example: "pd.Series",
    *,
    own: bool,
) -> "pd.Series | None":
    """`column`, where lost rows that hold nothing hold what the other knows; None: as it is.

    With `own`, a value that is the example's own name is nothing either.
    """
    import pandas as pd

    lost, near = _lost_and_near(example, why, other_example)
    ours = pd.DataFrame({"example": example.array[lost], "held": column.array[lost]})
    theirs = pd.DataFrame({"example": other_example.array[near], "held": other.array[near]})
    needy, knows = (
        nameless(f["held"]) | (own & (f["held"] == f["example"]).to_numpy(dtype=bool))
        for f in (ours, theirs)
    )
    # Sorted, so that which of an example's samples is asked does not hang on their order.
    known = theirs[~knows].sort_values(["example", "held"]).drop_duplicates("example")
    fill = ours["example"].map(known.set_index("example")["held"])
    hit = needy & fill.notna().to_numpy()
    if not hit.any():
        return None
    found = column.copy()
    found.iloc[lost[hit]] = fill[hit].array
    return found


@remembered
def _lost_and_near(
    example: "pd.Series", why: "pd.Series", other_example: "pd.Series"
) -> tuple[Ints, Ints]:
    """Positions of lost rows, and of the other's rows of the same examples."""
    lost = np.flatnonzero(invalid(why))
    return lost, np.flatnonzero(other_example.isin(example.array[lost]).to_numpy())


def _limit_invalid(declared: Declared, why: "pd.Series", kept: Bools, lost: Bools) -> None:
    missed, n = int((kept & lost).sum()), int(kept.sum())
    if missed > TOLERATED * n:
        raise MeasureError(
            f"{declared.name}: {missed} of {n} records are invalid"
            f"{_place(declared)}{mostly(why, kept & lost)}"
        )


def mostly(why: "pd.Series", lost: Bools) -> str:
    """The commonest reason among lost rows, where there are any."""
    return f", most often because {why[lost].mode().iloc[0]!r}" if lost.any() else ""


def _place(declared: Declared) -> str:
    where = ", ".join(f"{k} is {v}" for k, v in declared.where.items())
    return f" where {where}" if where else ""
