"""How is a finding said, so that a person understands why?"""

from collections.abc import Callable
from dataclasses import dataclass

from audits.estimand import Better
from registry.finding import Verdict
from registry.looking import Limits, Sight, plural

FEW = 30
"""Below this many clusters Student's t still holds but says little: the sentence says so."""


@dataclass(frozen=True, slots=True)
class Wording:
    """How the values of one rule are spelt, and what the rule demands of them."""

    spell: Callable[[float], str]
    demand: str
    suffix: str = ""
    """Said once, after the value."""


def absolute(seen: Sight, bound: float, better: Better) -> Wording:
    """Words for a value and its bound."""
    unit = "" if seen.declared.unit in ("", "share") else f" {seen.declared.unit}"
    end = "at least" if better == "higher" else "at most"
    return Wording(
        lambda value: f"{number(value)}{unit}", f"must be {end} {number(bound)}{unit}"
    )


def within(seen: Sight, bound: float) -> Wording:
    """Words for a value that must be near 0 either way."""
    plain = absolute(seen, bound, "lower")
    return Wording(plain.spell, f"must be within {plain.spell(bound)} of 0")


def change(better: Better, than: str, margin: float) -> Wording:
    """Words for a difference from another model."""
    sign = -1 if better == "higher" else 1

    def spell(value: float) -> str:
        loss = sign * value
        return f"{number(abs(loss))} {'worse' if loss > 0 else 'better'}"

    demand = f"may be {number(margin)} worse" if margin else "may not be worse"
    return Wording(spell, demand, f" than the {than}")


def apart(better: Better, than: str, margin: float) -> Wording:
    """Words for a difference that must be small either way."""
    worse = change(better, than, margin)
    return Wording(worse.spell, f"may differ by {number(margin)}", worse.suffix)


def beyond(seen: Sight, bound: float, better: Better) -> Wording:
    """Words for a control, which must be on the bad side of a bound."""
    plain = absolute(seen, bound, better)
    return Wording(plain.spell, f"a planted defect {plain.demand}", plain.suffix)


def multiple(than: str, ratio: float) -> Wording:
    """Words for a ratio to another model."""
    demand = f"may be {number(ratio)} times"
    return Wording(lambda value: f"{number(value)} times", demand, f" the {than}'s")


def sentence(
    wording: Wording, limits: Limits, verdict: Verdict, better: Better, alpha: float
) -> str:
    """Value, how sure, and what was demanded.

    A limit is named from the side that decided: the worst a passing model may be, the best
    a failing one may be.
    """
    spell = wording.spell
    value = spell(limits.pessimistic.value) + wording.suffix
    if limits.low == limits.high:
        return f"{value}; {wording.demand}"
    worst, best = limits.low, limits.high
    if better == "lower":
        worst, best = best, worst
    sure = f"with {100 * (1 - alpha):g} % confidence"
    known = {
        Verdict.PASS: f"at worst {spell(worst)} {sure}",
        Verdict.FAIL: f"at best {spell(best)} {sure}",
        Verdict.INCONCLUSIVE: (
            f"from {spell(limits.low)} to {spell(limits.high)} {sure} on either side"
        ),
    }
    return f"{value}, {known[verdict]}; {wording.demand}"


def footing(seen: Sight) -> str:
    """What a value rests on, in brackets; nothing for exact values."""
    if seen.exact:
        return ""
    n, clusters = seen.counts
    if n == clusters:
        return f" ({plural(n, 'example')})"
    few = ", which is few" if clusters < FEW else ""
    return f" ({plural(n, 'example')} in {plural(clusters, 'cluster')}{few})"


def remedy(n: int | None) -> str:
    """What would settle an inconclusive rule.

    >>> remedy(1546)
    'about 1,600 examples would settle it'
    """
    if n is None:
        return "no number of examples will settle it at the current estimate"
    return f"about {_rounded(n):,} examples would settle it"


def number(value: float) -> str:
    """A number as a person wants to read it.

    >>> number(0.123456), number(1234567.0), number(0.0)
    ('0.1235', '1,234,567', '0')
    """
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def _rounded(n: int) -> int:
    """Two significant digits, upwards: more would pretend."""
    step = int(10 ** max(0, len(str(n)) - 2))
    return -(-n // step) * step
