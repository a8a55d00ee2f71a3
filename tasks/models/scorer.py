"""How do many requests and texts pass through a network, a portion at a time?"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

import numpy as np

from audits.errors import AuditError, MeasureError
from audits.model import Score
from tasks.models.answers import Answers
from tasks.models.encode import Encoder, Pair
from tasks.models.progress import Progress
from tasks.models.selfcheck import Reservoir
from tasks.models.windows import total, windows

ITEMS_AT_ONCE = 4096
"""Requests that are planned together, so that memory does not grow with their number."""
CHARACTERS_AT_ONCE = 2**22


class Network(Protocol):
    """What answers pairs of tokens."""

    room: int
    """Tokens of a continuation at the most; a window of a text is as long."""

    def fit(self, pair: Pair) -> Pair:
        """Drop context from the left until the pair fits."""
        ...

    def answer(
        self,
        pairs: Sequence[Pair],
        *,
        moments: bool,
        planned: Callable[[float], None],
        done: Callable[[float], None],
    ) -> Answers:
        """Answer every pair; there is at least one."""
        ...

    def alone(self, pair: Pair) -> list[float]:
        """Log-probabilities of a continuation's tokens, computed by itself."""
        ...


class Scorer:
    """Scores requests and texts with a network, and keeps a sample of what it computed."""

    def __init__(self, encoder: Encoder, network: Network) -> None:
        self.encoder, self.network = encoder, network
        self.sample = Reservoir()

    def score(
        self, requests: Sequence[tuple[str, str]], *, per_token: bool, moments: bool
    ) -> list[Score]:
        """Score each (context, continuation) pair; equal ones are computed once.

        Raises:
            AuditError: a continuation is empty or longer than the network's room.
            MeasureError: the network gave something that is not finite.
        """
        unique = list(dict.fromkeys(requests))
        sizes = [len(context) + len(text) for context, text in unique]
        found: dict[tuple[str, str], Score] = {}
        with Progress("scoring", sum(sizes)) as bar:
            for low, high in _portions(sizes):
                asked = unique[low:high]
                pairs = self.encoder.pairs(asked)
                fed, said = self._answer(
                    pairs, partial(_name, asked), sum(sizes[low:high]), bar, moments
                )
                lost = [
                    max(0, len(whole.context) - len(cut.context))
                    for whole, cut in zip(pairs, fed, strict=True)
                ]
                found.update(zip(asked, _scores(fed, lost, said, per_token), strict=True))
        return [found[request] for request in requests]

    def score_text(self, texts: Sequence[str], lead: Sequence[int]) -> list[Score]:
        """Score whole texts in windows, each text after `lead` unless it begins with it."""
        sizes = [len(text) for text in texts]
        scores: list[Score] = []
        with Progress("scoring", sum(sizes)) as bar:
            for low, high in _portions(sizes):
                scores += self._texts(texts[low:high], list(lead), bar)
        return scores

    def recheck(self) -> float | None:
        """Compute a sample of what was scored since the last call again, one by one.

        Returns:
            The largest difference in nats, or None where nothing was scored.
        """
        items = list(self.sample.items)
        self.sample.clear()
        again = [sum(self.network.alone(pair)) for pair, _ in items]
        return max((abs(a - b) for a, (_, b) in zip(again, items, strict=True)), default=None)

    def _texts(self, texts: Sequence[str], lead: list[int], bar: Progress) -> list[Score]:
        tokens = [
            ([] if lead and t.startswith(self.encoder.prefix_text) else lead) + ids
            for t, ids in zip(texts, self.encoder.plain(texts), strict=True)
        ]
        cut = [windows(ids, self.encoder.prefix, self.network.room) for ids in tokens]
        pairs = [Pair(c, k, 0, True) for parts in cut for c, k in parts]
        names = [t for t, parts in zip(texts, cut, strict=True) for _ in parts]
        scores: Iterator[Score] = iter(())
        if pairs:
            size = sum(map(len, texts))
            fed, said = self._answer(pairs, lambda i: names[i][:60], size, bar, moments=False)
            # A window begins where the one before ended: nothing of the text is lost.
            scores = iter(_scores(fed, [0] * len(fed), said, per_token=False))
        return [
            total([next(scores) for _ in parts], len(text.encode()))
            for text, parts in zip(texts, cut, strict=True)
        ]

    def _answer(
        self,
        pairs: Sequence[Pair],
        name: Callable[[int], str],
        characters: int,
        bar: Progress,
        moments: bool,
    ) -> tuple[list[Pair], Answers]:
        """The pairs as far as they fit, and what the network says of them."""
        for i, pair in enumerate(pairs):
            if len(pair.continuation) > self.network.room:
                raise AuditError(
                    f"{name(i)!r}: {len(pair.continuation)} tokens to score exceed the "
                    f"model's {self.network.room} positions; shorten the text or score it in "
                    "windows"
                )
        cut = [self.network.fit(pair) for pair in pairs]
        said = self.network.answer(
            cut, moments=moments, done=bar.done,
            planned=lambda work: bar.plan(characters, work),
        )  # fmt: skip
        bad = ~np.isfinite(said.logprobs)
        if bad.any():
            first = int(np.searchsorted(said.starts, bad.argmax(), side="right")) - 1
            raise MeasureError(
                f"{name(first)!r}: the model gave a log-probability that is not finite; its "
                "weights are damaged or its arithmetic overflowed"
            )
        self.sample.offer(cut, said.sums())
        return cut, said


def _name(requests: Sequence[tuple[str, str]], number: int) -> str:
    context, continuation = requests[number]
    return f"{context[-40:]}|{continuation[:40]}"


def _portions(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Cut items into runs of limited number and size: from, to below."""
    low, held = 0, 0
    for at, size in enumerate(sizes):
        full = at - low == ITEMS_AT_ONCE or held + size > CHARACTERS_AT_ONCE
        if full and at > low:
            yield low, at
            low, held = at, 0
        held += size
    if low < len(sizes):
        yield low, len(sizes)


def _scores(
    pairs: Sequence[Pair], lost: Sequence[int], said: Answers, per_token: bool
) -> list[Score]:
    bounds = said.starts.tolist()
    each = said.logprobs.tolist() if per_token else []
    moments = list(map(tuple, said.moments.tolist())) if said.moments.size else []
    return [
        Score(
            total, b - a, pair.n_bytes, top, pair.stable, cut,
            tuple(each[a:b]), tuple(moments[a:b]),
            pair.continuation if per_token else (),
        )
        for pair, cut, total, top, a, b in zip(
            pairs, lost, said.sums(), said.argmax(), bounds[:-1], bounds[1:], strict=True
        )
    ]  # fmt: skip
