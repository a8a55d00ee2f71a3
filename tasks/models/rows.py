"""How do many requests become few rows of tokens?

Sorted by their tokens, sequences walk the tree of their common beginnings depth first: what
one shares with any earlier one, it shares with the one before it. A row is a part of that
tree laid out flat, each common beginning once; a token sees its ancestors and itself, and a
last token is never fed, only asked for. A row without branches is an ordinary sequence, so
the same rows serve networks that know no tree attention.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from tasks.models.encode import Pair

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Costs:
    """What work costs, in units of what one token costs when it attends to nothing.

    `attention` is the price of one token attending to one other, `call` that of running the
    network once more.
    """

    attention: float
    call: float = 256.0

    def row(self, size: int, before: int = 0) -> float:
        """Price of a row of `size` tokens behind `before` that are kept."""
        return size * (1 + self.attention * (size + before))


class Forest:
    """Pairs in the order of their tokens, and what each shares with the one before.

    Attributes:
        order: numbers of the pairs, sorted by what is fed of them.
        fed: length of what is fed of each, in that order.
        context: length of each context, in that order.
        shared: length of the common beginning with the one before; 0 for the first.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        contexts = np.fromiter((len(p.context) for p in pairs), np.int64, len(pairs))
        asked = np.fromiter((len(p.continuation) for p in pairs), np.int64, len(pairs))
        ends = np.cumsum(contexts + asked)
        both = chain.from_iterable((*p.context, *p.continuation) for p in pairs)
        self.flat = np.fromiter(both, np.int64, int(ends[-1]) if len(pairs) else 0)
        starts = ends - contexts - asked
        self.order = self._sort(starts, ends - 1)
        self.start: Ints = starts[self.order]
        self.fed: Ints = (contexts + asked - 1)[self.order]
        self.context: Ints = contexts[self.order]
        self.shared = self._shared()

    def _sort(self, starts: Ints, ends: Ints) -> Ints:
        raw = self.flat.astype(">u4").tobytes()
        bounds = zip((4 * starts).tolist(), (4 * ends).tolist(), strict=True)
        keys = [raw[a:b] for a, b in bounds]
        return np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)

    def _shared(self) -> Ints:
        """Compare neighbours as a matrix of tokens, a few million of them at a time."""
        found = np.zeros(len(self.order), np.int64)
        width = int(self.fed.max(initial=1))
        step = max(1, 2**21 // width)
        for low in range(1, len(found), step):
            at = slice(low, low + step)
            one, two = self.start[low - 1 : low + step - 1], self.start[at]
            one = one[: len(two)]
            both = np.minimum(self.fed[low - 1 : low - 1 + len(two)], self.fed[at])
            reach = np.arange(int(both.max(initial=0)))
            last = len(self.flat) - 1
            differs = (
                self.flat[np.minimum(one[:, None] + reach, last)]
                != self.flat[np.minimum(two[:, None] + reach, last)]
            ) | (reach >= both[:, None])
            found[at] = np.where(differs.any(1), differs.argmax(1), both)
        return found


@dataclass(frozen=True, slots=True)
class Row:
    """Tokens of a tree, depth first, and where the asked ones are read.

    Attributes:
        tokens: what is fed.
        positions: distance of each from the beginning of its sequence.
        ends: first token after the branch below each; token t sees u where
            u <= t < ends[u].
        pairs: numbers of the pairs that are answered here.
        nodes: for each of them in turn, the token before each asked one.
    """

    tokens: Ints
    positions: Ints
    ends: Ints
    pairs: Ints
    nodes: Ints

    @property
    def branches(self) -> bool:
        """Whether it is a tree and not one sequence."""
        return bool((self.ends < len(self.tokens)).any())

    def sees(self) -> npt.NDArray[np.bool_]:
        """Matrix of (token, token it attends to)."""
        at = np.arange(len(self.tokens))
        return (at[None, :] <= at[:, None]) & (at[:, None] < self.ends[None, :])


def truncate(pair: Pair, max_length: int) -> Pair:
    """Drop context from the left until the tokens that are fed fit, as lm-eval does."""
    room = max_length + 1 - len(pair.continuation)
    if len(pair.context) <= room:
        return pair
    return Pair(pair.context[-room:], pair.continuation, pair.n_bytes, pair.stable)


def grow(
    forest: Forest, low: int, high: int, kept: int, costs: Costs, *, trees: bool, most: int
) -> list[Row]:
    """Rows of the sequences from `low` to below `high`, in their order.

    A sequence joins the row of the one before where what it shares with it is worth more
    than the attention that the row's other tokens pay for its company.

    Args:
        forest: the sequences.
        low: place of the first.
        high: place after the last.
        kept: how many first tokens, common to them all, are fed elsewhere.
        costs: what tokens and attention cost.
        trees: whether a row may branch.
        most: tokens that a row of several sequences may have.
    """
    fed = (forest.fed[low:high] - kept).tolist()
    shared = (forest.shared[low:high] - kept).tolist()
    rows, begun, size, before = [], 0, fed[0], fed[0]
    for i in range(1, high - low):
        more, common = fed[i] - shared[i], shared[i]
        joined = size + more
        if more == 0 and (trees or common == before):
            joins = True
        elif joined > most or (not trees and common < before):
            joins = False
        else:
            extra = joined * (joined + kept) - size * (size + kept) - fed[i] * (fed[i] + kept)
            joins = common > costs.attention * extra
        if not joins:
            rows.append(_lay(forest, low + begun, low + i, kept))
            begun, joined = i, fed[i]
        size, before = joined, fed[i]
    rows.append(_lay(forest, low + begun, high, kept))
    return rows


def _lay(forest: Forest, low: int, high: int, kept: int) -> Row:
    if high - low == 1:
        return _one(forest, low, kept)
    fed, shared = forest.fed[low:high].tolist(), forest.shared[low:high].tolist()
    shared[0] = kept
    starts, contexts = forest.start[low:high].tolist(), forest.context[low:high].tolist()
    size = sum(fed) - sum(shared)
    count = np.arange(max(*fed, size))
    tokens, positions = np.empty(size, np.int64), np.empty(size, np.int64)
    ends, line = np.full(size, size), np.empty(max(fed), np.int64)
    nodes, n, before = [], 0, kept
    for start, length, common, context in zip(starts, fed, shared, contexts, strict=True):
        ends[line[common:before]] = n
        more = n + length - common
        line[common:length] = count[n:more]
        tokens[n:more] = forest.flat[start + common : start + length]
        positions[n:more] = count[common:length]
        nodes.append(line[context - 1 : length].copy())
        n, before = more, length
    return Row(tokens, positions, ends, forest.order[low:high], np.concatenate(nodes))


def _one(forest: Forest, at: int, kept: int) -> Row:
    start, length = int(forest.start[at]), int(forest.fed[at])
    size = length - kept
    return Row(
        tokens=forest.flat[start + kept : start + length],
        positions=np.arange(kept, length),
        ends=np.full(size, size),
        pairs=forest.order[at : at + 1],
        nodes=np.arange(int(forest.context[at]) - 1 - kept, size),
    )
