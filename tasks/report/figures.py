"""From findings, measures and records to charts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from audits.errors import MeasureError
from audits.estimand import CalibrationError, Declared, Ratio, RiskCoverage
from audits.evidence import Measure, Part
from tasks.report import svg, words
from tasks.report.model import CandidateReport

if TYPE_CHECKING:
    import pandas as pd

UNIT = ["0", "0.25", "0.5", "0.75", "1"]
STEPS = 12
"""Coverages at which a risk-coverage curve is drawn, at most."""
BINS = 10
"""Equal-width bins of a reliability diagram."""


def gated(candidates: Sequence[CandidateReport]) -> Markup:
    """Every share that a hard rule judges, candidate by candidate, with its bound."""
    bounds: dict[str, tuple[float | None, bool]] = {}
    for candidate in candidates:
        for finding in candidate.findings:
            if finding.hard:
                absolute = _absolute(finding.rule, finding.measure)
                if absolute is not None and finding.bound is not None:
                    bounds[finding.measure] = (finding.bound, absolute)
                else:
                    bounds.setdefault(finding.measure, (None, True))
    rows = []
    for name, (bound, at_least) in bounds.items():
        dots = tuple(
            svg.Dot(number, m.value, m.low, m.high, _hint(candidate.name, m))
            for number, candidate in enumerate(candidates)
            if (m := candidate.measure(name)) is not None and m.unit == "share"
        )
        if dots:
            rows.append(svg.Row(name, dots, bound, at_least))
    if not rows:
        return Markup("")
    names = [candidate.name for candidate in candidates]
    alt = "Shares that hard rules judge, with 95% intervals and the bounds to meet"
    return svg.forest(rows, names, alt=alt)


def _absolute(rule: str, measure: str) -> bool | None:
    """True for `measure >= bound`, False for `measure <= bound`, None for other rules."""
    sign = rule.removeprefix(measure).strip()[:2] if rule.startswith(measure) else ""
    return {">=": True, "<=": False}.get(sign)


def forest(measures: Sequence[Measure], name: str) -> Markup:
    """All shares of one model with their intervals."""
    rows = [
        svg.Row(m.name, (svg.Dot(0, m.value, m.low, m.high, _hint(name, m)),))
        for m in measures
        if m.unit == "share" and m.low >= 0 and m.high <= 1
    ]
    return svg.forest(rows, [name], alt=f"Shares measured of {name}") if rows else Markup("")


def _hint(candidate: str, m: Measure) -> str:
    return f"{candidate}: {words.measured(m)} (95%: {words.interval(m)}, n {m.n})"


@dataclass(frozen=True, eq=False)
class Group:
    """One model's name, parts, and measures by full name."""

    name: str
    parts: Sequence[Part]
    measures: Mapping[str, Measure]


def groups_of(candidates: Sequence[CandidateReport]) -> list[Group]:
    """What charts need of each candidate; what its controls answered is none of its own."""
    return [
        Group(
            c.name,
            [p for p in c.parts if "control" not in p.conditions],
            {m.name: m for m in c.measures},
        )
        for c in candidates
    ]


def by_exposure(groups: Sequence[Group]) -> list[Markup]:
    """One chart per family of measures that differ in how often a fact was seen.

    A family are the measures of one part whose declarations select by `bin`.
    """
    families: dict[str, dict[str, list[tuple[str, Measure]]]] = {}
    for group in groups:
        for part in group.parts:
            for head, found in _families(part, group.measures).items():
                families.setdefault(head, {})[group.name] = found
    return [_exposure_chart(head, found) for head, found in families.items()]


def _families(part: Part, known: Mapping[str, Measure]) -> dict[str, list[tuple[str, Measure]]]:
    """Measures by bin, in the order declared, under the name they share."""
    binned = {part.full_name(d): d for d in part.declared if "bin" in d.where}
    found: dict[str, list[tuple[str, Measure]]] = {}
    for name, declared in binned.items():
        head, _, _ = name.rpartition("/")
        if name in known:
            found.setdefault(head, []).append((declared.where["bin"], known[name]))
    return {head: points for head, points in found.items() if len(points) > 1}


def _exposure_chart(head: str, found: Mapping[str, list[tuple[str, Measure]]]) -> Markup:
    names = list(dict.fromkeys(name for points in found.values() for name, _ in points))
    shift = 0.5 / max(1, len(found))
    curves = [
        svg.Curve(
            candidate,
            tuple(
                (names.index(bin_) + shift * (k - (len(found) - 1) / 2), m.value, m.low, m.high)
                for bin_, m in points
            ),
            tuple(_hint(candidate, m) for _, m in points),
        )
        for k, (candidate, points) in enumerate(found.items())
    ]
    return svg.lines(
        curves, x_names=names, x_title="times seen in training", y_title=head,
        alt=f"{head} by the number of times a fact was seen in training",
    )  # fmt: skip


def reliability(groups: Sequence[Group]) -> list[Markup]:
    """Reliability diagrams, one per candidate and calibration measure's first population."""
    charts = []
    for series, group in enumerate(groups):
        for part in group.parts:
            declared = next((d for d in part.declared if _calibrates(d)), None)
            curve = declared and _reliability(part, declared, group.name)
            if declared and curve:
                charts.append(
                    svg.lines(
                        [curve], unit=True, diagonal=True, x_names=UNIT,
                        x_title="stated confidence", y_title="share correct", first=series,
                        alt=f"Reliability of {group.name}: {part.full_name(declared)}",
                    )
                )  # fmt: skip
    return charts


def _calibrates(declared: Declared) -> bool:
    return isinstance(declared.of, CalibrationError)


def _reliability(part: Part, declared: Declared, candidate: str) -> svg.Curve | None:
    """Share correct against mean confidence in bins (lo, hi], before a calibrated model's."""
    from audits.binned import band, consistency, error
    from audits.resample import bin_of

    of = declared.of
    assert isinstance(of, CalibrationError)  # `_calibrates` chose it
    rows = _rows(part, declared)
    if rows.empty or of.confidence not in rows or of.correct not in rows:
        return None
    confidence = rows[of.confidence].to_numpy(float)
    correct = rows[of.correct].to_numpy(float)
    which = bin_of(confidence, BINS)
    points, hints, nulls = [], [], []
    for number in sorted(set(which.tolist())):
        held = which == number
        said = float(confidence[held].mean())
        right, low, high = _rate(rows[held], of.correct)
        points.append((said, right, low, high))
        nulls.append((said, *band(confidence[held])))
        hints.append(f"{held.sum()} answers at {said:.2f}: {right:.2f} correct")
    ece = error(confidence, correct, bin_of(confidence, of.bins))
    p, _ = consistency(confidence, correct, of.bins)
    title = f"{candidate}: ECE {ece:.3f}, p {p:.2g}"
    return svg.Curve(title, tuple(points), tuple(hints), tuple(nulls))


def _rate(rows: "pd.DataFrame", value: str) -> tuple[float, float, float]:
    """Mean and 95% interval by cluster; anything is possible where there is one cluster."""
    rate = Declared(name="rate", better="lower", about="share of rows", of=Ratio(value=value))
    try:
        found = rate.estimate(rows, level=0.95)
    except MeasureError:
        return float(rows[value].mean()), 0.0, 1.0
    return found.value, found.low, found.high


def risk_coverage(groups: Sequence[Group]) -> list[Markup]:
    """One chart per part that measures an area under this curve, with every candidate."""
    found: dict[str, dict[int, svg.Curve]] = {}
    for series, group in enumerate(groups):
        for part in group.parts:
            declared = next((d for d in part.declared if isinstance(d.of, RiskCoverage)), None)
            curve = declared and _risk_coverage(part, declared, group.name)
            if declared and curve:
                found.setdefault(part.name, {})[series] = curve
    return [
        svg.lines(
            list(curves.values()), unit=True, x_names=UNIT, first=min(curves),
            x_title="share answered, surest first", y_title="share wrong",
            alt=f"Risk by coverage: {name}",
        )
        for name, curves in found.items()
    ]  # fmt: skip


def _risk_coverage(part: Part, declared: Declared, candidate: str) -> svg.Curve | None:
    """Share wrong among the surest, at coverages that a threshold can reach, by cluster."""
    import numpy as np

    from audits.selective import curve

    of = declared.of
    assert isinstance(of, RiskCoverage)
    rows = _rows(part, declared)
    if rows.empty or of.confidence not in rows or of.correct not in rows:
        return None
    rows = rows.assign(wrong=1 - rows[of.correct].astype(float))
    confidence = rows[of.confidence].to_numpy(float)
    whole = curve(confidence, rows["wrong"].to_numpy(float))
    wanted = np.searchsorted(whole.coverage, np.arange(1, STEPS + 1) / STEPS - 1e-9)
    points, hints = [], []
    for at in sorted(set(np.minimum(wanted, len(whole.coverage) - 1).tolist())):
        kept = rows[confidence >= whole.threshold[at]]
        value, low, high = _rate(kept, "wrong")
        points.append((float(whole.coverage[at]), value, low, high))
        hints.append(f"{candidate}: the surest {len(kept)} answers, {value:.3f} wrong")
    return svg.Curve(candidate, tuple(points), tuple(hints)) if points else None


def _rows(part: Part, declared: Declared) -> "pd.DataFrame":
    """The valid records that the declaration counts."""
    return chosen(part.records[part.records["why"] == ""], declared)


def chosen(rows: "pd.DataFrame", declared: Declared) -> "pd.DataFrame":
    """Those records that the declaration counts."""
    for column, value in declared.where.items():
        rows = rows[rows[column].astype(str) == value] if column in rows else rows.iloc[:0]
    return rows


def plots(parts: Sequence[Part], folder: Path, *, name: str = "model") -> list[Path]:
    """Write the charts of one model as SVG files, which MLflow shows beside its metrics.

    A part whose measures cannot be computed has no chart here; the gate says why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    charts: dict[str, Markup] = {}
    for part in parts:
        try:
            measures = part.measures()[0]
        except MeasureError:
            continue
        group = [Group(name, [part], {m.name: m for m in measures})]
        charts[f"measures-{part.name}"] = forest(measures, name)
        for kind, draw in _KINDS.items():
            for number, chart in enumerate(draw(group), 1):
                charts[f"{kind}-{part.name}-{number}"] = chart
    return [_write(folder / f"{title}.svg", chart) for title, chart in charts.items() if chart]


_KINDS = {"exposure": by_exposure, "reliability": reliability, "risk": risk_coverage}


def _write(path: Path, chart: Markup) -> Path:
    path.write_text(svg.standalone(chart), "utf-8")
    return path
