"""How numbers are written, everywhere in a report."""

from audits.evidence import Measure
from registry.finding import Verdict

SIGNS = {Verdict.PASS: "✓ pass", Verdict.FAIL: "✗ fail", Verdict.INCONCLUSIVE: "? not proven"}
"""A word and a sign for each verdict: colour alone says nothing to some readers."""

ABSENT = "—"


def number(value: float | None, unit: str = "") -> str:
    """A number with the digits its unit deserves; a dash where there is none."""
    if value is None:
        return ABSENT
    if unit == "bytes":
        return size(value)
    if value == int(value) and abs(value) < 1e15 and unit != "share":
        return f"{int(value):,}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) >= 0.001 or value == 0 else f"{value:.2g}"


def size(value: float) -> str:
    """Bytes in the largest decimal unit that leaves a whole number."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(value) >= factor:
            return f"{value / factor:.2f} {unit}"
    return f"{value:.0f} B"


def measured(measure: Measure | None) -> str:
    """Value and unit of a measure; a dash where there is none."""
    if measure is None:
        return ABSENT
    text = number(measure.value, measure.unit)
    return text if measure.unit in ("bytes", "share") else f"{text} {measure.unit}"


def interval(measure: Measure) -> str:
    """The 95% interval, or "exact"."""
    if measure.low == measure.high == measure.value:
        return "exact"
    return f"{number(measure.low, measure.unit)} to {number(measure.high, measure.unit)}"


def seconds(value: float) -> str:
    """A duration a person can read."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02} s"


def short(value: object) -> str:
    """The first twelve digits of a digest; anything else as it is, numbers with four."""
    if isinstance(value, float):
        return f"{value:.4g}"
    digest = str(value)
    plain = digest.removeprefix("sha256:")
    hexadecimal = len(plain) >= 32 and all(c in "0123456789abcdef" for c in plain)
    return plain[:12] if hexadecimal else digest
