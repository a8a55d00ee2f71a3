"""What a measure is computed from: declarations that are data, so a stranger can recompute.

An audit declares its measures before it runs. Each declaration names the record columns
and the statistic; the numbers follow from stored records alone, at any confidence level
and paired with any other model's records of the same examples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from audits.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

Better = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its two-sided interval; `se` is 0 where exact or where nothing varied.

    `skew` is how skewed the clusters are that a limit rests on which skew makes too short;
    0 where the limits hold whatever the skew.
    """

    value: float
    low: float
    high: float
    n: int
    clusters: int
    method: str
    se: float
    skew: float = 0.0


class Ratio(Settings):
    """Sum of `value` over sum of `over` (empty: the number of rows).

    A mean, a rate within a stratum, or a weighted rate: everything whose two sums run over
    examples. `weight` multiplies both sums (empty: 1), for a rate at a declared mix of
    strata; rows that add nothing to `over` still say how much one event could weigh.
    `proportion` says that 0 <= value <= over in every row, which allows score intervals
    that stay honest near 0 and 1.
    """

    kind: Literal["ratio"] = "ratio"
    value: str
    over: str = ""
    weight: str = ""
    proportion: bool = True


class Lean(Settings):
    """Twice a share minus one: -1 where nothing leans that way, 1 where everything does.

    `value` and `over` are a `Ratio`'s, and 0 <= value <= over; the limits are the share's, so
    none lies beyond -1 or 1. 0 is best, unless it is an `excess` above a null, of which less is
    no worse.
    """

    kind: Literal["lean"] = "lean"
    value: str
    over: str = ""
    weight: str = ""
    excess: bool = False

    @property
    def share(self) -> Ratio:
        """The share that is told."""
        return Ratio(value=self.value, over=self.over, weight=self.weight)


class Exact(Settings):
    """The single value of a column, known without sampling (a file's size)."""

    kind: Literal["exact"] = "exact"
    value: str


class Auroc(Settings):
    """Probability that a row with label 1 scores above one with label 0; ties count half.

    With `against`, a baseline score of the same rows, it is how far the one lies above the
    other in the direction that serves the baseline better, in each resample anew: a baseline
    that points the wrong way is no easier to beat.
    """

    kind: Literal["auroc"] = "auroc"
    score: str
    label: str
    against: str = ""


class RiskCoverage(Settings):
    """An area under the risk-coverage curve of a confidence; `audits.selective.areas`.

    `correct` is 1 or 0 in every row. The generalised area (`augrc`) weighs every failure
    alike; `aurc` weighs the surest most; `eaurc` is AURC above the best order's. With
    `against`, a baseline confidence of the same rows, it is how far the one lies above the
    other in the direction that serves the baseline better.
    """

    kind: Literal["risk_coverage"] = "risk_coverage"
    area: Literal["aurc", "augrc", "eaurc"] = "augrc"
    confidence: str
    correct: str
    against: str = ""


class CalibrationError(Settings):
    """Expected calibration error in equal-width bins (lo, hi], minus its own null.

    The null is the mean error of outcomes redrawn from the stated confidences:
    a perfectly calibrated model has an excess of 0 at every sample size.
    """

    kind: Literal["calibration_error"] = "calibration_error"
    confidence: str
    correct: str
    bins: Annotated[int, Field(ge=2)] = 15


class Binned(Settings):
    """A term of binned confidences: see `audits.binned.statistic`."""

    kind: Literal["binned"] = "binned"
    term: Literal["debiased", "reliability", "resolution"]
    confidence: str
    correct: str
    bins: Annotated[int, Field(ge=2)] = 15
    mass: bool = False
    """Bins of equal mass instead of equal width."""


class Consistency(Settings):
    """How often a calibrated model would show at least this calibration error, by chance.

    Its interval is of the draws behind it. It tests one model and compares with nothing.
    """

    kind: Literal["consistency"] = "consistency"
    confidence: str
    correct: str
    bins: Annotated[int, Field(ge=2)] = 15


class Above(Settings):
    """How far the mean of `value` lies above that of models that were drawn to know nothing.

    `nulls` are columns of the same by each of them, `over` the denominator of all. The interval
    is of what lies above one more model drawn like them: it holds 0 as often as it should of a
    model that is itself such a draw. See `audits.above`.
    """

    kind: Literal["above"] = "above"
    value: str
    nulls: Annotated[tuple[str, ...], Field(min_length=2)]
    over: str = ""


class Spread(Settings):
    """Largest minus smallest mean of `value` between the groups of a column.

    Of a decision (1 where somebody is selected) it is the demographic parity difference.
    `proportion` says that 0 <= value <= 1 in every row, without which a small group in which
    nothing happened has no limit. What a rule requires (`min_n`) it requires of every group.
    """

    kind: Literal["spread"] = "spread"
    value: str
    by: str = "group"
    proportion: bool = True


class Odds(Settings):
    """Equalized odds difference of a decision: how unlike groups fare who should fare alike.

    Of those with `truth` 1 and of those with 0, the largest minus smallest rate of `selected`
    between groups; the larger of both, or their mean (Hardt et al. 2016; fairlearn's
    `equalized_odds_difference` with `agg`). A rule's `min_n` holds in every group.
    """

    kind: Literal["odds"] = "odds"
    selected: str
    truth: str
    by: str = "group"
    over: Literal["worst_case", "mean"] = "worst_case"


class Variation(Settings):
    """Total variation of the groups' shares of what was counted, from even shares.

    `counts` are columns, one for each group. `against` are columns with the shares to compare
    with instead, `less` with shares whose own distance from even ones is taken off: how much
    farther the rows are from even than a text is. See `audits.variation`.
    """

    kind: Literal["variation"] = "variation"
    counts: Annotated[tuple[str, ...], Field(min_length=2)]
    against: tuple[str, ...] = ()
    less: tuple[str, ...] = ()


class Icat(Settings):
    """StereoSet's ICAT of two weighted shares: see `audits.icat`."""

    kind: Literal["icat"] = "icat"
    prefers: str
    related: str
    weight: str = ""


class Corrected(Settings):
    """The share that truly is so, behind a rate of flags by a detector that errs.

    `value` over `over` is the rate of flags. `roles` are values of the column `by`: the rows
    that were asked about, labelled rows that are so, and labelled rows that are not; see
    `audits.detector`.
    """

    kind: Literal["corrected"] = "corrected"
    value: str
    over: str = ""
    by: str = "role"
    roles: tuple[str, str, str]


class RankCorrelation(Settings):
    """Spearman's correlation, over clusters, of their means of two columns; ties share ranks.

    In each resample clusters are ranked anew.
    """

    kind: Literal["rank_correlation"] = "rank_correlation"
    score: str
    against: str


class Weakest(Settings):
    """The smallest mean of `value` among the named groups of a column; higher is better.

    For duties that pull against each other, as to answer and to be silent: what does all of
    one and none of the other is at 0. `value` lies in [0, 1]; see `audits.weakest`.
    """

    kind: Literal["weakest"] = "weakest"
    value: str
    by: str
    groups: Annotated[tuple[str, ...], Field(min_length=2)]


class Able(Settings):
    """A capability: the lower limit at 95 % of the mean of `value` lies above `above`.

    `where` says in which rows the capability shows, which need not be those measured.
    """

    kind: Literal["able"] = "able"
    value: str
    above: float
    where: Mapping[str, str] = {}


class Detects(Settings):
    """A capability of a detector: it surely flags more of what it should than of what not.

    The mean of `value` (1 where a text is flagged) in labelled rows, of which the column `by`
    says what they are: `roles` are those that should be flagged and those that should not.
    The limits at 95 % of both shares, together, must not meet; see `audits.detector`.
    """

    kind: Literal["detects"] = "detects"
    value: str
    by: str = "role"
    roles: tuple[str, str]


class Covers(Settings):
    """A property of the set: at most a share of its rows is left out by the measure.

    The column `why` says of each row why it is left out, and is empty where it is not. The
    share is counted, not estimated; see `audits.covering`.
    """

    kind: Literal["covers"] = "covers"
    why: str
    most: Annotated[float, Field(ge=0, lt=1)]
    where: Mapping[str, str] = {}
    """Of which rows the share is; of all of them where empty."""


Capability = Annotated[Auroc | Able | Detects | Covers, Field(discriminator="kind")]

Estimand = Annotated[
    Ratio
    | Lean
    | Above
    | Exact
    | Auroc
    | RiskCoverage
    | CalibrationError
    | Binned
    | Consistency
    | Spread
    | Odds
    | Variation
    | Icat
    | Corrected
    | RankCorrelation
    | Weakest,
    Field(discriminator="kind"),
]


class Declared(Settings):
    """A measure an audit promises: its name below the audit's, direction, unit, statistic."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+(/[A-Za-z0-9_.+-]+)*$")]
    better: Better
    about: str
    unit: str = "share"
    of: Estimand
    where: Mapping[str, str] = {}
    """Only rows whose columns hold exactly these values count."""
    by: str = ""
    """Column of groups that reports tell the measure by, beside the whole."""
    given: Capability | None = None
    """A capability that the measure means nothing without: absent unless the lower limit of
    this AUROC on the same rows, at 95 %, lies above a half, or that of a share above its own
    bound, or what a detector flags of what it should above what it flags of the rest; or unless
    few enough rows are left out."""
    diagnostic: str = ""
    """Why no level of it says that a model is good or bad, where none does. Such a measure may
    be watched and compared; a hard bound on it is warned of."""

    @property
    def one_way(self) -> bool:
        """Whether less of it, or more, is always worse.

        Not so of what has a sign, of which 0 is best, nor of a diagnostic: of such a measure no
        group is worst and no change a loss.
        """
        signed = isinstance(self.of, Lean | RankCorrelation)
        return not self.diagnostic and (not signed or getattr(self.of, "excess", False))

    @property
    def aim(self) -> str:
        """Which values are good, in words."""
        if self.one_way:
            return f"{self.better} is better"
        return "no level is good or bad" if self.diagnostic else "0 is best"

    def estimate(self, frame: "pd.DataFrame", *, level: float) -> Estimate:
        """Two-sided interval at `level`; MeasureError where there is nothing to measure."""
        from audits import stats

        return stats.estimate(self, frame, level=level)

    def difference(self, new: "pd.DataFrame", old: "pd.DataFrame", *, level: float) -> Estimate:
        """Paired difference new minus old on the same examples, two-sided at `level`."""
        from audits import stats

        return stats.difference(self, new, old, level=level)


def share(
    name: str,
    value: str,
    better: Better,
    about: str,
    where: Mapping[str, str] | None = None,
    *,
    over: str = "",
    weight: str = "",
    proportion: bool = True,
    unit: str = "share",
    diagnostic: str = "",
) -> Declared:
    """Declare a `Ratio`, which is what most measures are."""
    return Declared(
        name=name,
        better=better,
        about=about,
        unit=unit,
        where=where or {},
        of=Ratio(value=value, over=over, weight=weight, proportion=proportion),
        diagnostic=diagnostic,
    )
