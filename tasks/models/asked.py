"""What some models can do beyond the seam that audits ask through."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from audits.model import LanguageModel, Score


class Loaded(LanguageModel, Protocol):
    """A model as `load` gives it: it also says what its numbers were computed with."""

    @property
    def conditions(self) -> dict[str, str | int | float | bool]:
        """Backend, dtype, device and whatever else the numbers rest on."""
        ...


def room(model: LanguageModel, truncated: int | None) -> dict[str, str | int]:
    """Conditions to record: how much the model sees at once, and how often that was too little.

    Args:
        model: whom was asked.
        truncated: how many examples lost the beginning of a context; None where the model
            did not tell.
    """
    window = getattr(model, "max_length", None)
    seen = {} if window is None else {"window": int(window)}
    if window is None or truncated is None:
        return {**seen, "truncated": "not known"}
    return {**seen, "truncated": truncated}


@runtime_checkable
class ScoresText(Protocol):
    """A model that scores texts of any length in windows."""

    def score_text(self, texts: Sequence[str], *, add_special: bool = False) -> list[Score]:
        """Score whole texts given BOS (or EOS).

        Args:
            texts: what to score.
            add_special: score also the BOS that the tokenizer adds, as lm-eval does.
        """
        ...
