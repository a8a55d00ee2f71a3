"""What a transformers model expects at every token of a text, a few windows at a time."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from tasks.models.predictions import Prediction, cut
from tasks.models.windows import Piece

if TYPE_CHECKING:
    from tasks.models.torch_model import TorchModel

TOKENS_PER_BATCH = 2048
LOGITS_PER_BATCH = 2**25

Window = tuple[int, Piece]


def predict(model: "TorchModel", texts: Sequence[str]) -> Iterator[Prediction]:
    """See `Predicts.predictions`; a text is given BOS (or EOS), as in `score_text`."""
    vocab = int(model.hf.config.get_text_config().vocab_size)
    most = max(1, min(TOKENS_PER_BATCH, LOGITS_PER_BATCH // vocab))
    batch: list[Window] = []
    width = 0
    for window in _windows(model, texts):
        longer = max(width, _fed(window))
        if batch and longer * (len(batch) + 1) > most:
            yield from _batch(model, batch, width)
            batch, longer = [], _fed(window)
        batch.append(window)
        width = longer
    if batch:
        yield from _batch(model, batch, width)


def _windows(model: "TorchModel", texts: Sequence[str]) -> Iterator[Window]:
    for number, text in enumerate(texts):
        [ids] = model.encoder.plain([text])
        for piece in cut(ids, model.encoder.prefix, model.max_length):
            yield number, piece


def _fed(window: Window) -> int:
    """Tokens that the network must see: the last one is only predicted."""
    _, (context, tokens) = window
    return len(context) + len(tokens) - 1


def _batch(model: "TorchModel", batch: Sequence[Window], width: int) -> Iterator[Prediction]:
    """Padded on the right, where a causal network does not look from any token before."""
    ids = np.zeros((len(batch), width), np.int64)
    for row, (_, (context, tokens)) in enumerate(batch):
        fed = (*context, *tokens[:-1])
        ids[row, : len(fed)] = fed
    # The mode is left before anything is given out: whoever reads two models in turn would
    # otherwise leave the two modes crosswise, and training afterwards would find it still on.
    with torch.inference_mode():
        logits = model.hf(torch.from_numpy(ids).to(model.hf.device), use_cache=False).logits
    for row, (number, (context, tokens)) in enumerate(batch):
        first = len(context) - 1
        mine = logits[row, first : first + len(tokens)].float()
        logprobs = torch.log_softmax(mine, dim=-1).cpu().numpy()
        yield Prediction(number, np.asarray(tokens, np.int64), logprobs)
