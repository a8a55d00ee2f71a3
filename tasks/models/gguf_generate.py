"""How does a GGUF file's network continue a prompt, with the same luck as any other?

Sampling is that of `tasks.models.generate`: the inverse of the cumulative distribution at
uniform numbers that depend on seed, prompt and sample alone. There it is done with torch,
which a process that runs llama.cpp need not load.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from tasks.models.gguf_plan import Plan
from tasks.models.gguf_runtime import TOKENS, Network
from tasks.models.gguf_vocabulary import Vocabulary
from tasks.models.luck import luck, require_finite

CELLS = 4096
"""Tokens of one group of prompts: each new token attends to all of them, masked or not."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to continue: length, luck, temperature, samples per prompt, where to stop."""

    max_new_tokens: int
    seed: int
    temperature: float
    n: int
    stop: tuple[str, ...]


def continue_prompts(
    network: Network,
    vocabulary: Vocabulary,
    texts: Sequence[str],
    prompts: Sequence[Sequence[int]],
    how: Sampling,
) -> list[list[str]]:
    """Texts of the continuations, `how.n` for each prompt, in the order of the prompts.

    Args:
        network: the file's network.
        vocabulary: the file's vocabulary.
        texts: the prompts, or names in their place, by which they get their luck.
        prompts: their tokens.
        how: length, luck and where to stop.
    """
    samples = 1 if how.temperature == 0 else how.n
    lines = [(prompt, sample) for prompt in range(len(prompts)) for sample in range(samples)]
    lots = luck(how.seed, texts, samples, how.max_new_tokens).reshape(
        len(texts), samples, how.max_new_tokens
    )
    lines.sort(key=lambda line: tuple(prompts[line[0]]))  # neighbours share beginnings
    found: dict[tuple[int, int], str] = {}
    with tqdm(total=len(lines), desc="generating", unit="text", delay=3, leave=False) as bar:
        while lines:
            size = _group([len(prompts[p]) + how.max_new_tokens for p, _ in lines], network)
            group, lines = lines[:size], lines[size:]
            run = _Run(network, vocabulary, [prompts[p] for p, _ in group], how)
            chances = [lots[prompt][sample] for prompt, sample in group]
            found |= zip(group, run.finish(np.stack(chances)), strict=True)
            bar.update(len(group))
    return [
        [found[prompt, sample % samples] for sample in range(how.n)]
        for prompt in range(len(prompts))
    ]


def _group(cells: Sequence[int], network: Network) -> int:
    """How many of the first continuations go together; each has a sequence of its own."""
    fit = int(np.searchsorted(np.cumsum(cells), CELLS, side="right"))
    return max(1, min(fit, network.sequences // 2))


class _Run:
    """A group of continuations on their way through the network, one sequence each."""

    def __init__(
        self,
        network: Network,
        vocabulary: Vocabulary,
        prompts: Sequence[Sequence[int]],
        how: Sampling,
    ) -> None:
        self.network, self.vocabulary, self.prompts, self.how = (
            network,
            vocabulary,
            prompts,
            how,
        )
        longest = max((len(s.encode()) for s in how.stop), default=0)
        self.tail = longest + 4
        """A stop string of b bytes ends within the last b tokens and a character's bytes."""

    def finish(self, luck: npt.NDArray[np.float64]) -> list[str]:
        """Generate until each has ended; the texts before their stop strings."""
        network = self.network
        network.reserve(sum(len(p) + self.how.max_new_tokens for p in self.prompts))
        new: list[list[int]] = [[] for _ in self.prompts]
        alive = list(range(len(new)))
        logits = self._read_prompts()
        for step in range(self.how.max_new_tokens):
            for r in alive.copy():
                if self._take(new[r], self._choose(logits[r], luck[r, step])):
                    alive.remove(r)
                    network.forget(self._sequence(r))
            if not alive or step + 1 == self.how.max_new_tokens:
                break
            fed = network.feed(
                [new[r][-1] for r in alive],
                [len(self.prompts[r]) + len(new[r]) - 1 for r in alive],
                [(self._sequence(r), self._sequence(r) + 1) for r in alive],
                [True] * len(alive),
            )
            logits = dict(zip(alive, fed, strict=True))
        return [self._cut(self._text(r, row)) for r, row in enumerate(new)]

    def _read_prompts(self) -> dict[int, npt.NDArray[np.float32]]:
        """Feed the prompts, what they share once; the logits after each.

        They fill sequences from 0 on, of which every continuation then gets a copy.
        """
        network = self.network
        plan = Plan(
            [tuple(p) for p in self.prompts], [1] * len(self.prompts),
            shared=not network.recurrent,
        )  # fmt: skip
        [chunk] = plan.chunks(plan.n_nodes, len(self.prompts))
        asked = np.zeros(plan.n_nodes, np.bool_)
        asked[[node for [node] in plan.nodes]] = True
        branches = chunk.branches(first=0)
        rows: list[npt.NDArray[np.float32]] = []
        for start in range(0, plan.n_nodes, TOKENS):
            part = slice(start, start + TOKENS)
            logits = network.feed(
                chunk.tokens[part], chunk.positions[part], branches[part], asked[part]
            )
            rows.extend(logits.copy())
        row = np.cumsum(asked) - 1
        for r, ([node], prompt) in enumerate(zip(plan.nodes, self.prompts, strict=True)):
            network.copy(chunk.first[node], self._sequence(r), len(prompt))
        for branch in range(len(chunk.joins)):
            network.forget(branch)
        return {r: rows[row[node]] for r, [node] in enumerate(plan.nodes)}

    def _sequence(self, continuation: int) -> int:
        return len(self.prompts) + continuation

    def _choose(self, logits: npt.NDArray[np.float32], luck: float) -> int:
        require_finite(bool(np.isfinite(logits.max())))
        if self.how.temperature == 0:
            return int(logits.argmax())
        # from the likeliest one down, so that no temperature is too low to divide by
        below = logits.astype(np.float64) - float(logits.max())
        with np.errstate(over="ignore"):
            heights = np.exp(below / self.how.temperature).cumsum()
        # scaled by the last height, so that rounding cannot lift a number above them all
        return int(np.searchsorted(heights, luck * heights[-1], side="right"))

    def _take(self, new: list[int], token: int) -> bool:
        """Append a token; whether the continuation has ended with it."""
        if self.vocabulary.is_end(token):
            return True
        new.append(token)
        if not self.how.stop:
            return False
        recent = self.vocabulary.decode(new[-self.tail :])
        return any(stop in recent for stop in self.how.stop)

    def _text(self, sequence: int, new: Sequence[int]) -> str:
        """What the tokens add to the prompt's text.

        Decoded behind the prompt's last token, for a decoder strips the leading space of
        the first word it sees.
        """
        last = list(self.prompts[sequence][-1:])
        before, both = self.vocabulary.decode(last), self.vocabulary.decode([*last, *new])
        if both.startswith(before):
            return both[len(before) :]
        return self.vocabulary.decode(new)

    def _cut(self, text: str) -> str:
        ends = [at for stop in self.how.stop if stop and (at := text.find(stop)) >= 0]
        return text[: min(ends)] if ends else text
