"""Which rows does a declared measure count, and what does an unusable row count as?"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from audits.errors import MeasureError
from audits.estimand import Declared, Ratio
from audits.intervals import Floats, Ints, kish

if TYPE_CHECKING:
    import pandas as pd

Names = npt.NDArray[np.str_]

TOLERATED = 0.02
"""More invalid rows than this share leave nothing that may be called a measurement."""


@dataclass(frozen=True, eq=False)
class Sums:
    """Numerator and denominator of each row, after weights, with its cluster.

    `heaviest_row` and `heaviest_cluster` are the most that one row, and the rows of one
    cluster, could have added to the denominator, whether or not they did (infinitely
    little, 0, where no weights were applied). `binary` says that every numerator is 0 or
    all of its denominator.
    """

    example: Names
    cluster: Names
    num: Floats
    den: Floats
    heaviest_row: float
    heaviest_cluster: float
    binary: bool

    def codes(self) -> Ints:
        """Clusters as numbers from 0, in the order of their names."""
        return np.unique(self.cluster, return_inverse=True)[1]

    def counted(self) -> "Sums":
        """Only the rows that add to a sum."""
        kept = (self.den != 0) | (self.num != 0)
        return replace(
            self,
            example=self.example[kept],
            cluster=self.cluster[kept],
            num=self.num[kept],
            den=self.den[kept],
        )

    def most_trials(self, heaviest: float) -> float:
        """Upper bound on the independent trials this sample is worth.

        Where rows carry weights, no more than the denominator holds of the heaviest row
        or cluster that was asked: a stratum in which nothing happened must not make a
        rate look certain.
        """
        bound = kish(self.den[self.den > 0]) if self.binary else np.inf
        if heaviest > 0:
            bound = min(bound, float(self.den.sum()) / heaviest)
        return float(bound)


def select(declared: Declared, frame: "pd.DataFrame") -> "pd.DataFrame":
    """Rows that `declared.where` asks for, in the order of their examples.

    An invalid row whose stratum is not known belongs to every stratum: losing a record
    must not improve any of them.

    Raises:
        MeasureError: no rows, a missing column, or too many invalid rows.
    """
    kept = np.ones(len(frame), dtype=bool)
    lost = frame["why"].to_numpy() != ""
    for column, wanted in declared.where.items():
        if column not in frame:
            raise MeasureError(f"{declared.name}: records have no column {column!r}")
        held = frame[column]
        fits = (held.astype(str) == wanted).to_numpy()
        if lost.any():
            fits = fits | (lost & (held.isna() | (held.astype(str) == "")).to_numpy())
        kept &= fits
    rows = frame[kept]
    if (rows["why"] == "").sum() == 0:
        raise MeasureError(f"{declared.name}: no valid records{_place(declared)}")
    _limit_invalid(declared, rows)
    order = ["example", "sample"] if "sample" in rows else ["example"]
    return rows.sort_values(order, kind="stable")


def numbers(declared: Declared, rows: "pd.DataFrame", column: str) -> Floats:
    """A column as floats; finite wherever the row is valid."""
    if column not in rows:
        raise MeasureError(f"{declared.name}: records have no column {column!r}")
    try:
        values = rows[column].to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise MeasureError(f"{declared.name}: column {column!r} holds no numbers") from error
    bad = ~np.isfinite(values) & (rows["why"].to_numpy() == "")
    if bad.any():
        example = rows["example"].iloc[int(bad.argmax())]
        raise MeasureError(
            f"{declared.name}: {column} of example {example!r} is not finite"
            f" ({int(bad.sum())} such valid records)"
        )
    return values


def complete(declared: Declared, rows: "pd.DataFrame") -> "pd.DataFrame":
    """The rows, where every one is valid: for statistics that know no worst case."""
    lost = rows["why"].to_numpy() != ""
    if lost.any():
        raise MeasureError(
            f"{declared.name}: {int(lost.sum())} invalid records, the first because"
            f" {rows['why'].to_numpy()[lost][0]!r}, and no worst case to count them as"
        )
    return rows


def sums(declared: Declared, of: Ratio, frame: "pd.DataFrame", *, worst: bool) -> Sums:
    """Numerators and denominators; invalid rows count at their `worst`, or at their best.

    Only a proportion has a worst case: elsewhere one invalid row is a MeasureError.
    """
    rows = select(declared, frame)
    lost = rows["why"].to_numpy() != ""
    if not of.proportion:
        complete(declared, rows)
    value = numbers(declared, rows, of.value)
    over = numbers(declared, rows, of.over) if of.over else np.ones(len(rows))
    weight = numbers(declared, rows, of.weight) if of.weight else np.ones(len(rows))
    over = np.where(lost & ~np.isfinite(over), over[~lost].max(), over)
    over = np.where(lost & (over == 0), over[~lost].max(), over)
    weight = np.where(np.isfinite(weight), weight, weight[~lost].max())
    bad = float((declared.better == "lower") == worst)
    value = np.where(lost, bad * over, value)
    if of.proportion and not ((value >= -1e-9) & (value <= over + 1e-9)).all():
        raise MeasureError(f"{declared.name}: {of.value} is no share of {of.over or 1}")
    if (over < 0).any() or (weight < 0).any():
        raise MeasureError(f"{declared.name}: a denominator or weight is negative")
    cluster = cluster_names(rows)
    potential = over.max() * weight if of.weight else np.zeros(len(rows))
    codes = np.unique(cluster, return_inverse=True)[1]
    return Sums(
        example=rows["example"].to_numpy(dtype=str),
        cluster=cluster,
        num=value * weight,
        den=over * weight,
        heaviest_row=float(potential.max()),
        heaviest_cluster=float(np.bincount(codes, weights=potential).max()),
        binary=of.proportion and bool(((value == 0) | (value == over)).all()),
    )


def cluster_names(rows: "pd.DataFrame") -> Names:
    """The cluster of each row; a row without one is its own."""
    return rows["cluster"].where(rows["cluster"] != "", rows["example"]).to_numpy(dtype=str)


def borrow(declared: Declared, frame: "pd.DataFrame", other: "pd.DataFrame") -> "pd.DataFrame":
    """Fill what lost rows of `frame` do not know of their example from `other`'s rows.

    Clusters, groups and strata belong to the example, not to the model that was asked.
    """
    lost = (frame["why"] != "").to_numpy()
    if not lost.any():
        return frame
    weight = getattr(declared.of, "weight", "")
    known = other[other["why"] == ""].drop_duplicates("example").set_index("example")
    found = frame.copy()
    for column in {"cluster", *declared.where, *([weight] if weight else [])}:
        if column not in found or column not in known:
            continue
        theirs = found["example"].map(known[column])
        unknown = lost & (found[column].isna() | (found[column].astype(str) == "")).to_numpy()
        if column == "cluster":
            unknown = lost & (found["cluster"] == found["example"]).to_numpy()
        found[column] = found[column].where(~(unknown & theirs.notna().to_numpy()), theirs)
    return found


def same_examples(declared: Declared, new: Names, old: Names) -> None:
    """Raise MeasureError where the two sides do not hold the same examples."""
    unpaired = np.setxor1d(new, old)
    if len(unpaired):
        raise MeasureError(
            f"{declared.name}: {len(unpaired)} examples are unpaired, the first"
            f" {str(unpaired[0])!r}; compare models on the same examples"
        )


def _limit_invalid(declared: Declared, rows: "pd.DataFrame") -> None:
    reasons = rows.loc[rows["why"] != "", "why"]
    if len(reasons) > TOLERATED * len(rows):
        raise MeasureError(
            f"{declared.name}: {len(reasons)} of {len(rows)} records are invalid"
            f"{_place(declared)}, most often because {reasons.mode().iloc[0]!r}"
        )


def _place(declared: Declared) -> str:
    where = ", ".join(f"{k} is {v}" for k, v in declared.where.items())
    return f" where {where}" if where else ""
