"""What does each candidate cost, what did compression change, and who is beaten by nobody?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from audits.errors import MeasureError
from audits.estimand import Declared, Ratio
from audits.evidence import Measure, Part
from audits.flips import flips
from tasks.report import plane, words
from tasks.report.figures import chosen
from tasks.report.model import SIZE, SPEED, STORAGE, CandidateReport

EVALUATE = "evaluate"
SENTENCES = ("run_time", "kv_cache")
SHOWN = (*SENTENCES, "remainder", "fallbacks", "zeros_lost")
"""Remarks of a step that say what its bytes and its zeros are worth."""
YES_OR_NO = ("acc", "exact_match", "correct")
"""Columns that say whether an answer is right."""


@dataclass(frozen=True, slots=True)
class Cost:
    """A candidate's row of the table of costs, as text."""

    candidate: str
    steps: tuple[str, ...]
    cells: tuple[str, ...]
    remarks: tuple[str, ...]


COLUMNS: Mapping[str, str] = {
    "Files": SIZE,
    "Layers": f"{STORAGE}/bytes_layers",
    "Embeddings": f"{STORAGE}/bytes_embeddings",
    "Bits per weight": f"{STORAGE}/bits_per_weight",
    "Memory, loaded": "profile/load_rss_mb",
    "Memory, peak": "profile/peak_rss_mb",
    "First token": "profile/ttft_ms",
    "New tokens": SPEED,
    "Energy": "profile/joules_per_token",
}
"""Heads of the table of costs, and the measure that each shows."""


def costs(candidates: Sequence[CandidateReport]) -> list[Cost]:
    """One row per candidate; what is not known is a dash."""
    return [
        Cost(
            c.name,
            tuple(_written(step["method"]) for step in _steps(c)),
            tuple(words.measured(c.measure(name)) for name in COLUMNS.values()),
            tuple(dict.fromkeys(note for step in _steps(c) for note in _gain(step["remarks"]))),
        )
        for c in candidates
    ]


def _steps(candidate: CandidateReport) -> Sequence[Mapping[str, Mapping[str, object]]]:
    part = _part(candidate, STORAGE)
    found = part.notes.get("steps") if part else None
    return found if isinstance(found, list) else []


def _written(method: Mapping[str, object]) -> str:
    """A step as a run file has it, its kind first."""
    said = ", ".join(
        f"{k} {_plain(v)}" for k, v in method.items() if k != "kind" and v is not None
    )
    return f"{method.get('kind')} ({said})" if said else str(method.get("kind"))


def _plain(held: object) -> str:
    """A setting or remark as people read it: digests short, parts side by side."""
    if isinstance(held, Mapping):
        return " ".join(_plain(value) for value in held.values())
    if isinstance(held, list):
        return "; ".join(map(_plain, held))
    return words.short(held)


def _gain(remarks: Mapping[str, object]) -> Iterator[str]:
    for name in SHOWN:
        held = remarks.get(name)
        said = _plain(held) if held else ""
        if said:
            yield said if name in SENTENCES else f"{name.replace('_', ' ')}: {said}"


@dataclass(frozen=True, slots=True)
class Changed:
    """A measure's value for each candidate, and its change from the model it was made from."""

    measure: str
    about: str
    aim: str
    cells: tuple[tuple[str, str, str], ...]
    """Value, change with its 95% interval, and "better", "worse" or ""."""


def changes(candidates: Sequence[CandidateReport]) -> list[Changed]:
    """What the policy judges, every benchmark, and the first measure of each audit."""
    shown: dict[str, Declared] = {}
    for candidate in candidates:
        judged = {finding.measure for finding in candidate.findings}
        for part in _compared(candidate):
            for number, declared in enumerate(part.declared):
                name = part.full_name(declared)
                if name in judged or part.name == EVALUATE or number == 0:
                    shown.setdefault(name, declared)
    return [
        Changed(name, d.about, d.aim, tuple(_cell(c, name, d) for c in candidates))
        for name, d in shown.items()
    ]


def _compared(candidate: CandidateReport) -> Iterator[Part]:
    for part in candidate.parts:
        if part.name not in ("profile", STORAGE) and "control" not in part.conditions:
            yield part


def _cell(candidate: CandidateReport, name: str, declared: Declared) -> tuple[str, str, str]:
    measure = candidate.measure(name)
    value = words.measured(measure)
    pair = _pair(candidate, name.partition("/")[0])
    if measure is None or pair is None:
        return value, "", ""
    new, old = pair
    try:
        moved = declared.difference(new.completed(), old.completed(), level=0.95)
    except MeasureError:
        return value, "", ""
    text = f"{moved.value:+.3f} ({moved.low:+.3f} to {moved.high:+.3f})"
    signed = min(measure.value, measure.value - moved.value) < 0  # 0 is best, not less
    if signed or not declared.one_way:
        return value, text, ""
    sign = -1 if declared.better == "lower" else 1
    if sign * moved.low > 0 and sign * moved.high > 0:
        return value, text, "better"
    return value, text, "worse" if sign * moved.low < 0 and sign * moved.high < 0 else ""


def _pair(candidate: CandidateReport, name: str) -> tuple[Part, Part] | None:
    """A part of a candidate and the same of its parent, where they answer one question."""
    new = _part(candidate, name)
    old = next((p for p in candidate.made_from if p.name == name), None)
    return (new, old) if new and old and new.basis == old.basis else None


def _part(candidate: CandidateReport, name: str) -> Part | None:
    return next((p for p in candidate.parts if p.name == name), None)


@dataclass(frozen=True, slots=True)
class Flipped:
    """How many answers to one set of questions changed between a model and its parent."""

    candidate: str
    questions: str
    n: int
    lost: int
    gained: int
    share: str


def flipped(candidates: Sequence[CandidateReport]) -> list[Flipped]:
    """Answers that turned, for every set of questions with right and wrong answers."""
    found: list[Flipped] = []
    for candidate in candidates:
        for part in _compared(candidate):
            pair = _pair(candidate, part.name)
            rows = (_flips(candidate.name, d, *pair) for d in part.declared) if pair else ()
            known = [row for row in rows if row is not None]
            # The questions of an audit are its first measure's; others choose among them.
            found += known if part.name == EVALUATE else known[:1]
    return found


def _flips(candidate: str, declared: Declared, new: Part, old: Part) -> Flipped | None:
    of = declared.of
    if not isinstance(of, Ratio) or of.over or of.value not in YES_OR_NO or declared.by:
        return None
    frames = [chosen(part.completed(), declared) for part in (old, new)]
    try:
        found = flips(frames[0], frames[1], correct=of.value)
    except MeasureError:
        return None
    rate = next(f for f in found.figures if f.name == "flips")
    share = f"{rate.value:.3f} ({rate.low:.3f} to {rate.high:.3f})"
    lost, gained = found.counts["lost"], found.counts["gained"]
    return Flipped(candidate, new.full_name(declared), found.n, lost, gained, share)


@dataclass(frozen=True, slots=True)
class Frontier:
    """A chart of cost and quality, and the candidates that none beats in both."""

    chart: Markup
    undominated: tuple[str, ...]
    about: str


def frontiers(candidates: Sequence[CandidateReport]) -> list[Frontier]:
    """Quality by size and by speed, where two candidates at least have both."""
    quality = _quality(candidates)
    if not quality:
        return []
    axes = {
        SIZE: plane.Axis("weight files", words.size),
        SPEED: plane.Axis("new tokens per second"),
    }
    found = (_frontier(candidates, cost, axis, quality) for cost, axis in axes.items())
    return [one for one in found if one is not None]


def _quality(candidates: Sequence[CandidateReport]) -> str:
    """The first benchmark that the policy judges, else the first there is."""
    judged = (f.measure for c in candidates for f in c.findings)
    every = (m.name for c in candidates for m in c.measures)
    names = [name for name in (*judged, *every) if name.startswith(f"{EVALUATE}/")]
    return names[0] if names else ""


def _frontier(
    candidates: Sequence[CandidateReport], cost: str, axis: plane.Axis, quality: str
) -> Frontier | None:
    pairs = [
        (number, x, y)
        for number, c in enumerate(candidates)
        if (x := c.measure(cost)) is not None and (y := c.measure(quality)) is not None
    ]
    if len(pairs) < 2:
        return None
    best = undominated([(x, y) for _, x, y in pairs])
    spots = [
        plane.Spot(
            number, x.value, y.value, y.low, y.high,
            f"{candidates[number].name}: {words.measured(x)}, {words.measured(y)}",
            candidates[number].name if k in best else "",
        )
        for k, (number, x, y) in enumerate(pairs)
    ]  # fmt: skip
    line = sorted((pairs[k][1].value, pairs[k][2].value) for k in best)
    y = pairs[0][2]
    chart = plane.scatter(
        spots, [c.name for c in candidates], axis,
        plane.Axis(f"{quality.removeprefix('evaluate/')} ({y.better} is better)"),
        alt=f"{quality} by {cost}", through=line,
    )  # fmt: skip
    return Frontier(chart, tuple(candidates[pairs[k][0]].name for k in best), quality)


def undominated(pairs: Sequence[tuple[Measure, Measure]]) -> list[int]:
    """Positions of the pairs that no other is as good as in both and better than in one.

    By the values alone: which of two close ones is better, intervals may leave open.
    """
    rank = [tuple(m.value if m.better == "lower" else -m.value for m in pair) for pair in pairs]
    return [
        k
        for k, mine in enumerate(rank)
        if not any(
            all(a <= b for a, b in zip(other, mine, strict=True)) and other != mine
            for other in rank
        )
    ]


def by_layer(candidates: Sequence[CandidateReport]) -> Markup:
    """The error of every layer that a step changed, in the model's order."""
    named: dict[tuple[str, ...], tuple[list[str], list[plane.Spot]]] = {}
    order = _order(candidates)
    for number, candidate in enumerate(candidates):
        for name, spots in _layers(candidate, number, order):
            # Chains that begin alike share a step: one line with all their names.
            alike = tuple(spot.hint for spot in spots)
            named.setdefault(alike, ([], spots))[0].append(name)
    if not named:
        return Markup("")
    return plane.curves(
        [(", ".join(names), spots) for names, spots in named.values()],
        plane.Axis("layer, first to last"),
        plane.Axis("|WX - W'X|² / |WX|²", "{:.1g}".format, log=True),
        alt="Relative squared error of each layer's outputs on identical inputs",
    )  # fmt: skip


def _order(candidates: Sequence[CandidateReport]) -> dict[str, int]:
    """The place of each layer: as the candidate with most of them has them, then the rest."""
    found = [
        list(dict.fromkeys(part.records.loc[part.records["row"] == "layer", "layer"]))
        for candidate in candidates
        if (part := _part(candidate, STORAGE)) is not None and "layer" in part.records
    ]
    names = sorted(found, key=len, reverse=True)
    return {n: at for at, n in enumerate(dict.fromkeys(n for one in names for n in one), 1)}


def _layers(
    candidate: CandidateReport, series: int, order: Mapping[str, int]
) -> Iterator[tuple[str, list[plane.Spot]]]:
    part = _part(candidate, STORAGE)
    rows = part.records[part.records["row"] == "layer"] if part else None
    if rows is None or rows.empty:
        return
    several = len(_steps(candidate)) > 1
    for step, held in rows.groupby("step", sort=True):
        errors = zip(held["layer"], held["method"], held["error"], strict=True)
        spots = [
            plane.Spot(
                series, order[layer], error, error, error, f"{layer}, {method}: {error:.4g}"
            )
            for layer, method, error in errors
            if error > 0
        ]
        if spots:
            yield f"{candidate.name} step {step:.0f}" if several else candidate.name, spots
