"""The text a method looks at, encoded as the model's own tokenizer does."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, PositiveInt

from audits.errors import SpecError
from audits.settings import Settings

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from tasks.compress.folder import Source
    from tasks.compress.walk import Batch

LENGTH = 256
"""Tokens of a document on which errors are measured by a method that needs no text."""


def batches(source: "Source", *, samples: int, length: int) -> "list[dict[str, torch.Tensor]]":
    """The first documents, one per batch, each cut to `length` tokens.

    And to the positions that the model has.
    """
    import torch

    tokenizer = source.tokenizer()
    length = min(length, source.positions or length)
    encoded = tokenizer(list(source.texts[:samples]), truncation=True, max_length=length)
    return [
        {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids)).long()}
        for ids in encoded["input_ids"]
        if ids
    ]


class Calibrated(Settings):
    """What methods that look at calibration text have in common."""

    instead: ClassVar[str] = "magnitude"
    """A method of the same purpose that needs no text, where there is one."""

    samples: PositiveInt = 128
    """Calibration documents, the first ones of the set."""
    sequence_length: Annotated[int, Field(ge=8)] = 256
    """Longer documents are cut to so many tokens, and to the model's positions."""

    @property
    def reads_text(self) -> bool:
        """Whether nothing can be done without text."""
        return True

    def documents(self, source: "Source") -> "list[dict[str, torch.Tensor]]":
        """The text, one document per batch.

        Raises:
            SpecError: There is no text, or all of it is shorter than one sequence.
        """
        kind, length = str(getattr(self, "kind", "")), self.sequence_length
        if not source.texts:
            remedy = "add some"
            if self.instead:
                remedy += f" or choose method {self.instead}, which needs none"
            raise SpecError(
                f"method {kind}: the dataset's set 'calibration' holds no documents; {remedy}"
            )
        found = batches(source, samples=self.samples, length=length)
        n = sum(batch["input_ids"].numel() for batch in found)
        if n < length:
            raise SpecError(
                f"method {kind}: the calibration text has {n} tokens in all, less than one "
                f"sequence of {length}; give more text or lower sequence_length"
            )
        return found


def measurable(source: "Source", model: "PreTrainedModel") -> "Sequence[Batch]":
    """Documents to measure errors on; none where there is no text or the model has no walk."""
    from tasks.compress.walk import HELD, require_walk

    seen = batches(source, samples=HELD, length=LENGTH) if source.texts else []
    try:
        for batch in seen[:1]:
            require_walk(model, batch)
    except SpecError:
        return []
    return seen
