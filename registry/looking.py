"""How does a rule get from the name of a measure to numbers it may judge?"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from audits.errors import MeasureError
from audits.estimand import Better, Declared, Estimate, Exact, Odds, Spread
from audits.evidence import Evidence, Part
from registry.finding import PROFILE, Case

if TYPE_CHECKING:
    import pandas as pd

POWER = 0.8
"""Chance of settling the question that "needs n" is computed for."""

OF_THE_MODEL = frozenset({"backend", "dtype", "format", "quantization"})
"""Conditions that describe the variant itself. A rule on time asks what its user would feel
on the same machine; that a 4-bit file runs in another program is what is being judged."""

COUNTED = frozenset({"bytes", "parameters"})
"""Units of a profile that any machine counts alike."""
ENERGY_STATUS = ("energy_status", "energy")
"""Where a part's conditions or notes say how its joules were obtained."""
ENERGY_UNITS = frozenset({"J", "mJ", "kJ", "Wh", "kWh", "J/token", "mJ/token", "W"})


class Unsettled(Exception):
    """Why a rule can decide nothing; becomes the finding's sentence."""


@dataclass(frozen=True, slots=True)
class Limits:
    """An estimate as a rule sees it.

    `low` is a one-sided lower limit, `high` an upper one, each at level 1 - alpha, both
    wide enough to hold whether invalid records count as good or as bad.
    """

    pessimistic: Estimate
    low: float
    high: float

    @classmethod
    def of(cls, pessimistic: Estimate, *optimistic: Estimate) -> "Limits":
        """Join the two treatments of invalid records, where there are some."""
        held = (pessimistic, *optimistic)
        for e in held:
            if not all(map(math.isfinite, (e.low, e.value, e.high))):
                raise MeasureError(f"({e.low}, {e.value}, {e.high}) is no finite estimate")
            if not e.low <= e.value <= e.high:
                raise MeasureError(f"{e.value} lies outside [{e.low}, {e.high}]")
        return cls(pessimistic, min(e.low for e in held), max(e.high for e in held))


@dataclass(frozen=True, eq=False)
class Sight:
    """A declared measure of one model with the records behind it."""

    name: str
    part: Part
    declared: Declared
    frame: "pd.DataFrame"
    whole: bool = False
    """Whether its clusters are all there are."""

    @property
    def exact(self) -> bool:
        """True where nothing was sampled."""
        return isinstance(self.declared.of, Exact)

    @cached_property
    def counts(self) -> tuple[int, int]:
        """Valid examples in the measure's stratum, and their clusters.

        Counted here and not taken from the estimate: an expected example without a record
        stands there as a cluster of its own.
        """
        from audits.sample import counts

        return counts(self.declared, self.frame)

    def limits(self, alpha: float) -> Limits:
        """One-sided limits at 1 - alpha on either side."""
        from audits import stats

        level = 1 - 2 * alpha
        both = (
            stats.estimate(
                self.declared, self.frame, level=level, optimistic=best, whole=self.whole
            )
            for best in ((False,) if self.complete else (False, True))
        )
        return Limits.of(*both)

    def change_from(self, other: "Sight", alpha: float) -> Limits:
        """One-sided limits of self minus other, paired by example."""
        from audits import stats

        level = 1 - 2 * alpha
        complete = self.complete and other.complete
        both = (
            stats.difference(
                self.declared, self.frame, other.frame, level=level, optimistic=best,
                whole=self.whole,
            )
            for best in ((False,) if complete else (False, True))
        )  # fmt: skip
        return Limits.of(*both)

    def only(self, examples: Collection[str]) -> "Sight":
        """The same measure over some of the examples."""
        return replace(self, frame=self.frame[self.frame["example"].isin(examples)])

    @property
    def complete(self) -> bool:
        """True where every expected example has a valid record."""
        return bool((self.frame["why"] == "").all())

    def require(self, min_n: int, min_clusters: int) -> None:
        """Refuse too little evidence for any verdict, over all or in a compared group."""
        if self.exact:
            return
        n, clusters = self.counts
        if n < min_n:
            from audits.sample import mostly  # numpy, which no reader of a policy needs

            why = self.frame["why"]
            raise Unsettled(_few(n, min_n) + mostly(why, (why != "").to_numpy()))
        if clusters < min_clusters:
            raise Unsettled(_scattered(n, clusters, min_clusters))
        if isinstance(of := self.declared.of, Spread | Odds):
            self._require_groups(of.by, min_n, min_clusters)

    def _require_groups(self, by: str, min_n: int, min_clusters: int) -> None:
        """A spread rests on its smallest group, which left out would be judged by nobody."""
        from audits.sample import counts_by

        for name, (n, clusters) in counts_by(self.declared, self.frame, by).items():
            if n < min_n:
                raise Unsettled(f"{by} {name}: {_few(n, min_n)}")
            if clusters < min_clusters:
                raise Unsettled(f"{by} {name}: {_scattered(n, clusters, min_clusters)}")

    @property
    def is_energy(self) -> bool:
        """True for joules, watts and what is named after energy."""
        return "energy" in self.name or self.declared.unit in ENERGY_UNITS

    def is_guessed_energy(self) -> bool:
        """True for energy whose part does not say that it was measured."""
        told = {**self.part.notes, **self.part.conditions}
        status = next((told[key] for key in ENERGY_STATUS if key in told), None)
        return self.is_energy and status != "measured"

    @property
    def of_the_machine(self) -> bool:
        """True for time, memory and energy, which compare only under equal conditions."""
        profiled = self.part.kind == PROFILE and self.declared.unit not in COUNTED
        return profiled or self.is_energy


def look(measure: str, whose: Evidence, case: Case, who: str) -> Sight:
    """Find a measure in someone's evidence.

    Raises:
        Unsettled: it is not there, and why.
        MeasureError: its records are not those that were asked for.
    """
    part_name, _, tail = measure.partition("/")
    part = whose.parts.get(part_name)
    if part is None:
        raise Unsettled(f"{measure} was not measured on {who}: there is no part {part_name!r}")
    found = whose.find(measure)
    if found is None:
        raise Unsettled(f"{measure} was not measured on {who}: {part_name} has no {tail!r}")
    if not part.expected:
        raise Unsettled(f"{measure} was not measured on {who}: no example was expected")
    return Sight(measure, part, found[1], case.records(part))


def likeness(new: Sight, old: Sight) -> None:
    """Refuse to compare answers to two different questions.

    Raises:
        Unsettled: bases, declarations or expected examples differ.
    """
    if new.part.basis != old.part.basis:
        raise Unsettled(f"{new.name} was measured on another basis there: they do not compare")
    if _statistic(new.declared) != _statistic(old.declared):
        raise Unsettled(f"{new.name} is declared differently there: they do not compare")
    if not new.part.asked.numbers_as(old.part.asked):
        raise Unsettled(f"{new.name} was asked of other examples there: they do not compare")


def in_groups(by: str, *sights: Sight) -> dict[str, set[str]]:
    """Examples of each group; a lost one whose group nobody knows belongs to every group.

    The group is the example's, so a record lost on one side is placed by the other's, and a
    group that is lost as a whole is still one.

    Raises:
        Unsettled: records have no such column, an answered example is in no group, or all
            are in one.
    """
    group: dict[str, str] = {}
    for seen in sights:
        if by not in seen.frame:
            raise Unsettled(f"{seen.name}: records have no column {by!r} to group by")
        named = seen.frame[seen.frame[by].notna() & (seen.frame[by].astype(str) != "")]
        group |= dict(zip(named["example"], named[by].astype(str), strict=True))
    valid = {e for s in sights for e in s.frame.loc[s.frame["why"] == "", "example"]}
    names = sorted(set(group.values()))
    if homeless := valid - set(group):
        raise Unsettled(
            f"{sights[0].name}: {plural(len(homeless), 'answered example')} in no {by}, the "
            f"first {min(homeless)!r}"
        )
    if len(names) < 2:
        raise Unsettled(f"{sights[0].name}: {plural(len(names), 'group')} in {by}, not several")
    lost = {e for s in sights for e in s.frame["example"] if e not in group and e not in valid}
    return {n: {e for e, g in group.items() if g == n} | lost for n in names}


def same_machine(new: Sight, old: Sight) -> None:
    """Refuse to compare time, memory or energy from two set-ups.

    Raises:
        Unsettled: a condition other than the model's own form differs.
    """
    if not new.of_the_machine:
        return
    mine, theirs = _machine(new.part.conditions), _machine(old.part.conditions)
    for key in sorted(mine.keys() | theirs.keys()):
        if mine.get(key) != theirs.get(key):
            raise Unsettled(
                f"{new.name} was measured under other conditions there: "
                f"{key} is {mine.get(key)!r} and {theirs.get(key)!r}"
            )


def needed(limits: Limits, bound: float, better: Better, alpha: float, n: int) -> int | None:
    """How many examples would settle the question; None where no number will.

    An estimate that meets the bound needs more to pass; one that misses it, more to fail.
    Only the first is worth an answer.
    """
    from audits import stats

    if better == "higher":
        reachable = limits.pessimistic.value > bound
    else:
        reachable = limits.pessimistic.value < bound
    if not reachable:
        return None
    rows = stats.needs_n(limits.pessimistic, bound, alpha=alpha, power=POWER, better=better)
    # Rows and examples differ where an example has several samples.
    scale = n / max(1, limits.pessimistic.n)
    return None if rows is None else max(n + 1, math.ceil(rows * scale))


def _few(n: int, least: int) -> str:
    return f"{plural(n, 'valid example')} where {least} are required"


def _scattered(n: int, clusters: int, least: int) -> str:
    return f"{plural(n, 'example')} in {plural(clusters, 'cluster')} where {least} are required"


def plural(n: int, noun: str) -> str:
    """`1 example`, `1,200 examples`.

    >>> plural(1, "cluster"), plural(1200, "example")
    ('1 cluster', '1,200 examples')
    """
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def _statistic(declared: Declared) -> Mapping[str, object]:
    return declared.model_dump(exclude={"about", "by", "diagnostic"})


def _machine(conditions: Mapping[str, object]) -> dict[str, object]:
    return {k: v for k, v in conditions.items() if k not in OF_THE_MODEL}
