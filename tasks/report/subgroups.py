"""Who fares worse than chance shows, and whom did compression hurt? Measures by group."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from audits.errors import MeasureError
from audits.estimand import Declared, Estimate, Lean
from audits.evidence import Part
from audits.groups import Line, Table
from audits.groups import table as by_group
from audits.subgroups import Change, Moved, change, told
from tasks.report import svg, words
from tasks.report.model import CandidateReport

ENDS = {"score": (-1.0, 1.0), "share": (0.0, 1.0)}
"""Where the axis of a unit ends; others have no chart."""


@dataclass(frozen=True, slots=True)
class Row:
    """A group of one candidate as the report shows it."""

    candidate: str
    group: str
    n: int
    value: str
    gap: str
    p: str
    moved: str
    p_moved: str


@dataclass(frozen=True, slots=True)
class View:
    """A measure by group: what may be said, the chart, the table."""

    measure: str
    about: str
    aim: str
    sentences: tuple[str, ...]
    chart: Markup
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    """One candidate's table and, where it has a parent, what changed from it."""

    series: int
    candidate: str
    table: Table | None
    change: Change | None
    sentences: tuple[str, ...]


def views(candidates: Sequence[CandidateReport]) -> list[View]:
    """Every measure that is told by group, of all candidates that have it."""
    found: dict[str, tuple[Declared, list[_Seen]]] = {}
    for series, candidate in enumerate(candidates):
        for part in candidate.parts:
            if "control" in part.conditions:
                continue
            parent = next((p for p in candidate.made_from if p.name == part.name), None)
            for declared in told(part):
                name = part.full_name(declared)
                seen = _seen(series, candidate.name, part, declared, parent)
                found.setdefault(name, (declared, []))[1].append(seen)
    names = [candidate.name for candidate in candidates]
    return [_view(name, declared, seen, names) for name, (declared, seen) in found.items()]


def _seen(
    series: int, candidate: str, part: Part, declared: Declared, parent: Part | None
) -> _Seen:
    frame = part.completed()
    said = []
    told_of: Table | None = None
    moved: Change | None = None
    try:
        told_of = by_group(declared, frame, by=declared.by)
        said.append(f"{candidate}: {_apart(told_of, one_way=declared.one_way)}")
    except MeasureError as reason:
        said.append(f"{candidate}: no table; {reason}")
    if told_of and parent is not None and parent.basis == part.basis:
        try:
            moved = change(declared, frame, parent.completed(), by=declared.by)
            said.append(f"{candidate} against its parent: {_suffers(moved, declared)}")
        except MeasureError as reason:
            said.append(f"{candidate} against its parent: not compared; {reason}")
    return _Seen(series, candidate, told_of, moved, tuple(said))


def _apart(table: Table, *, one_way: bool) -> str:
    apart, n = table.apart, words.number
    text = (
        f"groups lie {n(apart.value)} apart ({n(apart.low)} to {n(apart.high)}); chance alone "
        f"shows {n(apart.null[0])}, up to {n(apart.null[1])} (p {apart.p:.2g})"
    )
    if table.named:
        line = next(line for line in table.lines if line.group == table.named)
        how = "is worse than" if one_way else "lies furthest from"
        return (
            f"{text}; {table.named} {how} the others, by more than chance shows: {_gap(line)}"
        )
    what = "has the worst value" if one_way else "lies furthest from the others"
    return f"{text}; {table.worst} {what}, which is not enough to name it"


def _gap(line: Line) -> str:
    """How far a group lies from the others, and how seldom chance shows as much."""
    return f"{_beside(line)}, p {line.p:.2g} (Holm)"


def _beside(line: Line) -> str:
    return f"{line.gap:+.3f} ({line.gap_low:+.3f} to {line.gap_high:+.3f})"


def _suffers(moved: Change, declared: Declared) -> str:
    whole = f"{_signed(moved.whole)} over all"
    if moved.suffers:
        held = next(m for m in moved.groups if m.group == moved.suffers)
        how = "suffers most, by more than chance shows"
        return f"{whole}; {moved.suffers} {how}: {_loss(held)} (Holm)"
    if moved.lost:
        named = _listed(moved, moved.lost)
        return (
            f"{whole}; lost more than chance shows, none more than the others: {named} (Holm)"
        )
    if moved.moved and not declared.one_way:
        named = _listed(moved, moved.moved)
        return f"{whole}; changed by more than chance shows: {named} (Holm); {declared.aim}"
    return f"{whole}; no group may be said to suffer (Holm)"


def _listed(moved: Change, names: Sequence[str]) -> str:
    """Groups with what they changed by."""
    return ", ".join(f"{m.group} {_by(m)}" for m in moved.groups if m.group in names)


def _by(held: Moved) -> str:
    assert held.estimate is not None
    return f"{_signed(held.estimate)}, p {held.p:.2g}"


def _loss(held: Moved) -> str:
    """What a group lost, by itself and beside all others together, with both p-values."""
    assert held.beyond is not None
    gap = held.beyond
    beside = f"{gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})"
    return f"{_by(held)}, and {beside} beside the others' change, p {gap.p:.2g}"


def _signed(e: Estimate) -> str:
    return f"{e.value:+.3f} ({e.low:+.3f} to {e.high:+.3f})"


def _view(
    name: str, declared: Declared, seen: Sequence[_Seen], candidates: Sequence[str]
) -> View:
    rows = [row for each in seen for row in _rows(each)]
    return View(
        measure=name,
        about=declared.about,
        aim=declared.aim,
        sentences=tuple(sentence for each in seen for sentence in each.sentences),
        chart=_chart(name, declared, seen, candidates),
        rows=tuple(sorted(rows, key=lambda row: row.group)),
    )


def _rows(seen: _Seen) -> list[Row]:
    if seen.table is None:
        return []
    moved = {m.group: m for m in (seen.change.groups if seen.change else ())}
    return [_row(seen.candidate, line, moved.get(line.group)) for line in seen.table.lines]


def _row(candidate: str, line: Line, moved: Moved | None) -> Row:
    e = line.estimate
    value = (
        f"{words.number(e.value)} ({words.number(e.low)} to {words.number(e.high)})"
        if e
        else ""
    )
    gap = words.ABSENT if line.gap is None else _beside(line)
    return Row(
        candidate=candidate,
        group=line.group,
        n=line.n,
        value=value or "not compared",
        gap=gap,
        p=words.ABSENT if line.p is None else f"{line.p:.2g}",
        moved=_signed(moved.estimate) if moved and moved.estimate else words.ABSENT,
        p_moved=words.ABSENT if moved is None or moved.p is None else f"{moved.p:.2g}",
    )


def _chart(
    name: str, declared: Declared, seen: Sequence[_Seen], candidates: Sequence[str]
) -> Markup:
    """Values by group on the unit's own axis, before what chance alone would show."""
    unit = "score" if isinstance(declared.of, Lean) else declared.unit
    if unit not in ENDS:
        return Markup("")
    dots: dict[str, list[svg.Dot]] = {}
    for each in seen:
        for line in each.table.lines if each.table else ():
            if (e := line.estimate) is not None:
                hint = f"{each.candidate}, {line.group}: {words.number(e.value)}, n {line.n}"
                dot = svg.Dot(each.series, e.value, e.low, e.high, hint, line.null)
                dots.setdefault(line.group, []).append(dot)
    if not dots:
        return Markup("")
    rows = [svg.Row(group, tuple(found)) for group, found in sorted(dots.items())]
    alt = f"{name} by {declared.by}, with 95% intervals and what chance alone would show"
    return svg.forest(rows, candidates, alt=alt, ends=ENDS[unit])
