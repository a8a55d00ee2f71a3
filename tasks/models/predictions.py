"""What a model predicts at every token of a text."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Prediction:
    """The whole vocabulary's log-probabilities along a piece of a text.

    `text` is the text's number, `tokens` of shape (T,) the piece's tokens, `logprobs` of
    shape (T, V) in nats: row t is log p(. | prefix, tokens[:t]).
    """

    text: int
    tokens: npt.NDArray[np.integer]
    logprobs: npt.NDArray[np.float32]
