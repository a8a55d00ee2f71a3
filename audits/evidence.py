"""What a measurement is: the vocabulary audits write and gates read."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from audits.errors import MeasureError
from audits.estimand import Better, Declared, Estimate

if TYPE_CHECKING:
    import pandas as pd

    from audits.columns import Coded

Conditions = Mapping[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class Measure:
    """One measured claim: a number, its 95% interval, what it rests on, its direction.

    A `Measure` that exists is finite. What could not be measured is simply absent,
    and an absent measure fails every rule that asks for it. Only measures of equal
    `basis` compare; `conditions` (backend, dtype, host) are recorded and must match
    only for time, memory and energy.
    """

    name: str
    value: float
    low: float
    high: float
    n: int
    clusters: int
    better: Better
    unit: str
    method: str
    basis: str
    conditions: Conditions = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = (self.low, self.value, self.high)
        if not all(map(math.isfinite, numbers)):
            raise MeasureError(f"{self.name}: {numbers} is not finite")
        if not self.low <= self.value <= self.high:
            raise MeasureError(
                f"{self.name}: {self.value} lies outside [{self.low}, {self.high}]"
            )
        if self.n < 1 or self.clusters < 1:
            raise MeasureError(f"{self.name}: measured on {self.n} examples")


KEYS = ("example", "cluster", "group", "why")
"""Columns every record has; `why` is empty, or the reason the record is invalid."""


def records_frame(rows: Iterable[Mapping[str, object]]) -> "pd.DataFrame":
    """Make a frame of records from rows; the key columns are strings and come first.

    Values of invalid rows (those with a `why`) may be absent; absent numbers are NaN
    inside the frame and never leave it as a measure.
    """
    import pandas as pd

    frame = pd.DataFrame.from_records(list(rows))
    for key in KEYS:
        frame[key] = frame[key].fillna("").astype(str) if key in frame else ""
    rest = sorted(c for c in frame.columns if c not in KEYS)
    return frame[[*KEYS, *rest]]


@dataclass(frozen=True, eq=False)
class Part:
    """The outcome of one audit, benchmark or profile of one model: what a stage stores.

    `expected` are the example ids fixed before the model was asked: an id without a
    record counts as an invalid record, never as one example fewer. Measures are pure
    functions of a part, so anyone can recompute a decision from stored parts alone.
    """

    name: str
    kind: str
    declared: tuple[Declared, ...]
    expected: tuple[str, ...]
    records: "pd.DataFrame"
    basis: str
    conditions: Conditions = field(default_factory=dict)
    notes: Mapping[str, object] = field(default_factory=dict)

    def full_name(self, declared: Declared) -> str:
        """Name of a measure across parts: `part/measure/stratum`."""
        return f"{self.name}/{declared.name}"

    def completed(self) -> "pd.DataFrame":
        """Records, plus an invalid one for every expected id that has none.

        Unexpected or doubled evidence is refused: it was not asked for.
        """
        from audits.completing import completed

        return completed(self.name, self.records, self.expected, self.asked)

    @cached_property
    def asked(self) -> "Coded":
        """The expected ids as numbers, to compare with another part's."""
        from audits.completing import asked

        return asked(self.expected)

    def measures(self) -> tuple[tuple[Measure, ...], Mapping[str, str]]:
        """Return the measures, and by full name the reason for each that is absent."""
        return self._measured

    @cached_property
    def _measured(self) -> tuple[tuple[Measure, ...], Mapping[str, str]]:
        """Computed once: a part never changes, and gate, card and report all ask."""
        frame = self.completed()
        found: list[Measure] = []
        absent: dict[str, str] = {}
        for declared in self.declared:
            name = self.full_name(declared)
            try:
                found.append(
                    self._measure(name, declared, declared.estimate(frame, level=0.95))
                )
            except MeasureError as error:
                absent[name] = str(error)
        return tuple(found), MappingProxyType(absent)

    def _measure(self, name: str, declared: Declared, e: Estimate) -> Measure:
        return Measure(
            name=name,
            value=e.value,
            low=e.low,
            high=e.high,
            n=e.n,
            clusters=e.clusters,
            better=declared.better,
            unit=declared.unit,
            method=e.method,
            basis=self.basis,
            conditions=self.conditions,
        )


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that is known about one model: its parts by name, its lineage, its identity."""

    subject: str
    """Digest of the weights and tokenizer that were measured."""
    parts: Mapping[str, Part]
    about: Mapping[str, object] = field(default_factory=dict)
    kept: str = ""
    """The digest that a registry keeps it under; empty where it was not read from one."""

    @classmethod
    def gather(
        cls, subject: str, parts: Iterable[Part], about: Mapping[str, object] | None = None
    ) -> "Evidence":
        """Collect parts about `subject`, refusing two under one name."""
        found: dict[str, Part] = {}
        for part in parts:
            if part.name in found:
                raise MeasureError(f"{part.name} was measured twice for {subject}")
            found[part.name] = part
        return cls(subject, MappingProxyType(found), about or {})

    def find(self, measure: str) -> tuple[Part, Declared] | None:
        """The part and declaration behind a full measure name, or None."""
        head, _, tail = measure.partition("/")
        part = self.parts.get(head)
        if part is None:
            return None
        return next(((part, d) for d in part.declared if d.name == tail), None)

    def measures(self) -> dict[str, Measure]:
        """Every measure that could be computed, by full name."""
        return {m.name: m for part in self.parts.values() for m in part.measures()[0]}


def names(parts: Sequence[tuple[str, Sequence[Declared]]]) -> set[str]:
    """Full names of everything declared."""
    return {f"{part}/{d.name}" for part, declared in parts for d in declared}


Origin = Literal["audit", "evaluate", "profile"]
