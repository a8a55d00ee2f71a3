"""In which order are many token sequences fed so that what they share is computed once?

Sorted by their tokens, sequences walk a tree of shared beginnings depth first: each shares
with the one before it all that it shares with any earlier one. So a few-shot prefix, the
context of several choices and the common beginning of a sentence pair are each fed once,
and the cache never needs more than one such line of ancestors.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

Tokens = tuple[int, ...]


@dataclass(slots=True)
class Chunk:
    """Tokens that are fed at once, as branches below a line of tokens kept from before.

    `kept` tokens stay of the last branch of the chunk before; branch b begins with
    `joins[b]` of them. Token i stands at `positions[i]` on the branches from `first[i]` to
    below `end[i]`. `node` numbers the first token; the others follow.
    """

    kept: int
    node: int
    joins: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    first: list[int] = field(default_factory=list)
    end: list[int] = field(default_factory=list)
    _line: list[int] = field(default_factory=list)
    """Numbers of this chunk's tokens on the last branch, from its join on."""

    def branches(self, *, first: int) -> list[tuple[int, int]]:
        """The branches of each token, from one to below another, numbered from `first`."""
        return [(a + first, b + first) for a, b in zip(self.first, self.end, strict=True)]

    def branch(self, shared: int) -> None:
        """Begin a branch with the first `shared` tokens of the last one."""
        if self.joins and shared >= self.joins[-1]:
            join = self.joins[-1]
            self._line = self._line[: shared - join]
        else:
            join, self._line = shared, []
        self.joins.append(join)
        for i in self._line:
            self.end[i] = len(self.joins)

    def extend(self, tokens: Sequence[int], position: int) -> None:
        """Put tokens on the last branch, the first of them at `position`."""
        size, last = len(self.tokens), len(self.joins)
        self._line += range(size, size + len(tokens))
        self.tokens += tokens
        self.positions += range(position, position + len(tokens))
        self.first += [last - 1] * len(tokens)
        self.end += [last] * len(tokens)


class Plan:
    """Sequences in the order of feeding, and the number of every token that is fed.

    Args:
        sequences: tokens of each; none is empty.
        wanted: how many of each one's last tokens the model's output is wanted at.
        shared: whether beginnings are shared. A model with a recurrent state cannot go
            back to the middle of a sequence; there only equal sequences are fed once.
    """

    def __init__(
        self, sequences: Sequence[Tokens], wanted: Sequence[int], *, shared: bool
    ) -> None:
        self._order = sorted(range(len(sequences)), key=lambda at: sequences[at])
        self._sequences = sequences
        self._shares: list[int] = []
        self.nodes: list[list[int]] = [[] for _ in sequences]
        """Per sequence, as given: the numbers of the tokens whose output is wanted."""
        self.n_nodes = 0
        self.longest = max(map(len, sequences), default=0)
        before: Tokens = ()
        line: list[int] = []
        for at in self._order:
            tokens = sequences[at]
            share = common(before, tokens)
            if not shared and share < len(tokens):
                share = 0
            self._shares.append(share)
            new = len(tokens) - share
            line[share:] = range(self.n_nodes, self.n_nodes + new)
            self.n_nodes += new
            self.nodes[at] = line[len(tokens) - wanted[at] :]
            before = tokens

    def chunks(self, budget: int, branches: int) -> Iterator[Chunk]:
        """Cut the tree into chunks of at most `budget` tokens and `branches` branches."""
        chunk, node, length = Chunk(0, 0), 0, 0
        for at, share in zip(self._order, self._shares, strict=True):
            tokens = self._sequences[at]
            while share < len(tokens):
                goes_on = bool(chunk.joins) and share == length
                if len(chunk.tokens) == budget or (
                    not goes_on and len(chunk.joins) == branches
                ):
                    yield chunk
                    chunk, goes_on = Chunk(share, node), False
                if not goes_on:
                    chunk.branch(share)
                part = tokens[share : share + budget - len(chunk.tokens)]
                chunk.extend(part, share)
                share += len(part)
                node += len(part)
                length = share
        if chunk.tokens:
            yield chunk


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both sequences begin with."""
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while low < high - 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low
