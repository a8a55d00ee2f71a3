"""Which answers change between a model and its base, question by question?

Accuracy can stand still while answers flip both ways (arXiv:2407.09141).
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from audits import stats
from audits.drift import Figure, figure
from audits.errors import MeasureError
from audits.estimand import Declared, Ratio

if TYPE_CHECKING:
    import pandas as pd

Change = Literal["right to wrong", "wrong to right", "wrong to other wrong", "right to right"]
Answer = int | str | None
"""The number of a choice, or what was answered."""


@dataclass(frozen=True, slots=True)
class Flip:
    """One question that the two models answer differently; answers where they are known."""

    example: str
    cluster: str
    change: Change
    base: Answer
    variant: Answer


@dataclass(frozen=True, slots=True)
class Flips:
    """All that changed on one set of questions; `absent` says what is not known, and why."""

    n: int
    invalid: int
    counts: dict[str, int]
    figures: tuple[Figure, ...]
    examples: tuple[Flip, ...]
    absent: dict[str, str]


def flips(
    base: "pd.DataFrame",
    variant: "pd.DataFrame",
    *,
    correct: str,
    answer: str = "chosen",
    level: float = 0.95,
) -> Flips:
    """Compare two models' records of the same questions.

    Args:
        base: the base's records, one row per example.
        variant: the variant's.
        correct: column that is 1 where the answer is right and 0 where it is wrong.
        answer: column with the answer given (a number or text), where there is one.
        level: of the two-sided intervals: rates by Clopper and Pearson, the change of
            accuracy by Tango, both on as many examples as their clusters are worth.

    Raises:
        MeasureError: the two do not hold the same examples, or `correct` is no yes or no.
    """
    # Asked first, for it refuses what cannot be paired.
    change = stats.difference(_accuracy(correct), variant, base, level=level)
    both = _paired(base, variant, correct, answer)
    valid = both[both["why"] == ""]
    known = bool(valid[["answer_old", "answer_new"]].notna().all(axis=None))
    measures = RATES if known else RATES[:3]
    absent = {} if known else {
        "all_flips": "the records do not say which answer was given",
    }  # fmt: skip
    figures = [figure(declared, both, level=level) for declared in measures]
    figures.append(
        Figure(
            "accuracy_change", change.value, change.low, change.high, change.n,
            change.clusters, "higher", "share", change.method,
            "accuracy of the variant minus that of the base",
        )
    )  # fmt: skip
    names = [_column(declared) for declared in measures]
    counts = {name: int(valid[name].sum()) for name in names}
    right = {"right_base": int(valid["old"].sum()), "right_variant": int(valid["new"].sum())}
    return Flips(
        n=len(valid),
        invalid=len(both) - len(valid),
        counts=right | counts,
        figures=tuple(figures),
        examples=_examples(valid),
        absent=absent,
    )


def _paired(
    base: "pd.DataFrame", variant: "pd.DataFrame", correct: str, answer: str
) -> "pd.DataFrame":
    """Both sides of each example in one row, and what changed."""
    import pandas as pd

    sides = []
    for frame, side in ((base, "old"), (variant, "new")):
        given = frame[answer] if answer in frame else pd.Series(np.nan, index=frame.index)
        sides.append(
            pd.DataFrame(
                {
                    "example": frame["example"],
                    "cluster": frame["cluster"],
                    "group": frame["group"],
                    "why": frame["why"],
                    side: frame[correct].astype(float),
                    f"answer_{side}": given,
                }
            )
        )
    old, new = sides
    new = new[["example", "why", "new", "answer_new"]]
    both = old.merge(new, on="example", validate="one_to_one", suffixes=("", "_new"))
    both["why"] = both["why"].where(both["why"] != "", both.pop("why_new"))
    valid = both[both["why"] == ""]
    if not valid[["old", "new"]].isin([0.0, 1.0]).all(axis=None):
        raise MeasureError(f"{correct}: holds values that are not 0 or 1, so nothing can flip")
    moved = both["answer_old"] != both["answer_new"]
    both["lost"] = ((both["old"] == 1) & (both["new"] == 0)).astype(float)
    both["gained"] = ((both["old"] == 0) & (both["new"] == 1)).astype(float)
    both["flipped"] = both["lost"] + both["gained"]
    both["changed"] = np.maximum(both["flipped"], ((both["new"] == 0) & moved).astype(float))
    return both


def _examples(valid: "pd.DataFrame") -> tuple[Flip, ...]:
    moved = valid["answer_old"].notna() & (valid["answer_old"] != valid["answer_new"])
    rows = valid[(valid["flipped"] == 1) | moved].sort_values("example")
    return tuple(
        Flip(str(example), str(cluster), _change(old == 1, new == 1), _said(was), _said(now))
        for example, cluster, old, new, was, now in zip(
            *(rows[name].tolist() for name in _SHOWN), strict=True
        )
    )


def _said(answer: object) -> Answer:
    if isinstance(answer, float):
        return None if math.isnan(answer) else int(answer)
    return None if answer is None else str(answer)


def _change(was: bool, now: bool) -> Change:
    if was:
        return "right to right" if now else "right to wrong"
    return "wrong to right" if now else "wrong to other wrong"


def _accuracy(correct: str) -> Declared:
    return Declared(name="accuracy_change", better="higher", about="", of=Ratio(value=correct))


def _rate(name: str, column: str, about: str) -> Declared:
    return Declared(name=name, better="lower", about=about, of=Ratio(value=column))


def _column(declared: Declared) -> str:
    assert isinstance(declared.of, Ratio)
    return declared.of.value


_SHOWN = ("example", "cluster", "old", "new", "answer_old", "answer_new")

RATES = (
    _rate("right_to_wrong", "lost", "right in the base and wrong in the variant"),
    _rate("wrong_to_right", "gained", "wrong in the base and right in the variant"),
    _rate("flips", "flipped", "either of them (arXiv:2407.09141)"),
    _rate("all_flips", "changed", "flips, and a wrong answer that became another wrong one"),
)
