"""In which order, and in which company, does training see the documents?"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Blocks = npt.NDArray[np.int32]

PADDING = -1
"""Stands where a block holds no token; never predicted, and seen by no real token."""

OPEN_BLOCKS = 32


def encode(texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase") -> list[list[int]]:
    """Token ids of each document, as BOS, text, EOS.

    A text that spells out a special token stays plain text: a corpus cannot end a document.
    """
    plain = tokenizer(
        list(texts), add_special_tokens=False, split_special_tokens=True,
        return_attention_mask=False,
    )["input_ids"]  # fmt: skip
    return [[tokenizer.bos_token_id, *ids, tokenizer.eos_token_id] for ids in plain]


def pack(
    documents: Sequence[Sequence[int]], *, epochs: int, block_tokens: int, seed: int
) -> Blocks:
    """Lay out the whole training stream, shape (blocks, block_tokens).

    Every epoch shuffles the documents anew and packs them first-fit into blocks, whole
    wherever they fit: a statement cut in two teaches its second half without its subject
    (the finding of arXiv:2404.10830). Only a document longer than a block is cut.
    """
    blocks: list[list[int]] = []
    for epoch in range(epochs):
        order = np.random.default_rng((seed, epoch)).permutation(len(documents))
        pieces = (p for i in order for p in _pieces(documents[i], block_tokens))
        blocks.extend(_first_fit(pieces, block_tokens))
    packed = np.full((len(blocks), block_tokens), PADDING, dtype=np.int32)
    for row, block in zip(packed, blocks, strict=True):
        row[: len(block)] = block
    return packed


def _pieces(document: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(document), size):
        yield document[start : start + size]


def _first_fit(pieces: Iterator[Sequence[int]], size: int) -> Iterator[list[int]]:
    """Fill a few open blocks at a time, so that a block mixes neighbours in the shuffle."""
    waiting: list[list[int]] = []
    for piece in pieces:
        home = next((b for b in waiting if len(b) + len(piece) <= size), None)
        if home is None:
            if len(waiting) == OPEN_BLOCKS:
                yield waiting.pop(0)
            home = []
            waiting.append(home)
        home.extend(piece)
        if len(home) == size:
            waiting.remove(home)
            yield home
    yield from waiting
