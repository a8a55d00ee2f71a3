"""A measure by group: how far do groups lie apart, and by more than chance?

The values are fairlearn's `MetricFrame`. Intervals redraw whole clusters, nulls exchange
labels (`audits.spreads`): largest minus smallest is never 0 and grows with the number of
groups, so neither its size nor its own bootstrap says that any group differs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from audits import exchange, spreads
from audits.columns import compact
from audits.errors import MeasureError
from audits.estimand import Able, Declared, Estimate, Lean, Ratio
from audits.gaps import gaps
from audits.intervals import Floats, Ints
from audits.sample import Sums, nameless, select, sums

if TYPE_CHECKING:
    import pandas as pd
    from fairlearn.metrics import MetricFrame

LEAST = 30
"""Fewer examples of a group are counted and compared with nothing."""
ENOUGH = 100
"""Fewer examples of a group are compared, and the group is never named."""


@dataclass(frozen=True, slots=True)
class Line:
    """One group: its value, and how far it lies from all other groups together.

    `estimate` is None, and so is everything that follows, where the group is too small; `p` is
    the chance of such a gap where groups do not differ, adjusted for their number (Holm);
    `null` is between what values 95 in 100 groups of this size lie by chance alone.
    """

    group: str
    n: int
    estimate: Estimate | None
    gap: float | None = None
    gap_low: float | None = None
    gap_high: float | None = None
    p: float | None = None
    null: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Apart:
    """Largest minus smallest between groups; `null` is what chance alone would show.

    `null` holds the mean and the 95 % quantile of the difference under exchanged labels, `p`
    the share of such labels that show as large a one. `ratio` is smallest over largest; None
    where values may be 0 or below.
    """

    value: float
    low: float
    high: float
    null: tuple[float, float]
    p: float
    ratio: float | None

    @property
    def excess(self) -> float:
        """How far the difference lies above its null's mean."""
        return self.value - self.null[0]


@dataclass(frozen=True, slots=True)
class Table:
    """A measure told by group.

    `worst` is the group with the worst value, or, where no end of the measure is good
    (`Declared.one_way`), the one that lies furthest from the others; `named` the same where
    the groups differ by more than chance, and so does this one among all (Holm). Empty where
    they do not.
    """

    measure: str
    by: str
    lines: tuple[Line, ...]
    apart: Apart
    worst: str
    named: str


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows of the groups that are large enough, and their codes."""

    num: Floats
    den: Floats
    group: Ints
    cluster: Ints
    names: tuple[str, ...]


def metric_frame(declared: Declared, frame: "pd.DataFrame", by: str = "group") -> "MetricFrame":
    """The measure as fairlearn's MetricFrame: `count` of rows and `value` by group.

    Raises:
        MeasureError: no ratio, a missing column, too many invalid rows, or fewer than two
            groups.
    """
    found, group, names = _grouped(declared, frame, by)
    if len(names) < 2:
        raise MeasureError(f"{declared.name}: {len(names)} group in {by}, a frame needs two")
    return _frame(found.num, found.den, np.asarray(names)[group])


def _frame(
    num: Floats, den: Floats, names: "np.ndarray[tuple[int], np.dtype[np.str_]]"
) -> "MetricFrame":
    from fairlearn.metrics import MetricFrame, count, mean_prediction

    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.where(den > 0, num / den, 0.0)
    return MetricFrame(
        metrics={"count": count, "value": mean_prediction},
        y_true=rate,
        y_pred=rate,
        sensitive_features=names,
        sample_params={"value": {"sample_weight": den}},
    )


def table(
    declared: Declared,
    frame: "pd.DataFrame",
    *,
    by: str = "group",
    least: int = LEAST,
    enough: int = ENOUGH,
    alpha: float = 0.05,
    resamples: int = spreads.RESAMPLES,
    draws: int = exchange.DRAWS,
) -> Table:
    """Tell a measure by the groups of a column of its records.

    Args:
        declared: a ratio or a leaning.
        frame: completed records; invalid rows count as worst, as in the measure itself.
        by: the column of groups.
        least: examples that a group must have to be compared.
        enough: and those it must have to be named.
        alpha: for naming a group, over all of them.
        resamples: of clusters, for the interval of the difference.
        draws: exchanges of labels, for the null.

    Raises:
        MeasureError: as `Declared.estimate`; or fewer than two groups are large enough.
    """
    declared.estimate(frame, level=0.95)  # what is absent as a whole has no groups either
    found, group, names = _grouped(declared, frame, by)
    held = [len(np.unique(found.placed.example[group == at])) for at in range(len(names))]
    large = [at for at, n in enumerate(held) if n >= least]
    if declared.given is not None:
        large = [at for at in large if _is_able(only(declared, by, names[at]), frame)]
    if len(large) < 2:
        can = " and the capability it takes" if declared.given else ""
        raise MeasureError(
            f"{declared.name}: {len(large)} of {len(names)} groups in {by} have {least} "
            f"examples and more{can}; to compare takes two"
        )
    rows = _of(found, group, large, names)
    twice = 2.0 if isinstance(declared.of, Lean) else 1.0
    cells = spreads.Cells.of(rows.num[:, None], rows.den[:, None], rows.group, rows.cluster)
    if (empty := cells.den.sum(axis=(0, 2)) == 0).any():
        raise MeasureError(
            f"{declared.name}: nothing to divide by in {by} {rows.names[int(empty.argmax())]}"
        )
    shuffled = exchange.Units.of(cells).shuffled(draws)
    apart = _apart(declared, rows, cells, shuffled, resamples)
    apart_from_rest = gaps(cells, shuffled, shares=_ratio(declared).proportion)
    by_chance = twice * spreads.rates_of(*shuffled)[:, :, 0] - (twice - 1)
    lines = [Line(name, n, None) for name, n in zip(names, held, strict=True)]
    for column, at in enumerate(large):
        gap = apart_from_rest[column]
        band = np.nanquantile(by_chance[:, column], (0.025, 0.975))
        lines[at] = replace(
            lines[at],
            estimate=only(declared, by, names[at]).estimate(frame, level=0.95),
            gap=twice * gap.value, gap_low=twice * gap.low, gap_high=twice * gap.high,
            p=gap.p, null=(float(band[0]), float(band[1])),
        )  # fmt: skip
    worst, sure = _worst(declared, [lines[at] for at in large], apart.p, enough, alpha)
    return Table(
        declared.name, by, tuple(lines), apart, worst.group, worst.group if sure else ""
    )


def _worst(
    declared: Declared, lines: Sequence[Line], p: float, enough: int, alpha: float
) -> tuple[Line, bool]:
    """The group that fares worst or lies furthest, and whether it may be named: if enough."""
    sign = 1 if declared.better == "lower" else -1

    def badness(line: Line) -> float:
        if declared.one_way:
            return sign * cast("Estimate", line.estimate).value
        return abs(line.gap or 0.0)

    worst = max(lines, key=badness)
    beyond = sign * (worst.gap or 0.0) > 0 or not declared.one_way
    return worst, worst.n >= enough and max(p, worst.p or 1.0) <= alpha and beyond


def _is_able(declared: Declared, frame: "pd.DataFrame") -> bool:
    """Whether a group has the capability that the measure means nothing without."""
    try:
        declared.estimate(frame, level=0.95)
    except MeasureError:
        return False
    return True


def only(declared: Declared, by: str, group: str) -> Declared:
    """The same measure over one group, where the group has the capability it asks for."""
    given = declared.given
    if isinstance(given, Able):
        given = given.model_copy(update={"where": {**given.where, by: group}})
    where = {**declared.where, by: group}
    return declared.model_copy(update={"where": where, "by": "", "given": given})


def _grouped(
    declared: Declared, frame: "pd.DataFrame", by: str
) -> tuple[Sums, Ints, tuple[str, ...]]:
    """Sums of the rows in the order of their examples, and the group of each."""
    of = _ratio(declared)
    chosen = select(declared, frame)
    if by not in frame:
        raise MeasureError(f"{declared.name}: records have no column {by!r} to group by")
    column = frame[by].iloc[chosen.at]
    if (homeless := nameless(column)).any():
        first = frame["example"].iloc[chosen.at].to_numpy()[homeless][0]
        raise MeasureError(
            f"{declared.name}: {int(homeless.sum())} records in no {by}, the first {first!r}"
        )
    names, group = np.unique(column.to_numpy(dtype=str), return_inverse=True)
    return sums(declared, of, frame, worst=True), group, tuple(map(str, names))


def _ratio(declared: Declared) -> Ratio:
    of = declared.of.share if isinstance(declared.of, Lean) else declared.of
    if not isinstance(of, Ratio):
        raise MeasureError(f"{declared.name}: only a ratio is told by group, not {of.kind}")
    return of


def _of(
    found: Sums,
    group: Ints,
    large: list[int],
    names: tuple[str, ...],
) -> _Rows:
    kept = np.isin(group, large)
    return _Rows(
        num=found.num[kept],
        den=found.den[kept],
        group=np.searchsorted(large, group[kept]),
        cluster=compact(found.placed.cluster[kept])[0],
        names=tuple(names[at] for at in large),
    )


def _apart(
    declared: Declared,
    rows: _Rows,
    cells: spreads.Cells,
    shuffled: tuple[Floats, Floats],
    resamples: int,
) -> Apart:
    lean = isinstance(declared.of, Lean)
    twice = 2.0 if lean else 1.0
    held = _frame(rows.num, rows.den, np.asarray(rows.names)[rows.group])
    value = float(held.difference(method="between_groups")["value"])
    least = float(held.group_min()["value"])
    ratio = float(held.ratio(method="between_groups")["value"])
    found = spreads.interval(cells, 0.95, resamples, shares=_ratio(declared).proportion)
    null = spreads.spread_of(*shuffled)
    return Apart(
        value=twice * value,
        low=twice * min(found.low, value),
        high=twice * max(found.high, value),
        null=(twice * float(null.mean()), twice * float(np.quantile(null, 0.95))),
        p=exchange.p_value(value, null),
        ratio=None if lean or least <= 0 else ratio,
    )
