"""Reading the rows of an audit's data format: the right key and type, or who lacks it."""

import math
from collections.abc import Mapping, Sequence

from audits.errors import AuditError
from audits.model import Example, LanguageModel, Score

Row = Mapping[str, object]

TRUNCATED = "the model's window has no room for the context, whose beginning was cut off"
"""Why an answer to a shorter question is no evidence."""


def text(row: Row, key: str) -> str:
    """The string under `key`; AuditError names the row and what it holds instead."""
    value = row.get(key)
    if not isinstance(value, str):
        raise AuditError(f"{_place(row)}: {key} must be a string, not {value!r}")
    return value


def filled(row: Row, key: str) -> str:
    """A string that is not empty."""
    if not (value := text(row, key)):
        raise AuditError(f"{_place(row)}: {key} is empty")
    return value


def number(row: Row, key: str) -> float:
    """The finite number under `key`; true and false are none."""
    value = row.get(key)
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
    ):
        raise AuditError(f"{_place(row)}: {key} must be a number, not {value!r}")
    return float(value)


def share(row: Row, key: str) -> float:
    """A number between 0 and 1."""
    if not 0 <= (value := number(row, key)) <= 1:
        raise AuditError(f"{_place(row)}: {key} must lie in [0, 1], not {value!r}")
    return value


def texts(row: Row, key: str) -> tuple[str, ...]:
    """The list of different strings under `key`."""
    value = row.get(key)
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise AuditError(f"{_place(row)}: {key} must be a list of strings, not {value!r}")
    found = tuple(v for v in value if isinstance(v, str) and v)
    if len(set(found)) != len(value):
        raise AuditError(f"{_place(row)}: {key} must hold different, non-empty strings")
    return found


def one_of(row: Row, key: str, known: tuple[str, ...]) -> str:
    """A string out of a closed set."""
    if (value := text(row, key)) not in known:
        raise AuditError(f"{_place(row)}: {key} is {value!r}, not one of {', '.join(known)}")
    return value


def by_role(kind: str, rows: Sequence[Row], known: tuple[str, ...]) -> dict[str, list[Row]]:
    """Rows of a joined set by the source they come from, in their order.

    Raises:
        AuditError: there are none, one stands twice, or a source is missing or unknown.
    """
    if not rows:
        raise AuditError(f"{kind}: no examples; its set has no rows")
    found: dict[str, list[Row]] = {role: [] for role in known}
    seen: set[str] = set()
    for row in rows:
        found[one_of(row, "role", known)].append(row)
        if (name := filled(row, "id")) in seen:
            raise AuditError(f"{kind}: row {name!r} stands twice in its set")
        seen.add(name)
    if missing := [role for role, held in found.items() if not held]:
        raise AuditError(
            f"{kind}: its set has no rows of role {missing[0]!r}; join {', '.join(known)}"
        )
    return found


def unique(kind: str, found: Sequence[Example]) -> tuple[Example, ...]:
    """The examples, where there are any and no id stands twice."""
    if not found:
        raise AuditError(f"{kind}: no examples; its set has no rows")
    seen: set[str] = set()
    for example in found:
        if example.id in seen:
            raise AuditError(f"{kind}: example {example.id!r} stands twice in its set")
        seen.add(example.id)
    return tuple(found)


def ask(
    kind: str,
    model: LanguageModel,
    requests: Sequence[tuple[str, str]],
    *,
    per_token: bool = False,
) -> list[Score]:
    """Score all requests at once, and one that stands twice only once.

    Raises:
        AuditError: there are none, or the model answers another number.
    """
    if not requests:
        raise AuditError(f"{kind}: no examples")
    different = list(dict.fromkeys(requests))
    scores = model.score(different, per_token=True) if per_token else model.score(different)
    if len(scores) != len(different):
        raise AuditError(f"{kind}: {len(scores)} scores for {len(different)} requests")
    known = dict(zip(different, scores, strict=True))
    return [known[request] for request in requests]


def unusable(scores: Sequence[Score]) -> str:
    """Why these scores are no evidence; empty where they are."""
    if not all(math.isfinite(s.logprob) for s in scores):
        return "a log-probability is not finite"
    if any(s.logprob > 1e-3 for s in scores):
        return "a log-probability is above 0"
    if any(s.truncated for s in scores):
        return TRUNCATED
    if not all(s.boundary_stable for s in scores):
        return "the context's tokens change when continued"
    return ""


def overlong(
    model: LanguageModel, prompts: Sequence[str], max_new_tokens: int
) -> tuple[str, ...]:
    """For each prompt to continue, why its continuation is no evidence; empty where it is."""
    lost = model.truncated(prompts, max_new_tokens=max_new_tokens)
    return tuple(TRUNCATED if n else "" for n in lost)


def _place(row: Row) -> str:
    return f"row {row.get('id', row.get('', '?'))!r}"
