"""Charts of points and curves over two axes of numbers, as SVG text like the others."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tasks.report import svg

WIDTH, PLOT, LEFT, RIGHT, BOTTOM, LINE = 420, 214, 64, 20, 52, 16
MARGIN = 0.06
"""Share of an axis that stays free beyond its outermost points."""

_Number = Callable[[float], str]
_Place = Callable[[float, float], tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Spot:
    """A point with its interval on the y axis, and what is written beside it."""

    series: int
    x: float
    y: float
    low: float
    high: float
    hint: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis shows and how its numbers are written; both ends come from the points."""

    title: str
    write: _Number = "{:g}".format
    log: bool = False


def scatter(
    spots: Sequence[Spot],
    series: Sequence[str],
    x: Axis,
    y: Axis,
    *,
    alt: str,
    through: Sequence[tuple[float, float]] = (),
) -> Markup:
    """Points with their intervals, and a dashed line through some places."""
    xs = [s.x for s in spots]
    ys = [n for s in spots for n in (s.low, s.high)]
    top, body = _legend(series)
    place, height = _frame(xs, ys, x, y, top, body)
    path = " ".join("{:.1f},{:.1f}".format(*place(*one)) for one in through)
    if path:
        body.append(svg.tag("polyline", points=path, class_="ideal", style="fill:none"))
    for spot in spots:
        at, low, high = (place(spot.x, value) for value in (spot.y, spot.low, spot.high))
        bar = svg.tag(
            "line", x1=low[0], x2=high[0], y1=low[1], y2=high[1], class_=f"s{spot.series % 6}"
        )
        group = Markup("<g><title>{}</title>{}{}</g>")
        body.append(group.format(spot.hint, bar, svg.mark(spot.series, *at)))
        if spot.name:
            side, anchor = (-9, "end") if at[0] > WIDTH / 2 else (9, "start")
            body.append(svg.label(at[0] + side, at[1] + 16, spot.name, anchor=anchor))
    return svg.whole(WIDTH, height, alt, body)


def curves(
    points: Sequence[tuple[str, Sequence[Spot]]], x: Axis, y: Axis, *, alt: str
) -> Markup:
    """One line of points for each name; the points of a line share a series."""
    spots = [spot for _, line in points for spot in line]
    top, body = _legend([name for name, _ in points])
    place, height = _frame([s.x for s in spots], [s.y for s in spots], x, y, top, body)
    for number, (_, line) in enumerate(points):
        path = " ".join("{:.1f},{:.1f}".format(*place(s.x, s.y)) for s in line)
        css = f"line s{number % 6}"
        body.append(svg.tag("polyline", points=path, class_=css, style="fill:none"))
        for spot in line:
            marked = svg.mark(number, *place(spot.x, spot.y))
            body.append(Markup("<g><title>{}</title>{}</g>").format(spot.hint, marked))
    return svg.whole(WIDTH, height, alt, body)


def _legend(names: Sequence[str]) -> tuple[float, list[Markup]]:
    """Names and marks in as many lines as they need, and how much room that takes."""
    lines: list[list[str]] = [[]]
    for name in names:
        if lines[-1] and svg.legend_width([*lines[-1], name]) > WIDTH - LEFT:
            lines.append([])
        lines[-1].append(name)
    drawn, first = [], 0
    for row, line in enumerate(lines):
        drawn.append(svg.legend(line, LEFT, 16 + LINE * row, first))
        first += len(line)
    return 34 + LINE * (len(lines) - 1), drawn


def _frame(
    xs: Sequence[float], ys: Sequence[float], x: Axis, y: Axis, top: float, body: list[Markup]
) -> tuple[_Place, float]:
    """Draw the axes; where numbers lie, and how high the chart is."""
    w, h = WIDTH - LEFT - RIGHT, PLOT
    across, ticks_x = _scale(xs, x)
    up, ticks_y = _scale(ys, y)

    def place(a: float, b: float) -> tuple[float, float]:
        return LEFT + w * across(a), top + h * (1 - up(b))

    height = top + h + BOTTOM
    for tick in ticks_y:
        at = top + h * (1 - up(tick))
        body.append(svg.tag("line", x1=LEFT, x2=LEFT + w, y1=at, y2=at, class_="axis"))
        body.append(svg.label(LEFT - 6, at + 4, y.write(tick), anchor="end", small=True))
    for tick in ticks_x:
        at = LEFT + w * across(tick)
        body.append(svg.tag("line", x1=at, x2=at, y1=top + h, y2=top + h + 4, class_="axis"))
        body.append(svg.label(at, top + h + 16, x.write(tick), anchor="middle", small=True))
    body.append(svg.label(LEFT + w / 2, height - 12, x.title, anchor="middle"))
    turned = Markup('<g transform="translate(14 {}) rotate(-90)">{}</g>')
    body.append(turned.format(round(top + h / 2), svg.label(0, 0, y.title, anchor="middle")))
    return place, height


def _scale(values: Sequence[float], axis: Axis) -> tuple[Callable[[float], float], list[float]]:
    """A place from 0 to 1 for each number, and round numbers to mark."""
    number = math.log10 if axis.log else float
    low, high = min(map(number, values)), max(map(number, values))
    # Equal values lie in the middle; the least positive width keeps the division defined.
    room = (high - low) * MARGIN or abs(high) * MARGIN or 1.0
    low, high = low - room, high + room
    ticks = decades(low, high) if axis.log else round_numbers(low, high)

    def place(value: float) -> float:
        return (number(value) - low) / (high - low)

    return place, ticks


def round_numbers(low: float, high: float) -> list[float]:
    """Two to six numbers between two ends, one, two or five times a power of ten apart."""
    most = (high - low) / 2
    power = 10.0 ** math.floor(math.log10(most))
    step = max(power * m for m in (0.5, 1, 2, 5) if power * m <= most * (1 + 1e-9))
    first = math.ceil(low / step - 1e-9)
    found = []
    while (tick := first * step) <= high + 1e-9 * step:
        found.append(round(tick, 12))
        first += 1
    return found


def decades(low: float, high: float) -> list[float]:
    """Powers of ten between two ends given as logarithms; the ends where there is none."""
    found = [10.0**n for n in range(math.ceil(low), math.floor(high) + 1)]
    return found if len(found) > 1 else [10.0**low, *found, 10.0**high]
