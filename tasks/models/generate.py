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
from tqdm import tqdm

TOKENS_PER_BATCH = 16_384
"""Positions kept in one batch's key-value cache."""


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
    hf: Any,  # noqa: ANN401 - an untyped torch module
    tokenizer: Any,  # noqa: ANN401 - an untyped library object
    prompts: Sequence[Sequence[int]],
    how: Sampling,
) -> list[list[str]]:
    """Texts of the continuations, `how.n` for each prompt, in the order of the prompts."""
    order = sorted(range(len(prompts)), key=lambda p: (-len(prompts[p]), p))
    samples = 1 if how.temperature == 0 else how.n
    texts: dict[int, list[str]] = {}
    with tqdm(
        total=len(prompts), desc="generating", unit="prompt", delay=3, leave=False
    ) as bar:
        while order:
            length = (len(prompts[order[0]]) + how.max_new_tokens) * samples
            size = max(1, TOKENS_PER_BATCH // length)
            batch, order = order[:size], order[size:]
            run = _Run(hf, tokenizer, [prompts[p] for p in batch], how)
            rows = run.finish(_luck(how, batch, samples))
            for place, prompt in enumerate(batch):
                found = rows[place * samples : (place + 1) * samples]
                texts[prompt] = found if samples == how.n else found * how.n
            bar.update(len(batch))
    return [texts[p] for p in range(len(prompts))]


def _luck(how: Sampling, prompts: Sequence[int], samples: int) -> npt.NDArray[np.float64]:
    """Uniform numbers, one row per (prompt, sample), one column per new token."""
    return np.stack(
        [
            np.random.default_rng([how.seed, prompt, sample]).random(how.max_new_tokens)
            for prompt in prompts
            for sample in range(samples)
        ]
    )


class _Run:
    """One batch of prompts on its way through the network."""

    def __init__(
        self,
        hf: Any,  # noqa: ANN401
        tokenizer: Any,  # noqa: ANN401
        prompts: Sequence[Sequence[int]],
        how: Sampling,
    ) -> None:
        self.hf, self.tokenizer, self.prompts, self.how = hf, tokenizer, prompts, how
        longest = max((len(s.encode()) for s in how.stop), default=0)
        self.tail = longest + 4
        """A stop string of b bytes ends within the last b tokens and a character's bytes."""

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch types are not followed
    def finish(self, luck: npt.NDArray[np.float64]) -> list[str]:
        """Generate until each row has ended; the texts before their stop strings."""
        samples = len(luck) // len(self.prompts)
        ids, mask = self._padded()
        out = self.hf(
            ids, attention_mask=mask, position_ids=_positions(mask), use_cache=True,
            logits_to_keep=1,
        )  # fmt: skip
        cache, logits = out.past_key_values, out.logits[:, -1]
        if samples > 1:
            cache.batch_repeat_interleave(samples)
            logits = logits.repeat_interleave(samples, 0)
            mask = mask.repeat_interleave(samples, 0)
        rows: list[list[int]] = [[] for _ in luck]
        done = [False] * len(rows)
        for step in range(self.how.max_new_tokens):
            chosen = self._choose(logits, luck[:, step])
            for r, token in enumerate(chosen.tolist()):
                done[r] = done[r] or self._take(rows[r], r // samples, token)
            if all(done) or step + 1 == self.how.max_new_tokens:
                break
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], 1)
            out = self.hf(
                chosen[:, None], attention_mask=mask, position_ids=_positions(mask)[:, -1:],
                past_key_values=cache, use_cache=True,
            )  # fmt: skip
            cache, logits = out.past_key_values, out.logits[:, -1]
        return [self._cut(self._text(r // samples, row)) for r, row in enumerate(rows)]

    def _padded(self) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(map(len, self.prompts))
        ids = np.zeros((len(self.prompts), width), np.int64)
        mask = np.zeros_like(ids)
        for r, prompt in enumerate(self.prompts):
            ids[r, width - len(prompt) :] = prompt
            mask[r, width - len(prompt) :] = 1
        device = self.hf.device
        return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)

    def _choose(self, logits: torch.Tensor, luck: npt.NDArray[np.float64]) -> torch.Tensor:
        if self.how.temperature == 0:
            return logits.argmax(-1)
        chances = torch.softmax(logits.double() / self.how.temperature, -1)
        heights = chances.cumsum(-1)
        # scaled by the last height, so that rounding cannot lift a number above them all
        marks = torch.from_numpy(luck).to(heights.device) * heights[:, -1]
        return torch.searchsorted(heights, marks[:, None], right=True)[:, 0]

    def _take(self, row: list[int], prompt: int, token: int) -> bool:
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


def _positions(mask: torch.Tensor) -> torch.Tensor:
    return (mask.cumsum(-1) - 1).clamp(min=0)
