"""What does a reviewer read about a version? Its model card, in Markdown.

Everything that comes from a file, a model or a person is escaped: it can neither become
markup nor open a link.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from audits.evidence import Evidence, Measure
from registry.finding import APPROVAL, APPROVED_DIGITS, Finding, Verdict
from registry.gate import Decision
from registry.wording import number

MARK = {Verdict.PASS: "pass", Verdict.FAIL: "**FAIL**", Verdict.INCONCLUSIVE: "inconclusive"}
PROSE = {"about": "What it is", "intended_use": "Intended use", "limits": "Limits"}
"""What people said of the model, with the heading it stands under."""
SPECIAL = re.compile(r"([\\`*_{}\[\]()#!|~])")
ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;", "@": "&#64;"})
"""Where MLflow's renderer would show a backslash."""
ADDRESS = re.compile(r"(\bwww(?=\.)|:(?=//))", re.IGNORECASE)
JOINER = "\u2060"
"""Invisible; within an address it keeps renderers from making a link of plain text, which
they do behind a backslash and without a colon too."""
DIGITS = 12
"""Of a digest, where it is mentioned; the whole one stands in a table of its own."""


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
    """The card: verdict and findings, waivers, approvals, what it is, lineage, measures.

    With a `limit` of characters (a database column's) rows at the end give way to a
    sentence that says where the whole card is.
    """
    lines = [
        f"# {escape(subject.name)}: {escape(subject.title)}",
        "",
        *_verdict(decision),
        *_waivers(decision),
        *_approvals(decision),
        *_prose(subject),
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
    plain = SPECIAL.sub(r"\\\1", ADDRESS.sub(rf"\1{JOINER}", text))
    return plain.translate(ENTITIES)


def _verdict(decision: Decision | None) -> list[str]:
    if decision is None:
        return ["Not judged yet.", ""]
    day = "" if decision.on == date.max.isoformat() else f" on {escape(decision.on)}"
    return [
        f"**{decision.verdict.upper()}**{day} by policy {escape(decision.policy)} "
        f"({_code(decision.policy_digest[:DIGITS])}): {escape(decision.sentence)}.",
        "",
        *_table("rule", "verdict", "because"),
        *(_finding(f) for f in _first_what_blocks(decision.findings)),
        "",
    ]


def _first_what_blocks(findings: Sequence[Finding]) -> list[Finding]:
    """In the policy's order, but a card that is cut short still shows why the answer is no."""
    return sorted(
        findings, key=lambda f: (not f.blocks, not f.waived, f.verdict is Verdict.PASS)
    )


def _finding(finding: Finding) -> str:
    verdict = MARK[finding.verdict] if finding.applies else "does not apply"
    if finding.waived:
        verdict += ", waived"
    if finding.regressed:
        verdict += ", but surely worse"
    soft = "" if finding.hard else " (soft)"
    return f"| {escape(finding.rule)}{soft} | {verdict} | {escape(finding.because)} |"


def _waivers(decision: Decision | None) -> list[str]:
    if decision is None or not decision.waived:
        return []
    rows = [f"| {escape(f.rule)} | {escape(f.waived)} |" for f in decision.waived]
    return ["## Waivers", "", *_table("rule", "who answers for it, until when, why"), *rows, ""]


def _approvals(decision: Decision | None) -> list[str]:
    """Who said yes to these weights, and how to say it. Nothing where nobody is asked."""
    if decision is None:
        return []
    asked = any(not f.measure for f in decision.findings)  # only people measure nothing
    if not asked and not decision.approvals:
        return []
    rows = [
        f"| {escape(a.by)} | {escape(a.note)} | "
        f"{'these weights' if a.covers(decision.subject) else '**other weights**'} |"
        for a in decision.approvals
    ]
    head = [*_table("approved by", "note", "covers"), *rows, ""] if rows else []
    digest = decision.subject[:APPROVED_DIGITS]
    return [
        "## Approvals",
        "",
        *head,
        f"To approve exactly these weights, set the tag {_code(f'{APPROVAL}YOUR-NAME')} to "
        f"{_code(digest)} on this version's page, or run "
        "`assay approve NAME/VERSION --by YOUR-NAME`; `assay promote NAME/VERSION` then judges "
        "it again.",
        "",
    ]


def _prose(subject: Subject) -> list[str]:
    said = {k: _paragraph(v) for k, v in subject.evidence.about.items() if k in PROSE and v}
    if subject.absent:
        lost = (
            f"{len(subject.absent)} declared measures have no value; the reasons stand below."
        )
        said["limits"] = f"{said['limits']}\n\n{lost}" if "limits" in said else lost
    return [
        line
        for key, heading in PROSE.items()
        if key in said
        for line in (f"## {heading}", "", said[key], "")
    ]


def _paragraph(value: object) -> str:
    """Text by itself, where a first `-` or `1.` would begin a list."""
    text = escape(value).strip()
    return JOINER + text if re.match(r"[-+=\d]", text) else text


def _lineage(evidence: Evidence) -> list[str]:
    """What it was made from and how, in a sentence; then every digest in full."""
    about = {k: v for k, v in evidence.about.items() if v not in (None, "", [], {})}
    parent, data = about.get("parent"), about.get("data")
    how = f" by {_recipe(about['recipe'])}" if "recipe" in about else ""
    how += f" with the data set {_short(data)}" if data else ""
    if parent:
        told = f"Made from the uncompressed model {_short(parent)}{how}."
    else:
        told = f"The uncompressed model itself{', made' if how else ''}{how}."
    digests = {"weights": evidence.subject, "parent": parent, "data": data}
    known = {*PROSE, *digests, "recipe", "title"}
    rest = {k: v for k, v in sorted(about.items()) if k not in known}
    rows = [f"| {escape(k)} | {_whole(v)} |" for k, v in (digests | rest).items() if v]
    return ["## Lineage", "", told, "", *_table("what", "in full"), *rows, ""]


def _recipe(recipe: object) -> str:
    """Steps as a person would list them: `rtn (bits 8, group_size 32), then …`."""
    steps = recipe if isinstance(recipe, list | tuple) else [recipe]
    return ", then ".join(_step(step) for step in steps)


def _step(step: object) -> str:
    if not isinstance(step, Mapping) or "kind" not in step:
        return escape(step)
    knobs = ", ".join(f"{escape(k)} {escape(v)}" for k, v in step.items() if k != "kind")
    return escape(step["kind"]) + (f" ({knobs})" if knobs else "")


def _short(digest: object) -> str:
    return _code(str(digest)[:DIGITS])


def _whole(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_whole(v) for v in value)
    return _code(value) if isinstance(value, str) else escape(value)


def _code(text: str) -> str:
    """Code where it is only letters, digits and the signs of names; else plain text."""
    return f"`{text}`" if re.fullmatch(r"[A-Za-z0-9._-]+", text) else escape(text)


def _measures(subject: Subject) -> list[str]:
    rows = [_measure(m, subject.evidence) for _, m in sorted(subject.measures.items())]
    rows += [
        f"| {escape(name)} | not measured | | | {escape(why)} |"
        for name, why in sorted(subject.absent.items())
    ]
    head = _table("measure", "value", "95 % interval", "n", "better")
    return ["## Measures", "", *head, *rows]


def _measure(m: Measure, evidence: Evidence) -> str:
    unit = "" if m.unit in ("", "share") else f" {escape(m.unit)}"
    interval = "exact" if m.low == m.high else f"{number(m.low)} to {number(m.high)}"
    size = f"{m.n:,}" if m.n == m.clusters else f"{m.n:,} in {m.clusters:,} clusters"
    found = evidence.find(m.name)
    name = f"{escape(m.name)} (diagnostic)" if found and found[1].diagnostic else escape(m.name)
    return f"| {name} | {number(m.value)}{unit} | {interval} | {size} | {m.better} |"


def _table(*columns: str) -> list[str]:
    return [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]


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
