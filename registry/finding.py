"""What one rule says about one candidate, and what it was said about."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING

from audits.evidence import Evidence, Part

if TYPE_CHECKING:
    import pandas as pd


PROFILE = "profile"
"""The part of a run, and the kind of part, that says what a model costs to run."""
COSTS = (PROFILE, "storage")
"""The same of all that it costs, disk included."""


class Verdict(StrEnum):
    """How a rule, or a whole policy, came out. Only `PASS` lets a model through."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule's verdict, with the sentence a person reads.

    `value` is the estimate a rule judged (a difference or a ratio where it compares two
    models) and `limit` the pessimistic one-sided limit that had to meet `bound`. `applies`
    is false where there was nothing to compare with. `needs_n` is the number of examples
    that would settle an inconclusive rule, where one would. `regressed` marks a pass that is
    surely worse than the other model, within the margin; `p` is the p-value of no change at
    all, where the limits leave no change out. `waived` says who answers for a
    hard rule that did not pass, why, and until when; empty where nobody does.
    """

    rule: str
    verdict: Verdict
    because: str
    hard: bool
    measure: str
    applies: bool = True
    value: float | None = None
    limit: float | None = None
    bound: float | None = None
    n: int | None = None
    clusters: int | None = None
    needs_n: int | None = None
    regressed: bool = False
    p: float | None = None
    waived: str = ""

    @property
    def blocks(self) -> bool:
        """Whether this finding stands in the way of a promotion."""
        return self.hard and self.verdict is not Verdict.PASS and not self.waived


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's word for exactly these weights."""

    by: str
    weights: str
    """The digest that was approved, or its first twelve digits and more."""
    note: str = ""

    def covers(self, subject: str) -> bool:
        """Whether it is about these weights; a shorter piece of a digest is about none."""
        return len(self.weights) >= APPROVED_DIGITS and subject.startswith(self.weights)

    @property
    def person(self) -> str:
        """Who it is, however the name is spelled: `Ann`, `ann` and `Ann.` are one."""
        return person(self.by)


def person(name: str) -> str:
    """A name without what does not make it another one: case, spaces, punctuation."""
    return "".join(c for c in name.casefold() if c.isalnum())


APPROVED_DIGITS = 12
APPROVAL = "assay.approval."
"""Before the name of who approves: the tag of a version that holds the approved digest."""


@dataclass(frozen=True, eq=False)
class Case:
    """A candidate with what it must not fall behind.

    `parent` is the uncompressed model it was made from (None for the uncompressed model
    itself), `champion` the version in service (None before the first promotion).
    `approvals` are what people said of it. `looks` says for a rule the how manieth look at
    fresh records this is (first where absent): see `registry.looks`. `today` decides whether
    a waiver still holds; without a date none does.
    """

    candidate: Evidence
    parent: Evidence | None = None
    champion: Evidence | None = None
    approvals: tuple[Approval, ...] = ()
    looks: Mapping[str, int] = field(default_factory=dict)
    today: date = date.max
    _frames: "dict[int, pd.DataFrame]" = field(default_factory=dict, init=False, repr=False)

    @property
    def kept(self) -> tuple[str, str, str]:
        """Under which digests a registry keeps the evidence of each; empty for none."""
        candidate, parent, champion = (
            known.kept if known else ""
            for known in (self.candidate, self.parent, self.champion)
        )
        return candidate, parent, champion

    def records(self, part: Part) -> "pd.DataFrame":
        """The part's completed records, completed once for all rules.

        Raises:
            MeasureError: records nobody asked for, or one twice.
        """
        if id(part) not in self._frames:
            self._frames[id(part)] = part.completed()
        return self._frames[id(part)]
