"""The gate: a policy and evidence in, a decision out. No I/O, and a "no" is no exception.

Requiring every rule to pass needs no correction for their number (see `registry.rules`).
Saying FAIL because one of many rules failed does: of forty rules that a good model meets, two
would fail at 5 %. So a FAIL stands only where Holm's step-down over all the rules that were
judged lets it stand; otherwise it is INCONCLUSIVE, which stands in the way just as well.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date

from pydantic import TypeAdapter, ValidationError

from audits.errors import EvidenceError, MeasureError
from audits.evidence import Evidence
from registry.finding import COSTS, Approval, Case, Finding, Verdict
from registry.judging import Required, holm_steps
from registry.looking import plural
from registry.policy import Policy
from registry.rules import Absolute, AnyRule, NoWorse

__all__ = ["Approval", "Case", "Decision", "Finding", "Verdict", "choose", "decide"]

FORMAT = 4
NAMED = 0.05
"""Chance of naming one measure as worse, among all that were compared, where none is."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether `subject` may be promoted, and every finding that led there.

    Digests of the weights it is about and of those it was compared with ("" for none) bind
    it: it says nothing about any other version, and nothing once the champion has changed.
    With the evidence of those weights, `approvals`, `looks` and the day it was made `on`
    (waivers lapse), `decide` gives it again. `evidence` holds the digests under which a
    registry keeps that of candidate, parent and champion ("" where it was not read from one).
    """

    subject: str
    parent: str
    champion: str
    policy: str
    policy_digest: str
    verdict: Verdict
    findings: tuple[Finding, ...]
    on: str = date.max.isoformat()
    approvals: tuple[Approval, ...] = ()
    looks: Mapping[str, int] = field(default_factory=dict)
    evidence: tuple[str, str, str] = ("", "", "")

    def same_as(self, other: "Decision | None") -> bool:
        """Whether the other comes to the same, on whatever day and in whatever words.

        So may one that was made beside evidence of a champion that was renewed since.
        """
        return other is not None and self._wordless() == other._wordless()

    def _wordless(self) -> "Decision":
        """Verdicts, numbers and digests: code may put them into other words tomorrow."""
        return replace(
            self,
            on="",
            evidence=("", "", ""),
            findings=tuple(replace(f, because="") for f in self.findings),
        )

    @property
    def waived(self) -> tuple[Finding, ...]:
        """The findings that somebody answers for."""
        return tuple(f for f in self.findings if f.waived)

    @property
    def promote(self) -> bool:
        """True only for PASS."""
        return self.verdict is Verdict.PASS

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """The hard findings that stand in the way, failures first."""
        against = [f for f in self.findings if f.blocks]
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
            if self.waived:
                names = "; ".join(f"{f.rule}: {f.waived}" for f in self.waived)
                kept = hard - len(self.waived)
                return (
                    f"{kept} of {plural(hard, 'hard rule')} of {self.policy} pass{extra}, "
                    f"{len(self.waived)} waived ({names})"
                )
            if hard == 1:
                return f"the one hard rule of {self.policy} passes{extra}"
            return f"all {hard} hard rules of {self.policy} pass{extra}"
        if not self.refusals:
            return (
                f"{self.policy} proves nothing of this model: no absolute rule about its "
                "answers passes"
            )
        first, more = self.refusals[0], len(self.refusals) - 1
        rest = f" ({more} more of {hard} hard rules do not pass)" if more else ""
        verb = "fails" if first.verdict is Verdict.FAIL else "cannot be decided"
        return f"{first.rule} {verb}: {first.because}{rest}"

    def as_json(self) -> dict[str, object]:
        """The decision as plain JSON data."""
        plain: dict[str, object] = json.loads(json.dumps(asdict(self), allow_nan=False))
        return {"format": FORMAT, **plain, "sentence": self.sentence}

    @classmethod
    def from_json(cls, document: object, where: str = "decision.json") -> "Decision":
        """Read a stored decision back.

        Raises:
            EvidenceError: it is not what `as_json` gave. The sentence is not looked at, for it
                follows from the rest, and from the code's words of that day.
        """
        if not isinstance(document, Mapping) or document.get("format") != FORMAT:
            raise EvidenceError(f"{where}: no decision in a known format; judge again")
        stored = {k: v for k, v in document.items() if k not in ("format", "sentence")}
        try:
            found = TypeAdapter(cls).validate_python(stored)
        except ValidationError as error:
            place = ".".join(map(str, error.errors()[0]["loc"]))
            raise EvidenceError(
                f"{where}: {place} is not what was written; judge again"
            ) from error
        if {**found.as_json(), "sentence": ""} != {**document, "sentence": ""}:
            raise EvidenceError(f"{where}: it was altered; judge again")
        return found


def decide(policy: Policy, case: Case) -> Decision:
    """Check every rule; all are checked, even when the first one fails.

    PASS needs every hard rule to pass or to be waived by somebody who answers for it today,
    and at least one hard absolute rule about its answers that passes by itself: having
    nothing to compare with proves nothing, and neither does a size or a diagnostic.
    """
    checked = _asserted(policy.rules, tuple(rule.check(case) for rule in policy.rules), case)
    checked = _regressed(policy.rules, checked)
    findings = tuple(_waive(policy, finding, case.today) for finding in checked)
    proven = any(
        _proves(rule, finding, case)
        for rule, finding in zip(policy.rules, findings, strict=True)
    )
    blocking = {f.verdict for f in findings if f.blocks}
    if Verdict.FAIL in blocking:
        verdict = Verdict.FAIL
    elif not blocking and proven:
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
        case.today.isoformat(),
        case.approvals,
        {name: n for name, n in sorted(case.looks.items()) if n > 1},
        case.kept,
    )


def _proves(rule: AnyRule, finding: Finding, case: Case) -> bool:
    """Whether something the model answered is surely good enough by itself."""
    if not isinstance(rule, Absolute) or not rule.hard:
        return False
    found = case.candidate.find(rule.measure)
    if found is None or found[0].kind in COSTS or found[1].diagnostic:
        return False
    return finding.verdict is Verdict.PASS


def _asserted(
    rules: Sequence[AnyRule], findings: tuple[Finding, ...], case: Case
) -> tuple[Finding, ...]:
    """The findings, with every FAIL that does not stand among so many made INCONCLUSIVE."""
    sampled = {f.rule for f in findings if f.limit is not None and f.limit != f.value}
    failing = {f.rule for f in findings if f.rule in sampled and f.verdict is Verdict.FAIL}
    by_id = {rule.id: rule for rule in rules}

    def still(name: str, share: float) -> bool:
        rule = by_id[name]
        assert isinstance(rule, Required)
        return rule.stricter(share).check(case).verdict is Verdict.FAIL

    sure = holm_steps(failing, len(sampled), still)
    return tuple(
        replace(
            f,
            verdict=Verdict.INCONCLUSIVE,
            because=f"{f.because}; not sure among {len(sampled)} rules (Holm)",
        )
        if f.rule in failing - sure
        else f
        for f in findings
    )


def _regressed(rules: Sequence[AnyRule], findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """The findings, with a pass called surely worse only where Holm's test lets it be named."""
    from audits.significance import changed  # numpy, which no reader of a policy needs

    compared = [
        f
        for rule, f in zip(rules, findings, strict=True)
        if isinstance(rule, NoWorse) and f.limit is not None
    ]
    sure = changed({f.rule: 1.0 if f.p is None else f.p for f in compared}, NAMED)
    return tuple(
        replace(
            f,
            regressed=False,
            because=f"{f.because}; not sure among {len(compared)} comparisons (Holm)",
        )
        if f.regressed and f.p is not None and f.rule not in sure
        else f
        for f in findings
    )


def _waive(policy: Policy, finding: Finding, today: date) -> Finding:
    """A hard finding that did not pass, with the waiver that covers it or has lapsed."""
    waiver = policy.waiver(finding.rule)
    if waiver is None or not finding.blocks:
        return finding
    if waiver.holds(today):
        return replace(finding, waived=str(waiver))
    return replace(
        finding,
        because=f"{finding.because}; the waiver of {waiver.owner} lapsed on {waiver.expires}",
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
