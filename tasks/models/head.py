"""What do hidden states say of the next token?

The normalizer is summed over the vocabulary a tile at a time, so that logits are used while
they are in the processor's cache and a full row of them never lies in memory.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tasks.models.rows import Ints

_TILE = {"cpu": 2**20, "cuda": 2**25}
"""Logits at once: on a CPU as many as its cache holds."""


@dataclass(frozen=True, slots=True)
class Said:
    """For each asked token: log-probability in nats, whether it was the argmax, moments.

    `moments` has two columns, mean and standard deviation of log p, or none.
    """

    logprobs: npt.NDArray[np.float64]
    greedy: npt.NDArray[np.bool_]
    moments: npt.NDArray[np.float64]


class Head:
    """The last layer of a network: from hidden states to probabilities of tokens.

    Args:
        layer: what turns states into logits; None where states are logits already.
        vocab: size of the vocabulary.
    """

    def __init__(self, layer: Any | None, vocab: int) -> None:  # noqa: ANN401 - untyped torch
        self.layer, self.vocab = layer, vocab
        # a quantized layer is a subclass or wears hooks: only a plain one is cut into tiles
        self.tiles = isinstance(layer, torch.nn.Linear) and _plain(layer)

    def read(
        self, states: torch.Tensor, nodes: Ints, tokens: Ints, *, moments: bool = False
    ) -> Said:
        """Read `tokens[i]` at `states[nodes[i]]`; each state is projected once.

        Args:
            states: (position, width) of the whole batch.
            nodes: position in front of each asked token.
            tokens: the asked tokens.
            moments: also the moments of log p over the vocabulary.
        """
        used, where = np.unique(nodes, return_inverse=True)
        order = np.argsort(where, kind="stable")
        said = Said(
            np.empty(len(nodes)),
            np.empty(len(nodes), np.bool_),
            np.empty((len(nodes), 2 if moments else 0)),
        )
        step = self._step(states.device.type, moments)
        bounds = np.searchsorted(where[order], np.arange(0, len(used) + step, step))
        for i, start in enumerate(range(0, len(used), step)):
            mine = order[bounds[i] : bounds[i + 1]]
            part = states[torch.from_numpy(used[start : start + step]).to(states.device)]
            self._part(part, where[mine] - start, tokens[mine], mine, said)
        return said

    def _step(self, device: str, moments: bool) -> int:
        if self.tiles and not moments:
            return 512
        most = _TILE.get(device, 2**25) * (1 if moments else 4)
        return max(1, most // self.vocab)

    def _part(
        self, states: torch.Tensor, where: Ints, tokens: Ints, mine: Ints, said: Said
    ) -> None:
        if said.moments.size or not self.tiles:
            logits = (states if self.layer is None else self.layer(states)).float()
            tile = _Sum(len(states), where, tokens, states.device)
            tile.add(logits, 0)
            if said.moments.size:
                said.moments[mine] = _moments(logits).cpu().numpy()[where]
        else:
            tile = self._tiled(states, where, tokens)
        said.logprobs[mine], said.greedy[mine] = tile.end()

    def _tiled(self, states: torch.Tensor, where: Ints, tokens: Ints) -> "_Sum":
        layer: Any = self.layer
        width = max(256, _TILE.get(states.device.type, 2**25) // max(1, len(states)))
        total = _Sum(len(states), where, tokens, states.device)
        for low in range(0, self.vocab, width):
            high = min(low + width, self.vocab)
            bias = None if layer.bias is None else layer.bias[low:high]
            total.add(
                torch.nn.functional.linear(states, layer.weight[low:high], bias).float(), low
            )
        return total


class _Sum:
    """Running maximum, argmax and sum of exponentials of rows of logits."""

    def __init__(self, n: int, where: Ints, tokens: Ints, device: torch.device) -> None:
        self.where, self.tokens, self.device = where, tokens, device
        self.order = np.argsort(tokens, kind="stable")
        self.top = torch.full((n,), -torch.inf, device=device)
        self.best = torch.zeros(n, dtype=torch.int64, device=device)
        self.sum = torch.zeros(n, device=device)
        self.asked = torch.zeros(len(tokens), device=device)

    def add(self, logits: torch.Tensor, low: int) -> None:
        """Take the logits of the tokens from `low` on; overwrites nothing but scratch."""
        first, last = np.searchsorted(self.tokens[self.order], [low, low + logits.shape[1]])
        if first < last:
            mine = self.order[first:last]
            at = torch.from_numpy(self.where[mine]).to(self.device)
            token = torch.from_numpy(self.tokens[mine] - low).to(self.device)
            self.asked[torch.from_numpy(mine).to(self.device)] = logits[at, token]
        top, best = logits.max(-1)
        self.best = torch.where(top > self.top, best + low, self.best)
        top = torch.maximum(top, self.top)
        self.sum = self.sum * (self.top - top).exp() + (logits - top[:, None]).exp_().sum(-1)
        self.top = top

    def end(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Log-probabilities of the asked tokens, and which were the argmax."""
        at = torch.from_numpy(self.where).to(self.device)
        # what is over 1 by rounding is 1; NaN stays NaN
        logprobs = (self.asked - (self.top + self.sum.log())[at]).clamp_(max=0.0)
        greedy = self.best[at] == torch.from_numpy(self.tokens).to(self.device)
        return logprobs.double().cpu().numpy(), greedy.cpu().numpy()


def _plain(layer: torch.nn.Linear) -> bool:
    """Whether a layer is nothing but its weight and bias."""
    hooks = (layer._forward_pre_hooks, layer._forward_hooks)
    return type(layer) is torch.nn.Linear and not any(hooks) and "forward" not in vars(layer)


def _moments(logits: torch.Tensor) -> torch.Tensor:
    """Mean and standard deviation of log p under p, by row; centred, in float64."""
    logp = torch.log_softmax(logits.double(), dim=-1)
    p = logp.exp()
    # a token of probability 0 has log p = -inf and adds nothing
    mean = torch.where(p > 0, p * logp, 0.0).sum(-1)
    spread = torch.where(p > 0, p * (logp - mean[:, None]) ** 2, 0.0).sum(-1)
    return torch.stack([mean, spread.sqrt()], dim=-1)
