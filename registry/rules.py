"""What can a policy require of a model's evidence?

A rule looks at two one-sided limits at level 1 - alpha: the pessimistic one must meet the
bound to PASS, the optimistic one must miss it to FAIL, and anything between is INCONCLUSIVE.
Requiring every rule is an intersection-union test: each at level alpha keeps the chance of
promoting a model that misses any bound at alpha, for any number of rules (Berger 1982).
Where examples come in clusters the limit of a share leaves room for clusters unlike any that
were drawn (`audits.unseen`); that of a mean on an unknown scale is the wider of Student's t and
the bootstrap's, and decides nothing where it is too skewed for so few.
Saying that one of many failed is another matter: see `registry.gate`.
"""

from dataclasses import replace
from typing import Annotated, ClassVar, Literal, Protocol

from pydantic import Field

from audits.estimand import Better
from audits.settings import Settings
from registry import wording
from registry.finding import APPROVAL, APPROVED_DIGITS, Case, Finding, Verdict, person
from registry.judging import (
    Grouped,
    Required,
    Than,
    absolute,
    bounded,
    closed,
    compared,
    outward,
    ratio,
    relative,
    settle,
    sight,
    tested,
)
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


class AtLeast(Grouped):
    """The lower limit of a higher-is-better measure reaches `bound`."""

    kind: Literal["at_least"] = "at_least"
    bound: float

    @property
    def id(self) -> str:
        """The rule in one line."""
        return self.named(f"{self.measure} >= {self.bound:g}")

    @property
    def requires(self) -> Better | None:
        """A floor under a measure where less is better would reward harm."""
        return "higher"

    def check(self, case: Case) -> Finding:
        """Compare the lower limit with the bound."""
        return closed(self, lambda: absolute(self, case, self._judge))

    def _judge(self, rule: Required, seen: Sight) -> Finding:
        return bounded(rule, seen, self.bound, "higher")


class AtMost(Grouped):
    """The upper limit of a lower-is-better measure stays within `bound`."""

    kind: Literal["at_most"] = "at_most"
    bound: float

    @property
    def id(self) -> str:
        """The rule in one line."""
        return self.named(f"{self.measure} <= {self.bound:g}")

    @property
    def requires(self) -> Better | None:
        """A ceiling over a measure where more is better would reward harm."""
        return "lower"

    def check(self, case: Case) -> Finding:
        """Compare the upper limit with the bound."""
        return closed(self, lambda: absolute(self, case, self._judge))

    def _judge(self, rule: Required, seen: Sight) -> Finding:
        return bounded(rule, seen, self.bound, "lower")


class Within(Grouped):
    """A signed measure lies within `bound` of 0, in either direction.

    Two one-sided tests (Schuirmann 1987): for a leaning, a gap or a correlation, of which -1
    is as much as 1, whatever direction the measure declares.
    """

    kind: Literal["within"] = "within"
    bound: Annotated[float, Field(gt=0)]

    @property
    def id(self) -> str:
        """The rule in one line."""
        return self.named(f"{self.measure} within {self.bound:g} of 0")

    def check(self, case: Case) -> Finding:
        """Compare both limits with the bound."""
        return closed(self, lambda: absolute(self, case, self._judge))

    def _judge(self, rule: Required, seen: Sight) -> Finding:
        words = wording.within(seen, self.bound)
        return outward(rule, seen, seen.limits(rule.spent), self.bound, words)


class NoWorse(Grouped):
    """At worst the candidate loses `margin` against another model, example by example.

    Non-inferiority in the measure's own direction. "No significant difference" is no PASS.
    """

    kind: Literal["no_worse"] = "no_worse"
    than: Than
    margin: Annotated[float, Field(ge=0)]

    @property
    def id(self) -> str:
        """The rule in one line."""
        return self.named(f"{self.measure} no worse than {self.than} by {self.margin:g}")

    def check(self, case: Case) -> Finding:
        """Compare the pessimistic limit of the paired difference with the margin."""
        return closed(self, lambda: relative(self, self.than, case, self._compare))

    def _compare(self, mine: Sight, theirs: Sight) -> Finding:
        return compared(self, self._judge, mine, theirs)

    def _judge(self, rule: Required, mine: Sight, theirs: Sight) -> Finding:
        change = mine.change_from(theirs, rule.spent)
        better = mine.declared.better
        bound = -self.margin if better == "higher" else self.margin
        words = wording.change(better, self.than, self.margin)
        found = settle(rule, mine, change, bound, better, words)
        if change.low <= 0 <= change.high:
            return found
        worse = change.high < 0 if better == "higher" else change.low > 0
        return tested(
            replace(found, regressed=found.verdict is Verdict.PASS and worse), mine, theirs
        )


class Equivalent(Grouped):
    """The candidate differs from another model by at most `margin`, in either direction.

    Two one-sided tests (Schuirmann 1987), paired by example: for what must not change at
    all, like the answers of a re-exported file.
    """

    kind: Literal["equivalent"] = "equivalent"
    than: Than
    margin: Annotated[float, Field(gt=0)]

    @property
    def id(self) -> str:
        """The rule in one line."""
        return self.named(f"{self.measure} within {self.margin:g} of {self.than}")

    def check(self, case: Case) -> Finding:
        """Compare both limits of the paired difference with the margin."""
        return closed(self, lambda: relative(self, self.than, case, self._compare))

    def _compare(self, mine: Sight, theirs: Sight) -> Finding:
        return compared(self, self._judge, mine, theirs)

    def _judge(self, rule: Required, mine: Sight, theirs: Sight) -> Finding:
        change = mine.change_from(theirs, rule.spent)
        words = wording.apart(mine.declared.better, self.than, self.margin)
        return outward(rule, mine, change, self.margin, words)


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
        limits = ratio(mine.limits(self.spent / 2), theirs.limits(self.spent / 2))
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
        found = seen.limits(self.spent).pessimistic
        n, clusters = (1, 1) if seen.exact else seen.counts
        words = wording.absolute(seen, 0, "lower")
        said = f"{words.spell(found.value)}{wording.footing(seen)}"
        return Finding(
            self.id, Verdict.PASS, said, self.hard, self.measure,
            value=found.value, n=n, clusters=clusters,
        )  # fmt: skip


class Detected(Required):
    """A control with a planted defect is seen to be defective: its measure is beyond `bound`.

    The measure is one of the control's own part. An audit that does not find what was
    planted has no power, so without this every verdict that rests on it proves nothing:
    the rule never fails a candidate, it is INCONCLUSIVE.
    """

    kind: Literal["detected"] = "detected"
    bound: float

    @property
    def id(self) -> str:
        """The rule in one line."""
        return f"{self.measure} detects what was planted (beyond {self.bound:g})"

    def check(self, case: Case) -> Finding:
        """Ask whether the control surely misses the bound a good model meets."""
        return closed(self, lambda: self._judge(case))

    def _judge(self, case: Case) -> Finding:
        seen = sight(self, case, case.candidate, "the control")
        against: Better = "lower" if seen.declared.better == "higher" else "higher"
        words = wording.beyond(seen, self.bound, against)
        found = settle(self, seen, seen.limits(self.spent), self.bound, against, words)
        if found.verdict is Verdict.PASS:
            return found
        because = f"the planted defect was not found, so nothing is proven: {found.because}"
        return replace(found, verdict=Verdict.INCONCLUSIVE, because=because)


class Approved(Settings):
    """People have said yes to exactly these weights."""

    kind: Literal["approved"] = "approved"
    people: Annotated[int, Field(ge=1)] = 1
    """How many different ones."""
    by: tuple[str, ...] = ()
    """Whose word counts; empty: anybody's."""
    hard: bool = True
    because: str = ""
    measure: ClassVar[str] = ""

    @property
    def id(self) -> str:
        """The rule in one line."""
        whose = f" of {', '.join(self.by)}" if self.by else ""
        return f"approved by {self.people}{whose}"

    @property
    def requires(self) -> Better | None:
        """There is no measure."""
        return None

    def check(self, case: Case) -> Finding:
        """Count the people whose approval covers the candidate's digest."""
        subject = case.candidate.subject
        said = sorted(
            {
                a.person: a.by
                for a in case.approvals
                if a.covers(subject) and self._counts(a.person)
            }.values()
        )
        verdict = Verdict.PASS if len(said) >= self.people else Verdict.INCONCLUSIVE
        digest = subject[:APPROVED_DIGITS]
        because = f"approved by {', '.join(said)}" if said else "nobody has approved"
        because += f" for weights {digest}"
        if verdict is not Verdict.PASS:
            because += (
                f"; {self.people - len(said)} more needed: "
                f"`assay approve NAME/VERSION --by YOU` or the tag {APPROVAL}YOU = {digest} "
                "on the version's page"
            )
        return Finding(self.id, verdict, because, self.hard, "")

    def _counts(self, who: str) -> bool:
        return not self.by or who in map(person, self.by)


Absolute = AtLeast | AtMost | Within
"""Rules that judge a model by itself."""

AnyRule = Annotated[
    AtLeast
    | AtMost
    | Within
    | NoWorse
    | Equivalent
    | RatioAtMost
    | Present
    | Detected
    | Approved,
    Field(discriminator="kind"),
]
