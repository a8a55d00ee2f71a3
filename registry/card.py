"""What does a reviewer read about a version? Its model card, in Markdown.

Everything that comes from a file, a model or a person is escaped: it can neither become
markup nor open a link.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from audits.evidence import Evidence, Measure
from registry.finding import Finding, Verdict
from registry.gate import Decision
from registry.wording import number

MARK = {Verdict.PASS: "pass", Verdict.FAIL: "**FAIL**", Verdict.INCONCLUSIVE: "inconclusive"}
PROSE = ("intended_use", "limits")
SPECIAL = re.compile(r"([\\`*_{}\[\]()#!|~:])")
ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;", "@": "&#64;"})
"""Where MLflow's renderer would show a backslash."""


@dataclass(frozen=True, eq=False)
class Subject:
    """What a card is about: the evidence, and its measures computed once."""

    name: str
    title: str
    evidence: Evidence
    measures: Mapping[str, Measure]
    absent: Mapping[str, str]

    @classmethod
    def of(cls, name: str, title: str, evidence: Evidence) -> "Subject":
        """Compute every measure of the evidence."""
        found: dict[str, Measure] = {}
        absent: dict[str, str] = {}
        for part in evidence.parts.values():
            measures, missing = part.measures()
            found |= {m.name: m for m in measures}
            absent |= missing
        return cls(name, title, evidence, found, absent)


def render(subject: Subject, decision: Decision | None = None, *, limit: int = 0) -> str:
    """The card: verdict, findings, use and limits, lineage, every measure with interval and n.

    With a `limit` of characters (a database column's) rows at the end give way to a
    sentence that says where the whole card is.
    """
    lines = [
        f"# {escape(subject.name)}: {escape(subject.title)}",
        "",
        *_verdict(decision),
        *_prose(subject.evidence.about),
        *_lineage(subject.evidence),
        *_measures(subject),
    ]
    return _cut(lines, limit) if limit else "\n".join(lines) + "\n"


def escape(value: object) -> str:
    r"""Foreign text as one line of plain Markdown.

    >>> print(escape("<b>|x|</b>"))
    &lt;b&gt;\|x\|&lt;/b&gt;
    """
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = "".join(c if c.isprintable() else " " for c in text)
    return SPECIAL.sub(r"\\\1", text).translate(ENTITIES)


def _verdict(decision: Decision | None) -> list[str]:
    if decision is None:
        return ["Not judged yet.", ""]
    lines = [
        f"**{decision.verdict.upper()}** by policy {escape(decision.policy)} "
        f"(`{decision.policy_digest[:12]}`): {escape(decision.sentence)}.",
        "",
        "| rule | verdict | because |",
        "| --- | --- | --- |",
    ]
    return [*lines, *(_finding(f) for f in decision.findings), ""]


def _finding(finding: Finding) -> str:
    verdict = MARK[finding.verdict] if finding.applies else "does not apply"
    soft = "" if finding.hard else " (soft)"
    return f"| {escape(finding.rule)}{soft} | {verdict} | {escape(finding.because)} |"


def _prose(about: Mapping[str, object]) -> list[str]:
    lines: list[str] = []
    for key in PROSE:
        if about.get(key):
            lines += [f"## {key.replace('_', ' ').capitalize()}", "", escape(about[key]), ""]
    return lines


def _lineage(evidence: Evidence) -> list[str]:
    rest = {k: v for k, v in evidence.about.items() if k not in PROSE and v not in ("", None)}
    rows = [f"| weights | `{escape(evidence.subject)}` |"]
    rows += [f"| {escape(key)} | {escape(value)} |" for key, value in sorted(rest.items())]
    return ["## Lineage", "", "| what | |", "| --- | --- |", *rows, ""]


def _measures(subject: Subject) -> list[str]:
    head = [
        "## Measures", "", "| measure | value | 95 % interval | n | better |",
        "| --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    rows = [_measure(m) for _, m in sorted(subject.measures.items())]
    rows += [
        f"| {escape(name)} | not measured | | | {escape(why)} |"
        for name, why in sorted(subject.absent.items())
    ]
    return head + rows


def _measure(m: Measure) -> str:
    unit = "" if m.unit in ("", "share") else f" {escape(m.unit)}"
    interval = "exact" if m.low == m.high else f"{number(m.low)} to {number(m.high)}"
    size = f"{m.n:,}" if m.n == m.clusters else f"{m.n:,} in {m.clusters:,} clusters"
    return f"| {escape(m.name)} | {number(m.value)}{unit} | {interval} | {size} | {m.better} |"


def _cut(lines: list[str], limit: int) -> str:
    text = "\n".join(lines) + "\n"
    if len(text) <= limit:
        return text
    kept = list(lines)
    while kept:
        note = (
            f"\n{len(lines) - len(kept)} more lines are in card.md among the run's artifacts.\n"
        )
        text = "\n".join(kept) + "\n" + note
        if len(text) <= limit:
            return text
        kept.pop()
    return ""
