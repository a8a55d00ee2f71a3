"""Charts as SVG text: a few kilobytes each, where a chart library would add five million.

Every string that is not ours is escaped here. Colours are classes `s0`, `s1`, …, and each
series has its own mark too, so a chart can be read without colour.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

_Place = Callable[[float, float], tuple[float, float]]

LEFT, RIGHT, ROW = 250, 24, 20
STYLE = """
svg{font:12px system-ui,sans-serif;background:#fff;color:#1b1f24}
@media(prefers-color-scheme:dark){svg{background:#14171a;color:#e6e9ec}}
.axis{stroke:currentColor;stroke-opacity:.25}.text{fill:currentColor}
.dim{fill:currentColor;fill-opacity:.65}.band{fill:currentColor;fill-opacity:.05}
.bound{stroke:#c2410c;stroke-width:2.5}.ideal{stroke:currentColor;stroke-dasharray:4 4;
stroke-opacity:.5}.null{stroke:currentColor;stroke-opacity:.16;stroke-width:13}.s0{stroke:#0b6bcb;fill:#0b6bcb}.s1{stroke:#b45309;fill:#b45309}
.s2{stroke:#0f8a5f;fill:#0f8a5f}.s3{stroke:#a3349b;fill:#a3349b}.s4{stroke:#5b6470;
fill:#5b6470}.s5{stroke:#be123c;fill:#be123c}.line{fill:none;stroke-width:1.5}
"""
"""What a chart needs when it stands alone; the report has the same rules for its page."""


@dataclass(frozen=True, slots=True)
class Dot:
    """A value with its interval, all on the axis of the chart."""

    series: int
    value: float
    low: float
    high: float
    hint: str
    null: tuple[float, float] | None = None
    """Between what values chance alone would put it; drawn behind."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a forest: its label, what is measured, and the bound to meet."""

    label: str
    dots: tuple[Dot, ...]
    bound: float | None = None
    at_least: bool = True


@dataclass(frozen=True, slots=True)
class Curve:
    """Points (x, y, low, high) of one series, x in order."""

    name: str
    points: tuple[tuple[float, float, float, float], ...]
    hints: tuple[str, ...] = field(default=())
    nulls: tuple[tuple[float, float, float], ...] = field(default=())
    """At x, between what y (low, high) chance alone would put a point; drawn behind."""


def forest(
    rows: Sequence[Row],
    series: Sequence[str],
    *,
    alt: str,
    ends: tuple[float, float] = (0.0, 1.0),
) -> Markup:
    """Dots with intervals on an axis between two ends, one group of lines per row."""
    width, span = 860, Span(860 - LEFT - RIGHT, *ends)
    tall = [ROW * max(1, len(row.dots)) + 8 for row in rows]
    height = sum(tall) + 64
    body = [legend(series, LEFT, 16), _axis(span, 34, height - 24)]
    top = 40
    for number, (row, room) in enumerate(zip(rows, tall, strict=True)):
        body.append(_forest_row(row, top, room, span, band=number % 2 == 0))
        top += room
    return whole(width, height, alt, body)


def _forest_row(row: Row, top: float, room: float, span: "Span", *, band: bool) -> Markup:
    parts = [Markup("")]
    if band:
        parts.append(
            tag("rect", x=0, y=top, width=LEFT + span.width + RIGHT, height=room, class_="band")
        )
    parts.append(label(LEFT - 12, top + room / 2 + 4, row.label, anchor="end"))
    if row.bound is not None:
        x = span.at(row.bound)
        parts.append(tag("line", x1=x, x2=x, y1=top + 2, y2=top + room - 2, class_="bound"))
        sign = "≥" if row.at_least else "≤"
        side, anchor = (x - 4, "end") if row.bound > 0.5 else (x + 4, "start")
        parts.append(label(side, top + 11, f"{sign} {row.bound:g}", anchor=anchor, small=True))
    for number, dot in enumerate(row.dots):
        y = top + 4 + ROW * (number + 0.5)
        css = f"s{dot.series % 6}"
        if dot.null is not None:
            left, right = map(span.at, dot.null)
            parts.append(tag("line", x1=left, x2=right, y1=y, y2=y, class_="null"))
        low, high = span.at(dot.low), span.at(dot.high)
        line = tag("line", x1=low, x2=high, y1=y, y2=y, class_=css, stroke_width=2)
        marked = mark(dot.series, span.at(dot.value), y)
        parts.append(Markup("<g><title>{}</title>{}{}</g>").format(dot.hint, line, marked))
    return Markup("").join(parts)


def lines(
    curves: Sequence[Curve],
    *,
    x_names: Sequence[str],
    x_title: str,
    y_title: str,
    alt: str,
    unit: bool = False,
    diagonal: bool = False,
    first: int = 0,
) -> Markup:
    """Curves with intervals; y from 0 to 1, x over the names, or with `unit` from 0 to 1."""
    width, height, left, top = 420, 300, 52, 34
    w, h = width - left - 16, height - top - 52
    last = max(1, len(x_names) - 1)

    def place(x: float, y: float) -> tuple[float, float]:
        across = x if unit else (x + 0.5) / (last + 1)
        return left + w * across, top + h * (1 - min(max(y, 0.0), 1.0))

    body = [legend([c.name for c in curves], left, 16, first)]
    for tick in (0, 0.25, 0.5, 0.75, 1):
        y = place(0, tick)[1]
        body.append(tag("line", x1=left, x2=left + w, y1=y, y2=y, class_="axis"))
        body.append(label(left - 6, y + 4, f"{tick:g}", anchor="end", small=True))
    for number, name in enumerate(x_names):
        x = left + w * number / last if unit else place(number, 0)[0]
        body.append(label(x, top + h + 16, name, anchor="middle", small=True))
    if diagonal:
        body.append(tag("line", x1=left, y1=top + h, x2=left + w, y2=top, class_="ideal"))
    body += [_span(place, *null, "null") for curve in curves for null in curve.nulls]
    body += [_curve(curve, number + first, place) for number, curve in enumerate(curves)]
    body.append(label(left + w / 2, height - 12, x_title, anchor="middle"))
    turned = Markup('<g transform="translate(14 {}) rotate(-90)">{}</g>')
    body.append(turned.format(round(top + h / 2), label(0, 0, y_title, anchor="middle")))
    return whole(width, height, alt, body)


def _curve(curve: Curve, series: int, place: _Place) -> Markup:
    css = f"s{series % 6}"
    spots = [place(x, y) for x, y, _, _ in curve.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
    parts = [tag("polyline", points=path, class_=f"line {css}", style="fill:none")]
    hints = curve.hints or ("",) * len(curve.points)
    for (x, _, low, high), spot, hint in zip(curve.points, spots, hints, strict=True):
        bar = _span(place, x, low, high, css)
        group = Markup("<g><title>{}</title>{}{}</g>")
        parts.append(group.format(hint, bar, mark(series, *spot)))
    return Markup("").join(parts)


def _span(place: _Place, x: float, low: float, high: float, css: str) -> Markup:
    (x1, y1), (x2, y2) = place(x, low), place(x, high)
    return tag("line", x1=x1, x2=x2, y1=y1, y2=y2, class_=css)


def standalone(chart: Markup) -> str:
    """The chart as an SVG file of its own."""
    style = Markup("<style>{}</style>").format(Markup(STYLE))
    head, title, rest = chart.partition("<title>")
    return str(Markup(head) + style + Markup(title) + Markup(rest)) + "\n"


@dataclass(frozen=True, slots=True)
class Span:
    """The axis of a forest: so many pixels from its least to its largest value."""

    width: float
    least: float
    most: float

    def at(self, value: float) -> float:
        """Where a value lies; what is beyond an end lies at it."""
        inside = min(max(value, self.least), self.most)
        return LEFT + self.width * (inside - self.least) / (self.most - self.least)


def _axis(span: Span, top: float, bottom: float) -> Markup:
    parts = []
    for quarter in range(5):
        tick = span.least + (span.most - span.least) * quarter / 4
        x = span.at(tick)
        parts.append(tag("line", x1=x, x2=x, y1=top, y2=bottom, class_="axis"))
        parts.append(label(x, bottom + 16, f"{tick:g}", anchor="middle", small=True))
    return Markup("").join(parts)


def legend(series: Sequence[str], left: float, top: float, first: int = 0) -> Markup:
    """Marks and names of the series, side by side."""
    parts, x = [], left
    for number, name in enumerate(series, first):
        parts.append(mark(number, x + 6, top - 4))
        parts.append(label(x + 16, top, name))
        x += legend_width([name])
    return Markup("").join(parts)


def legend_width(names: Sequence[str]) -> float:
    """Pixels that a legend of these names takes, about."""
    return sum(34 + 7.2 * len(name) for name in names)


def mark(series: int, x: float, y: float) -> Markup:
    """Disc, square, diamond, triangle: told apart without colour, and hollow from 24 on."""
    css, r = f"s{series % 6}{' hollow' if series // 24 % 2 else ''}", 4.5
    shape = (series + series // 6) % 4
    if shape == 0:
        return tag("circle", cx=x, cy=y, r=r, class_=css)
    if shape == 1:
        return tag("rect", x=x - r, y=y - r, width=2 * r, height=2 * r, class_=css)
    corners = {
        2: [(0, -6), (6, 0), (0, 6), (-6, 0)],
        3: [(0, -6), (6, 5), (-6, 5)],
    }[shape]
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return tag("polygon", points=points, class_=css)


def label(
    x: float, y: float, text: str, *, anchor: str = "start", small: bool = False
) -> Markup:
    """Words at a place; small ones are dim."""
    size, css = (11, "dim") if small else (12, "text")
    line = '<text x="{}" y="{}" text-anchor="{}" font-size="{}" class="{}">{}</text>'
    return Markup(line).format(round(x, 1), round(y, 1), anchor, size, css, text)


def tag(name: str, **attributes: str | float) -> Markup:
    """An empty element; `class_` is `class`, and other underscores are dashes."""
    written = Markup(" ").join(
        Markup('{}="{}"').format(
            key.rstrip("_").replace("_", "-"),
            round(value, 1) if isinstance(value, float) else value,
        )
        for key, value in attributes.items()
    )
    return Markup("<{} {}/>").format(name, written)


def whole(width: float, height: float, alt: str, body: Sequence[Markup]) -> Markup:
    """The chart itself, with what it says for those who cannot see it."""
    head = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" width="{0}" '
        'height="{1}" role="img"><title>{2}</title>{3}</svg>'
    )
    return Markup(head).format(width, height, escape(alt), Markup("\n").join(body))
