"""What a report is made from: plain values that a run, or the registry, already knows."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from audits.evidence import Measure, Part
from registry.finding import Finding, Verdict
from tasks.energy_card import Card

SIZE = "profile/size_bytes"
SPEED = "profile/tokens_per_second"
STORAGE = "storage"
"""The part that says what a model's files spend their bytes on."""

_ORDER = {Verdict.FAIL: 0, Verdict.INCONCLUSIVE: 1, Verdict.PASS: 2}


@dataclass(frozen=True, slots=True)
class StageLine:
    """One stage: how long it took, whether it was found done, what energy it took then."""

    name: str
    seconds: float
    cached: bool
    energy: Card | None = None


@dataclass(frozen=True, slots=True)
class DataCheck:
    """One expectation about the data, and the documents it named."""

    name: str
    passed: bool
    about: str
    dropped: tuple[str, ...] = ()
    """Names of documents that were left out because of it."""


@dataclass(frozen=True, eq=False)
class CandidateReport:
    """One candidate with its decision and everything measured of it."""

    name: str
    verdict: Verdict
    promoted: bool
    sentence: str
    version: str = ""
    about: str = ""
    findings: tuple[Finding, ...] = ()
    measures: tuple[Measure, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    """Why a measure is missing, by its full name."""
    parts: tuple[Part, ...] = ()
    lineage: Mapping[str, str] = field(default_factory=dict)
    made_from: tuple[Part, ...] = ()
    """What was measured of the model it was compressed from, where that is at hand."""

    @property
    def diagnostics(self) -> Mapping[str, str]:
        """By full name of a measure, why no level of it says that a model is good."""
        return {
            part.full_name(d): d.diagnostic
            for part in self.parts
            for d in part.declared
            if d.diagnostic
        }

    def measure(self, name: str) -> Measure | None:
        """The measure of this full name, if there is one."""
        return next((m for m in self.measures if m.name == name), None)

    @property
    def size(self) -> Measure | None:
        """Bytes of the weight files."""
        return self.measure(SIZE)

    @property
    def speed(self) -> Measure | None:
        """New tokens per second."""
        return self.measure(SPEED)

    @property
    def sorted_findings(self) -> tuple[Finding, ...]:
        """Hard findings first; among them what stands in the way first."""
        return tuple(sorted(self.findings, key=lambda f: (not f.hard, _ORDER[f.verdict])))

    def count(self, verdict: Verdict) -> int:
        """Number of hard findings with this verdict."""
        return sum(f.hard and f.verdict == verdict for f in self.findings)

    @property
    def standing_in_the_way(self) -> tuple[Finding, ...]:
        """Findings that did not pass, hard ones first."""
        return tuple(f for f in self.sorted_findings if f.verdict is not Verdict.PASS)

    @property
    def passed(self) -> tuple[Finding, ...]:
        """Findings that passed, hard ones first."""
        return tuple(f for f in self.sorted_findings if f.verdict is Verdict.PASS)


@dataclass(frozen=True, eq=False)
class ReportRun:
    """Everything a report shows; rendering it reads nothing else."""

    title: str
    created: str
    spec: str
    policy: str
    policy_digest: str
    candidates: tuple[CandidateReport, ...]
    about: str = ""
    model: str = ""
    """Name of the registered model."""
    stages: tuple[StageLine, ...] = ()
    checks: tuple[DataCheck, ...] = ()
    lineage: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def promoted(self) -> CandidateReport | None:
        """The candidate that became champion, if one did."""
        return next((c for c in self.candidates if c.promoted), None)
