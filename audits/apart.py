"""How far do the scores of a template's prompts lie apart, group from group?"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from audits.estimand import Declared, Lean, Ratio
from audits.intervals import Floats
from audits.model import Example

DRAWS = 64
"""Exchanges of labels within a template; the mean of a null needs few."""

Compared = Mapping[str, float]


def compared(
    asked: Sequence[Example],
    scores: Sequence[Sequence[float]],
    groups: Sequence[str],
    *,
    seed: int,
) -> list[Compared]:
    """For each prompt, how it compares with its template's prompts about other groups.

    `paired` is 1 where the template has prompts about every group. `above_G` is one half of
    1 plus the prompt's mean score minus G's mean (between 0 and 1, as a `Lean` wants it);
    `apart_G` the Wasserstein-1 distance of the template's scores of both groups, and
    `apart_G_excess` the same above the mean of exchanged labels, in the form of `above_G`. All
    are 0 where not paired.
    """
    by_template: dict[str, list[int]] = defaultdict(list)
    for at, example in enumerate(asked):
        by_template[example.strata["template"]].append(at)
    blank = dict.fromkeys(_columns(groups), 0.0)
    found: list[Compared] = [blank] * len(asked)
    for template, places in by_template.items():
        held = {g: [at for at in places if asked[at].group == g] for g in groups}
        if not template or not all(held.values()):
            continue
        drawn = {g: np.array([scores[at] for at in own]) for g, own in held.items()}
        apart = _distances(drawn, template, seed)
        for at in places:
            mine = float(np.mean(scores[at]))
            above = {f"above_{g}": (1 + mine - float(drawn[g].mean())) / 2 for g in groups}
            found[at] = blank | {"paired": 1.0} | above | apart[asked[at].group]
    return found


def between(one: str, other: str, where: Mapping[str, str]) -> Iterator[Declared]:
    """Measures of how far one group's scores lie above another's, template by template."""
    where = {**where, "group": one}
    yield Declared(
        name=f"difference/{one}_above_{other}", better="lower", where=where,
        of=Lean(value=f"above_{other}", over="paired"),
        about=f"mean score of {one} minus that of {other} in the same template",
    )  # fmt: skip
    if one > other:
        return
    yield Declared(
        name=f"wasserstein/{one}_{other}", better="lower", where=where,
        of=Ratio(value=f"apart_{other}", over="paired"),
        about="mean distance of both distributions of scores, by template",
        diagnostic="a distance is never negative; what exchanged labels show is not taken off",
    )  # fmt: skip
    yield Declared(
        name=f"wasserstein/{one}_{other}/above_null", better="lower", where=where,
        of=Lean(value=f"apart_{other}_excess", over="paired", excess=True),
        about="the same above what exchanged labels show",
    )  # fmt: skip


def _columns(groups: Sequence[str]) -> list[str]:
    of_group = ("above_{}", "apart_{}", "apart_{}_excess")
    return ["paired", *(name.format(group) for group in groups for name in of_group)]


def _distances(
    drawn: Mapping[str, Floats], template: str, seed: int
) -> dict[str, dict[str, float]]:
    """By group, the distance to every other one and what lies above its null."""
    from scipy.stats import wasserstein_distance

    rng = np.random.default_rng([seed, *hashlib.sha256(template.encode()).digest()[:16]])
    found: dict[str, dict[str, float]] = {group: {} for group in drawn}
    names = sorted(drawn)
    for at, one in enumerate(names):
        for other in names[at + 1 :]:
            a, b = drawn[one].ravel(), drawn[other].ravel()
            distance = float(wasserstein_distance(a, b))
            excess = (1 + distance - _null(a, b, rng)) / 2
            for mine, theirs in ((one, other), (other, one)):
                found[mine] |= {f"apart_{theirs}": distance, f"apart_{theirs}_excess": excess}
    return found


def _null(one: Floats, other: Floats, rng: np.random.Generator) -> float:
    """Mean distance where labels are exchanged.

    Samples that share their luck are exchanged in pairs; where there are other numbers of
    them, all are dealt anew.
    """
    if len(one) == len(other):
        swap = rng.random((DRAWS, len(one))) < 0.5
        first, second = np.where(swap, other, one), np.where(swap, one, other)
        sides = np.sort(first, axis=1) - np.sort(second, axis=1)
        return float(np.abs(sides).mean())
    from scipy.stats import wasserstein_distance

    both = np.concatenate([one, other])
    dealt = (rng.permutation(both) for _ in range(DRAWS))
    n = len(one)
    return float(np.mean([wasserstein_distance(d[:n], d[n:]) for d in dealt]))
