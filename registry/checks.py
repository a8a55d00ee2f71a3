"""What is one thing that was recomputed, and how is it told?"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass

UNSIGNED = "unsigned: whoever can write to the registry can rewrite it as a whole"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was recomputed: whether it holds, and what is to be said of it."""

    name: str
    ok: bool
    said: str


def each(name: str, wrong: Iterable[str], said: str) -> list[Check]:
    """One failed check for each sentence of what is wrong; where none is, one that holds."""
    found = [Check(name, False, sentence) for sentence in wrong]
    return found or [Check(name, True, said)]


def near(one: object, other: object) -> bool:
    """Whether two numbers are one but for the last digits, in which machines differ."""
    if not isinstance(one, int | float) or not isinstance(other, int | float):
        return False
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)


def short(value: object) -> str:
    """A value as text of a line's length."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
