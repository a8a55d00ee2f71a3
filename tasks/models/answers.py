"""What does a network say of a window of pairs, computed with as little work as it takes?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.models.encode import Pair
from tasks.models.forward import Forward
from tasks.models.packing import build, pack
from tasks.models.prefixes import Span, spans
from tasks.models.rows import Forest, Ints, Row, grow

_CROWDED = 0.03
"""Short rows stand side by side until attending to the block costs this much of a token."""

Report = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Answers:
    """For the asked tokens of all pairs, one after the other: nats, argmax or not, moments.

    Those of pair i lie from `starts[i]` to below `starts[i + 1]`.
    """

    starts: Ints
    logprobs: npt.NDArray[np.float64]
    greedy: npt.NDArray[np.bool_]
    moments: npt.NDArray[np.float64]

    def sums(self) -> list[float]:
        """Log-probability of each pair, in nats."""
        sums: list[float] = np.add.reduceat(self.logprobs, self.starts[:-1]).tolist()
        return sums

    def argmax(self) -> list[bool]:
        """Whether every token of each pair was the argmax."""
        every: list[bool] = np.logical_and.reduceat(self.greedy, self.starts[:-1]).tolist()
        return every


@dataclass(frozen=True, slots=True)
class _Task:
    """Rows behind one kept beginning, grouped into batches of blocks."""

    span: Span
    rows: list[Row]
    batches: list[list[list[int]]]
    work: list[float]


def answer(
    forward: Forward,
    pairs: Sequence[Pair],
    *,
    moments: bool = False,
    planned: Report = lambda work: None,
    done: Report = lambda work: None,
) -> Answers:
    """Answer every pair.

    Args:
        forward: the network.
        pairs: at least one; what they share is found among them.
        moments: also the moments of the vocabulary in front of each token.
        planned: told once how much work (in tokens) it will be.
        done: told after each batch how much of it is done.
    """
    forest = Forest(pairs)
    counts = np.array([len(p.continuation) for p in pairs], np.int64)
    starts = np.concatenate([[0], np.cumsum(counts)])
    asked = np.empty(len(pairs), np.int64)
    asked[forest.order] = forest.start + forest.context
    found = Answers(
        starts,
        np.empty(starts[-1]),
        np.empty(starts[-1], np.bool_),
        np.empty((starts[-1], 2 if moments else 0)),
    )
    tasks = [_plan(forward, forest, span) for span in _spans(forward, forest)]
    planned(sum(sum(task.work) for task in tasks))
    for task in tasks:
        kept = None
        if task.span.kept:
            start = int(forest.start[task.span.low])
            kept = forward.keep(forest.flat[start : start + task.span.kept])
        for blocks, work in zip(task.batches, task.work, strict=True):
            batch = build(task.rows, blocks, counts)
            tokens = forest.flat[_runs(asked[batch.pairs], batch.counts)]
            said = forward.read(batch, tokens, kept=kept, moments=moments)
            places = _runs(starts[batch.pairs], batch.counts)
            found.logprobs[places], found.greedy[places] = said.logprobs, said.greedy
            found.moments[places] = said.moments
            done(work)
    return found


def _spans(forward: Forward, forest: Forest) -> list[Span]:
    if not forward.keeps:
        return [Span(0, len(forest.order), 0)]
    return spans(forest, forward.costs, most=forward.budget)


def _plan(forward: Forward, forest: Forest, span: Span) -> _Task:
    costs = forward.costs
    rows = grow(
        forest, span.low, span.high, span.kept, costs, trees=forward.trees, most=forward.budget
    )
    sizes = [len(row.tokens) for row in rows]
    floor = int(_CROWDED / costs.attention) if costs.attention else 1
    budget = forward.budget if forward.pads else 1
    batches = list(pack(sizes, budget, floor=floor, several=forward.trees))
    work = []
    for blocks in batches:
        width = max(sum(sizes[r] for r in block) for block in blocks)
        work.append(len(blocks) * costs.row(width, span.kept))
    if span.kept:
        work[0] += costs.row(span.kept)
    return _Task(span, rows, batches, work)


def _runs(starts: Ints, counts: Ints) -> Ints:
    """start, start + 1, ... of each run, one after the other."""
    ends = np.cumsum(counts)
    return np.repeat(starts - ends + counts, counts) + np.arange(ends[-1])
