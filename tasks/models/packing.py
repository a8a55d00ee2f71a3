"""Which rows go through the network together?

Rows are laid side by side into blocks of one width, the widest first; a hole at the end of
a block is filled with the widest row that fits. Nearly nothing is padding then, and rows
pay only for attention to a block as wide as the widest of them.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.models.rows import Ints, Row


@dataclass(frozen=True, slots=True)
class Batch:
    """Blocks of one width: tokens, positions and ends as matrices of (block, token).

    Attributes:
        tokens: what is fed; 0 where nothing is.
        positions: distance of each from the beginning of its sequence.
        ends: first token of the block after the branch below each; padding sees itself.
        pairs: numbers of the pairs that are answered.
        counts: how many tokens are asked of each.
        nodes: for each of them in turn, the token (in the flattened matrix) before it.
        plain: whether each block is one sequence, so that a causal mask is enough.
    """

    tokens: Ints
    positions: Ints
    ends: Ints
    pairs: Ints
    counts: Ints
    nodes: Ints
    plain: bool


def pack(
    sizes: Sequence[int], budget: int, *, floor: int = 1, several: bool = True
) -> Iterator[list[list[int]]]:
    """Batches of blocks of row numbers, at most `budget` tokens each, or one block.

    Args:
        sizes: tokens of each row.
        budget: tokens of a batch, padding included.
        floor: width to which short rows are laid side by side.
        several: whether a block may hold several rows.
    """
    waiting: dict[int, list[int]] = {}
    for row, size in enumerate(sizes):
        waiting.setdefault(size, []).append(row)
    widths = sorted(waiting)
    while widths:
        width = max(widths[-1], floor if several else 1)
        batch: list[list[int]] = []
        while widths and len(batch) < max(1, budget // width):
            batch.append(_fill(waiting, widths, width if several else widths[-1]))
        yield batch


def _fill(waiting: dict[int, list[int]], widths: list[int], hole: int) -> list[int]:
    """Take rows, widest first, until none fits into what is left."""
    block: list[int] = []
    while (at := bisect_right(widths, hole) - 1) >= 0:
        size = widths[at]
        block.append(waiting[size].pop())
        if not waiting[size]:
            del waiting[size], widths[at]
        hole -= size
        if not hole:
            break
    return block


def build(rows: Sequence[Row], blocks: Sequence[Sequence[int]], counts: Ints) -> Batch:
    """Lay rows out as the matrices of a batch.

    Args:
        rows: all rows.
        blocks: which of them stand in each block.
        counts: how many tokens are asked of each pair.
    """
    width = max(sum(len(rows[r].tokens) for r in block) for block in blocks)
    tokens = np.zeros((len(blocks), width), np.int64)
    positions = np.zeros_like(tokens)
    ends = np.tile(np.arange(1, width + 1), (len(blocks), 1))
    pairs, nodes = [], []
    for b, block in enumerate(blocks):
        at = 0
        for row in (rows[r] for r in block):
            to = at + len(row.tokens)
            tokens[b, at:to], positions[b, at:to] = row.tokens, row.positions
            ends[b, at:to] = row.ends + at
            pairs.append(row.pairs)
            nodes.append(row.nodes + (b * width + at))
            at = to
    answered = np.concatenate(pairs)
    plain = all(len(block) == 1 and not rows[block[0]].branches for block in blocks)
    return Batch(
        tokens, positions, ends, answered, counts[answered], np.concatenate(nodes), plain
    )
