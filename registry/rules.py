"""What can a policy require of a model's evidence?

A rule looks at two one-sided limits at level 1 - alpha: the pessimistic one must meet the
bound to PASS, the optimistic one must miss it to FAIL, and anything between is INCONCLUSIVE.
Requiring every rule is an intersection-union test: each at level alpha keeps the chance of
promoting a model that misses any bound at alpha, for any number of rules (Berger 1982).
"""

from typing import Annotated, Literal, Protocol

from pydantic import Field

from audits.estimand import Better
from registry import wording
from registry.finding import Case, Finding, Verdict
from registry.judging import Required, Than, absolute, closed, ratio, relative, settle, sight
from registry.looking import Sight


class Rule(Protocol):
    """Settings with one verb: `check`, a pure function of the evidence."""

    @property
    def kind(self) -> str:
        """Name of the rule in policies."""
        ...

    @property
    def id(self) -> str:
        """The rule in one line; unique within a policy."""
        ...

    @property
    def requires(self) -> Better | None:
        """The direction its measure must have; None: either."""
        ...

    def check(self, case: Case) -> Finding:
        """Judge the candidate. What cannot be judged is INCONCLUSIVE, never an exception."""
        ...


class AtLeast(Required):
    """The lower limit of a higher-is-better measure reaches `bound`."""

    kind: Literal["at_least"] = "at_least"
    bound: float

    @property
    def id(self) -> str:
        """The rule in one line."""
        return f"{self.measure} >= {self.bound:g}"

    @property
    def requires(self) -> Better | None:
        """A floor under a measure where less is better would reward harm."""
        return "higher"

    def check(self, case: Case) -> Finding:
        """Compare the lower limit with the bound."""
        return closed(self, lambda: absolute(self, self.bound, "higher", case))


class AtMost(Required):
    """The upper limit of a lower-is-better measure stays within `bound`."""

    kind: Literal["at_most"] = "at_most"
    bound: float

    @property
    def id(self) -> str:
        """The rule in one line."""
        return f"{self.measure} <= {self.bound:g}"

    @property
    def requires(self) -> Better | None:
        """A ceiling over a measure where more is better would reward harm."""
        return "lower"

    def check(self, case: Case) -> Finding:
        """Compare the upper limit with the bound."""
        return closed(self, lambda: absolute(self, self.bound, "lower", case))


class NoWorse(Required):
    """At worst the candidate loses `margin` against another model, example by example.

    Non-inferiority in the measure's own direction. "No significant difference" is no PASS.
    """

    kind: Literal["no_worse"] = "no_worse"
    than: Than
    margin: Annotated[float, Field(ge=0)]

    @property
    def id(self) -> str:
        """The rule in one line."""
        return f"{self.measure} no worse than {self.than} by {self.margin:g}"

    def check(self, case: Case) -> Finding:
        """Compare the pessimistic limit of the paired difference with the margin."""
        return closed(self, lambda: relative(self, self.than, case, self._judge))

    def _judge(self, mine: Sight, theirs: Sight) -> Finding:
        change = mine.change_from(theirs, self.alpha)
        better = mine.declared.better
        bound = -self.margin if better == "higher" else self.margin
        words = wording.change(better, self.than, self.margin)
        return settle(self, mine, change, bound, better, words)


class RatioAtMost(Required):
    """A lower-is-better measure is at most `ratio` times another model's.

    Exact values (bytes on disk) compare as they are. Sampled ones take each model's
    limits at alpha / 2, so that both hold together at alpha (Bonferroni).
    """

    kind: Literal["ratio_at_most"] = "ratio_at_most"
    than: Than
    ratio: Annotated[float, Field(gt=0)]

    @property
    def id(self) -> str:
        """The rule in one line."""
        return f"{self.measure} <= {self.ratio:g} x {self.than}"

    @property
    def requires(self) -> Better | None:
        """A ceiling over a measure where more is better would reward harm."""
        return "lower"

    def check(self, case: Case) -> Finding:
        """Compare the pessimistic limit of the ratio with the allowed one."""
        return closed(self, lambda: relative(self, self.than, case, self._judge))

    def _judge(self, mine: Sight, theirs: Sight) -> Finding:
        limits = ratio(mine.limits(self.alpha / 2), theirs.limits(self.alpha / 2))
        words = wording.multiple(self.than, self.ratio)
        return settle(self, mine, limits, self.ratio, "lower", words)


class Present(Required):
    """The measure was measured, whatever it says."""

    kind: Literal["present"] = "present"
    min_n: Annotated[int, Field(ge=1)] = 1
    min_clusters: Annotated[int, Field(ge=1)] = 1

    @property
    def id(self) -> str:
        """The rule in one line."""
        return f"{self.measure} is measured"

    def check(self, case: Case) -> Finding:
        """Ask for a finite estimate."""
        return closed(self, lambda: self._judge(case))

    def _judge(self, case: Case) -> Finding:
        seen = sight(self, case, case.candidate, "the candidate")
        found = seen.limits(self.alpha).pessimistic
        n, clusters = (1, 1) if seen.exact else seen.counts
        words = wording.absolute(seen, 0, "lower")
        said = f"{words.spell(found.value)}{wording.footing(seen)}"
        return Finding(
            self.id, Verdict.PASS, said, self.hard, self.measure,
            value=found.value, n=n, clusters=clusters,
        )  # fmt: skip


AnyRule = Annotated[
    AtLeast | AtMost | NoWorse | RatioAtMost | Present, Field(discriminator="kind")
]
