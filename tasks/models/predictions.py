"""The seam through which two models are compared word by word."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from tasks.models.windows import Piece, windows

WINDOW = 512
"""Tokens of a window at the most, whatever the model could hold: the predictions of a window
are in memory at once, for two models. llama.cpp's `--kl-divergence` has the same default."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The whole vocabulary's log-probabilities along a piece of a text.

    `text` is the text's number, `tokens` of shape (T,) the piece's tokens, `logprobs` of
    shape (T, V) in nats: row t is log p(. | what precedes tokens[t] in its window).
    """

    text: int
    tokens: npt.NDArray[np.integer]
    logprobs: npt.NDArray[np.float32]


@runtime_checkable
class Predicts(Protocol):
    """A model that says what it expects at every token of a text."""

    def predictions(self, texts: Sequence[str]) -> Iterator[Prediction]:
        """The predictions along each text, in order, lazily.

        One `Prediction` for each window (see `cut`), so that a long text comes as several;
        an empty text comes as none.
        """
        ...


def cut(tokens: Sequence[int], prefix: int, max_length: int) -> list[Piece]:
    """Windows of a text that every model of one family cuts alike; see `windows`."""
    return windows(tokens, prefix, min(max_length, WINDOW))
