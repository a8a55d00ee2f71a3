"""What some models can do beyond the seam that audits ask through."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from audits.model import Score


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
