"""Which common beginnings are worth computing once and keeping?

Five shots stand before every question of a task: their keys and values are computed once
and kept while the questions, many rows of them, attend to them. Between the beginnings that
sequences share (nested like folders) those are chosen that save most.
"""

from dataclasses import dataclass, field

from tasks.models.rows import Costs, Forest

SHORTEST = 8
"""Shorter common beginnings are not looked at; most sequences share a word or two."""


@dataclass(frozen=True, slots=True)
class Span:
    """Sequences of a forest from `low` to below `high`, whose first `kept` tokens are kept."""

    low: int
    high: int
    kept: int


@dataclass(slots=True)
class _Shared:
    """Sequences with a common beginning, while they are collected.

    `plain` and `relief` are the price of the best rows for them, and by how much it falls
    for each first token that is kept; `best` is their price with the `picks` made so far.
    """

    depth: int
    low: int
    high: int
    size: int = 0
    context: int = 2**62
    plain: float = 0.0
    relief: float = 0.0
    best: float = 0.0
    whole: bool = True
    picks: list[Span] = field(default_factory=list)

    def add(self, child: "_Shared") -> None:
        self.high = child.high
        self.size += child.size - self.depth
        self.context = min(self.context, child.context)
        self.plain += child.plain
        self.relief += child.relief
        self.best += child.best
        self.whole &= child.whole
        self.picks += child.picks

    def close(self, costs: Costs, most: int) -> "_Shared":
        """Choose between one row, several rows, and a beginning that is kept."""
        self.size += self.depth
        kept = min(self.depth, self.context - 1)
        keeping = costs.row(kept) + costs.call + self.plain - kept * self.relief
        as_row = costs.row(self.size)
        if self.whole and self.size <= most and as_row <= self.plain:
            self.plain, self.relief = as_row, 1 + costs.attention * self.size
        else:
            self.whole = False
        if self.plain <= self.best:
            self.best, self.picks = self.plain, []
        if kept > 0 and keeping < self.best:
            self.best, self.picks = keeping, [Span(self.low, self.high, kept)]
        return self


def spans(forest: Forest, costs: Costs, *, most: int) -> list[Span]:
    """Cut the sequences of a forest into spans, in order, each with what is kept for it.

    Kept beginnings end before the last token of every context, whose successor is asked for.

    Args:
        forest: the sequences.
        costs: what tokens, attention and calls cost.
        most: tokens that a row of several sequences may have.
    """
    found: list[Span] = []
    at = 0
    for pick in _picks(forest, costs, most):
        if pick.low > at:
            found.append(Span(at, pick.low, 0))
        found.append(pick)
        at = pick.high
    if at < len(forest.order):
        found.append(Span(at, len(forest.order), 0))
    return found


def _picks(forest: Forest, costs: Costs, most: int) -> list[Span]:
    """Look where neighbours share enough; a run of them ends where they share little."""
    shared = forest.shared.tolist()
    picks: list[Span] = []
    low = 0
    for high in [*(forest.shared < SHORTEST).nonzero()[0].tolist()[1:], len(shared)]:
        if sum(shared[low + 1 : high]) > costs.call:
            picks += _run(forest, low, high, costs, most)
        low = high
    return picks


def _run(forest: Forest, low: int, high: int, costs: Costs, most: int) -> list[Span]:
    """The picks of one run, by the tree of its common beginnings, from the leaves up."""
    sizes, contexts = forest.fed[low:high].tolist(), forest.context[low:high].tolist()
    depths = [*forest.shared[low + 1 : high].tolist(), -1]
    opened: list[_Shared] = []
    node = _Shared(0, low, high)
    for i, depth in enumerate(depths):
        price, relief = costs.row(sizes[i]), 1 + costs.attention * sizes[i]
        node = _Shared(
            sizes[i], low + i, low + i + 1, sizes[i], contexts[i], price, relief, price
        )
        while opened and opened[-1].depth > depth:
            opened[-1].add(node)
            node = opened.pop().close(costs, most)
        if depth >= 0 and not (opened and opened[-1].depth == depth):
            opened.append(_Shared(depth, node.low, node.high))
        if depth >= 0:
            opened[-1].add(node)
    return node.picks
