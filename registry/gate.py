"""The gate: a policy and evidence in, a decision out. No I/O, and a "no" is no exception."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from pydantic import TypeAdapter, ValidationError

from audits.errors import EvidenceError, MeasureError
from audits.evidence import Evidence
from registry.finding import Case, Finding, Verdict
from registry.policy import Policy
from registry.rules import AtLeast, AtMost

__all__ = ["Case", "Decision", "Finding", "Verdict", "choose", "decide"]


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether `subject` may be promoted, and every finding that led there.

    Digests of the weights it is about and of those it was compared with ("" for none) bind
    it: it says nothing about any other version, and nothing once the champion has changed.
    """

    subject: str
    parent: str
    champion: str
    policy: str
    policy_digest: str
    verdict: Verdict
    findings: tuple[Finding, ...]

    @property
    def promote(self) -> bool:
        """True only for PASS."""
        return self.verdict is Verdict.PASS

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """The hard findings that stand in the way, failures first."""
        against = [f for f in self.findings if f.hard and f.verdict is not Verdict.PASS]
        return tuple(sorted(against, key=lambda f: f.verdict is not Verdict.FAIL))

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The soft findings that did not pass."""
        return tuple(f for f in self.findings if not f.hard and f.verdict is not Verdict.PASS)

    @property
    def sentence(self) -> str:
        """Why, in one sentence."""
        hard = sum(f.hard for f in self.findings)
        if self.promote:
            idle = sum(f.hard and not f.applies for f in self.findings)
            extra = f", {idle} of them with nothing to compare with" if idle else ""
            return f"all {hard} hard rules of {self.policy} pass{extra}"
        if not self.refusals:
            return f"{self.policy} proves nothing of this model: no absolute rule passes"
        first, more = self.refusals[0], len(self.refusals) - 1
        rest = f" ({more} more of {hard} hard rules do not pass)" if more else ""
        verb = "fails" if first.verdict is Verdict.FAIL else "cannot be decided"
        return f"{first.rule} {verb}: {first.because}{rest}"

    def as_json(self) -> dict[str, object]:
        """The decision as plain JSON data."""
        plain: dict[str, object] = json.loads(json.dumps(asdict(self), allow_nan=False))
        return {"format": 1, **plain, "sentence": self.sentence}

    @classmethod
    def from_json(cls, document: object, where: str = "decision.json") -> "Decision":
        """Read a stored decision back.

        Raises:
            EvidenceError: it is not exactly what `as_json` gave.
        """
        if not isinstance(document, Mapping) or document.get("format") != 1:
            raise EvidenceError(f"{where}: no decision in a known format; judge again")
        stored = {k: v for k, v in document.items() if k not in ("format", "sentence")}
        try:
            found = TypeAdapter(cls).validate_python(stored)
        except ValidationError as error:
            place = ".".join(map(str, error.errors()[0]["loc"]))
            raise EvidenceError(
                f"{where}: {place} is not what was written; judge again"
            ) from error
        if found.as_json() != dict(document):
            raise EvidenceError(f"{where}: it was altered; judge again")
        return found


def decide(policy: Policy, case: Case) -> Decision:
    """Check every rule; all are checked, even when the first one fails.

    PASS needs every hard rule to pass and at least one hard absolute rule among them:
    having nothing to compare with proves nothing.
    """
    findings = tuple(rule.check(case) for rule in policy.rules)
    proven = any(
        finding.hard and finding.verdict is Verdict.PASS and isinstance(rule, AtLeast | AtMost)
        for rule, finding in zip(policy.rules, findings, strict=True)
    )
    hard = {f.verdict for f in findings if f.hard}
    if Verdict.FAIL in hard:
        verdict = Verdict.FAIL
    elif hard == {Verdict.PASS} and proven:
        verdict = Verdict.PASS
    else:
        verdict = Verdict.INCONCLUSIVE
    return Decision(
        case.candidate.subject,
        case.parent.subject if case.parent else "",
        case.champion.subject if case.champion else "",
        policy.name,
        policy.identity,
        verdict,
        findings,
    )


def choose(
    decisions: Sequence[Decision], policy: Policy, evidences: Sequence[Evidence]
) -> int | None:
    """Index of the passing candidate the policy prefers; None where none passes.

    A candidate without the preferred measure comes after those that have it; equals keep
    their order.
    """
    sign = 1.0 if policy.prefer.better == "lower" else -1.0

    def rank(at: int) -> tuple[bool, float]:
        value = _value(evidences[at], policy.prefer.measure)
        return (value is None, sign * (value or 0.0))

    passing = [at for at, decision in enumerate(decisions) if decision.promote]
    return min(passing, key=rank, default=None)


def _value(evidence: Evidence, measure: str) -> float | None:
    found = evidence.find(measure)
    if found is None:
        return None
    part, declared = found
    try:
        return declared.estimate(part.completed(), level=0.95).value
    except MeasureError:
        return None
