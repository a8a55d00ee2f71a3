"""How does a network continue a prompt, with the same luck for every network?

Sampling inverts the cumulative distribution over the vocabulary at uniform numbers that
depend on seed, prompt and sample alone: two networks asked alike share their randomness,
so that differences between their texts come from the networks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tasks.models.decode import Decoder
from tasks.models.luck import luck, require_finite
from tasks.models.progress import Progress

_CROWD = 0.75
"""Rows that have ended leave the batch when less than this share of it goes on."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to continue: length, luck, temperature, samples per prompt, where to stop."""

    max_new_tokens: int
    seed: int
    temperature: float
    n: int
    stop: tuple[str, ...]
    ends: frozenset[int]


def continue_prompts(
    way: Decoder,
    most: int,
    tokenizer: Any,  # noqa: ANN401 - an untyped library object
    texts: Sequence[str],
    prompts: Sequence[Sequence[int]],
    how: Sampling,
) -> list[list[str]]:
    """Texts of the continuations, `how.n` for each prompt, in the order of the prompts.

    Raises:
        MeasureError: the network gave a log-probability that is not finite.

    Args:
        way: what runs the network.
        most: positions that a batch may hold.
        tokenizer: what turns tokens into text.
        texts: the prompts, or names in their place, by which they get their luck.
        prompts: their tokens, as far as they fit.
        how: how to continue them.
    """
    if not prompts:
        return []
    order = sorted(range(len(prompts)), key=lambda p: (-len(prompts[p]), p))
    samples = 1 if how.temperature == 0 else how.n
    found: dict[int, list[str]] = {}
    sizes = [len(p) + how.max_new_tokens * samples for p in prompts]
    with Progress("generating", sum(sizes)) as bar:
        bar.plan(sum(sizes), sum(sizes))
        while order:
            length = (len(prompts[order[0]]) + how.max_new_tokens) * samples
            size = max(1, most // length)
            batch, order = order[:size], order[size:]
            chances = luck(how.seed, [texts[p] for p in batch], samples, how.max_new_tokens)
            run = _Run(way, tokenizer, [prompts[p] for p in batch], how)
            rows = run.finish(chances)
            for place, prompt in enumerate(batch):
                mine = rows[place * samples : (place + 1) * samples]
                found[prompt] = mine if samples == how.n else mine * how.n
            bar.done(sum(sizes[p] for p in batch))
    return [found[p] for p in range(len(prompts))]


class _Run:
    """One batch of prompts on its way through the network."""

    def __init__(
        self,
        way: Decoder,
        tokenizer: Any,  # noqa: ANN401
        prompts: Sequence[Sequence[int]],
        how: Sampling,
    ) -> None:
        self.way, self.tokenizer, self.prompts, self.how = way, tokenizer, prompts, how
        longest = max((len(s.encode()) for s in how.stop), default=0)
        self.tail = longest + 4
        """A stop string of b bytes ends within the last b tokens and a character's bytes."""

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch types are not followed
    def finish(self, chances: npt.NDArray[np.float64]) -> list[str]:
        """Generate until each row has ended; the texts before their stop strings."""
        samples = len(chances) // len(self.prompts)
        rows: list[list[int]] = [[] for _ in chances]
        going = list(range(len(rows)))
        ended = [False] * len(rows)
        logits = self.way.begin(self.prompts, samples)
        for step in range(self.how.max_new_tokens):
            chosen = self._choose(logits, chances[going, step])
            for r, token in zip(going, chosen.tolist(), strict=True):
                ended[r] = ended[r] or self._take(rows[r], token)
            left = [at for at, r in enumerate(going) if not ended[r]]
            if not left or step + 1 == self.how.max_new_tokens:
                break
            if len(left) < _CROWD * len(going):
                staying = torch.tensor(left, device=chosen.device)
                self.way.leave(staying)
                chosen, going = chosen[staying], [going[at] for at in left]
            logits = self.way.step(chosen)
        return [self._cut(self._text(r // samples, row)) for r, row in enumerate(rows)]

    def _choose(self, logits: torch.Tensor, chances: npt.NDArray[np.float64]) -> torch.Tensor:
        top = logits.amax(-1, keepdim=True)
        require_finite(bool(torch.isfinite(top).all()))
        if self.how.temperature == 0:
            return logits.argmax(-1)
        # from the likeliest one down, and by a number that has a reciprocal (a GPU multiplies
        # by it), so that no temperature is too low to divide by
        below = logits.double() - top.double()
        coldest = max(self.how.temperature, np.finfo(np.float64).tiny)
        heights = torch.softmax(below / coldest, -1).cumsum(-1)
        # scaled by the last height, so that rounding cannot lift a number above them all
        marks = torch.from_numpy(chances).to(heights.device) * heights[:, -1]
        return torch.searchsorted(heights, marks[:, None], right=True)[:, 0]

    def _take(self, row: list[int], token: int) -> bool:
        """Append a token; whether the row has ended with it."""
        if token in self.how.ends:
            return True
        row.append(token)
        if not self.how.stop:
            return False
        recent = self.tokenizer.decode(row[-self.tail :], clean_up_tokenization_spaces=False)
        return any(stop in recent for stop in self.how.stop)

    def _text(self, prompt: int, row: Sequence[int]) -> str:
        """What the tokens add to the prompt's text.

        Decoded behind the prompt's last token, for a decoder strips the leading space of
        the first word it sees.
        """
        last = list(self.prompts[prompt][-1:])
        before = self.tokenizer.decode(last, clean_up_tokenization_spaces=False)
        both = self.tokenizer.decode([*last, *row], clean_up_tokenization_spaces=False)
        if both.startswith(before):
            return str(both[len(before) :])
        return str(self.tokenizer.decode(row, clean_up_tokenization_spaces=False))

    def _cut(self, text: str) -> str:
        ends = [at for stop in self.how.stop if stop and (at := text.find(stop)) >= 0]
        return text[: min(ends)] if ends else text
