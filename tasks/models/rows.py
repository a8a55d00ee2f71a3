"""How do many requests become few rows of tokens?

Continuations of one context form a tree below its last token: shared beginnings stand
once, and a last token is never fed, only asked for. A row is such a tree laid out flat;
each token sees its ancestors and itself. A row without branches is an ordinary sequence,
so the same rows serve models that know no tree attention.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tasks.models.encode import Pair


@dataclass(slots=True)
class Row:
    """Tokens with their parents, and the (position, token) pairs to be scored."""

    tokens: list[int]
    parents: list[int]
    asks: list[tuple[int, int]] = field(default_factory=list)
    _children: dict[tuple[int, int], int] = field(default_factory=dict)
    _asked: dict[tuple[int, int], int] = field(default_factory=dict)

    @classmethod
    def chain(cls, tokens: Sequence[int]) -> "Row":
        """A row of one sequence."""
        row = cls([tokens[0]], [-1])
        for node, token in enumerate(tokens[1:]):
            row.step(node, token)
        return row

    def add(self, node: int, continuation: Sequence[int]) -> list[int]:
        """Grow a continuation below `node`; returns which asks give its tokens."""
        places = []
        for token in continuation[:-1]:
            places.append(self._ask(node, token))
            node = self.step(node, token)
        return [*places, self._ask(node, continuation[-1])]

    def step(self, node: int, token: int) -> int:
        """The node of `token` below `node`, grown where there is none."""
        if (node, token) not in self._children:
            self._children[node, token] = len(self.tokens)
            self.tokens.append(token)
            self.parents.append(node)
        return self._children[node, token]

    def _ask(self, node: int, token: int) -> int:
        if (node, token) not in self._asked:
            self._asked[node, token] = len(self.asks)
            self.asks.append((node, token))
        return self._asked[node, token]

    def positions(self) -> npt.NDArray[np.int64]:
        """Distance of each token from the first."""
        depth = np.zeros(len(self.tokens), np.int64)
        for node, parent in enumerate(self.parents[1:], start=1):
            depth[node] = depth[parent] + 1
        return depth

    def sees(self) -> npt.NDArray[np.bool_]:
        """Matrix of (token, token it attends to): its ancestors and itself."""
        size = len(self.tokens)
        seen = np.zeros((size, size), np.bool_)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node] = seen[parent]
            seen[node, node] = True
        return seen


@dataclass(frozen=True, slots=True)
class Place:
    """Where the answer to one request will be: a row, and its asks in token order."""

    row: int
    asks: list[int]


def truncate(pair: Pair, max_length: int) -> Pair:
    """Drop context from the left until the tokens that are fed fit, as lm-eval does."""
    room = max_length + 1 - len(pair.continuation)
    if len(pair.context) <= room:
        return pair
    return Pair(pair.context[-room:], pair.continuation, pair.n_bytes, pair.stable)


def grow(pairs: Sequence[Pair], *, shared: bool, spare: int) -> tuple[list[Row], list[Place]]:
    """Lay pairs out in rows; pairs with one context share a row when `shared`.

    A shared row holds at most `spare` tokens below its context, or as many as the context
    has, then another is begun: attention costs the square of a row's length, so strangers
    behind a short context are better apart.
    """
    rows: list[Row] = []
    open_row: dict[tuple[int, ...], int] = {}
    places = []
    for pair in pairs:
        chain = pair.context if shared else pair.context + pair.continuation[:-1]
        at = open_row.get(chain)
        if at is None or (shared and _full(rows[at], pair, spare)):
            at = open_row[chain] = len(rows)
            rows.append(Row.chain(chain))
        places.append(Place(at, rows[at].add(len(pair.context) - 1, pair.continuation)))
    return rows, places


def _full(row: Row, pair: Pair, spare: int) -> bool:
    context = len(pair.context)
    return len(row.tokens) + len(pair.continuation) > context + max(spare, context)


def batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Group row numbers, longest first, into padded batches of at most `budget` tokens."""
    found: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda r: (-lengths[r], r)):
        width = lengths[found[-1][0]] if found else 0
        if found and width * (len(found[-1]) + 1) <= budget:
            found[-1].append(row)
        else:
            found.append([row])
    return found
