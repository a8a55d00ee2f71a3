"""What one rule says about one candidate, and what it was said about."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from audits.evidence import Evidence, Part

if TYPE_CHECKING:
    import pandas as pd


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
    that would settle an inconclusive rule, where one would.
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


@dataclass(frozen=True, eq=False)
class Case:
    """A candidate with what it must not fall behind.

    `parent` is the uncompressed model it was made from (None for the uncompressed model
    itself), `champion` the version in service (None before the first promotion).
    """

    candidate: Evidence
    parent: Evidence | None = None
    champion: Evidence | None = None
    _frames: "dict[int, pd.DataFrame]" = field(default_factory=dict, init=False, repr=False)

    def records(self, part: Part) -> "pd.DataFrame":
        """The part's completed records, completed once for all rules.

        Raises:
            MeasureError: records nobody asked for, or one twice.
        """
        if id(part) not in self._frames:
            self._frames[id(part)] = part.completed()
        return self._frames[id(part)]
