"""How often has a rule looked at fresh records of one model without passing?

Looking again until chance passes is optional stopping. A look is a judgement of records
that differ from those judged before; one that passed ends the looking, and records judged
again (by another policy, against another champion) are no new look.
"""

from collections.abc import Iterable, Mapping, Sequence

from registry.finding import Verdict
from registry.gate import Decision
from registry.rules import AnyRule

Judged = tuple[Decision, Mapping[str, str]]
"""A decision on the model, and the digest of each part's records it rested on."""


def looks(
    rules: Iterable[AnyRule], before: Sequence[Judged], now: Mapping[str, str]
) -> dict[str, int]:
    """Which look each rule takes now, by its line; only those that are not the first.

    A rule is recognised by its measure: a changed bound does not start the counting anew.
    """
    found: dict[str, int] = {}
    for rule in rules:
        part = rule.measure.partition("/")[0]
        current = now.get(part)
        if current is None:
            continue
        if count := len(_failed_before(rule.measure, part, current, before)):
            found[rule.id] = count + 1
    return found


def _failed_before(measure: str, part: str, current: str, before: Sequence[Judged]) -> set[str]:
    """Records that were judged, and did not pass, before the current ones first were."""
    seen: set[str] = set()
    for decision, parts in before:
        if parts.get(part) == current:
            break
        if part in parts and not _passed(decision, measure):
            seen.add(parts[part])
    return seen


def _passed(decision: Decision, measure: str) -> bool:
    """Whether every judgement of the measure passed then; no judgement is no look."""
    verdicts = [f.verdict for f in decision.findings if f.measure == measure]
    return all(verdict is Verdict.PASS for verdict in verdicts)
