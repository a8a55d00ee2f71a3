"""What does a network say after each of several sequences, one token after another?"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from tasks.models.forward import Forward

PLENTY = 16_384
"""Positions of a batch on a CPU at the most; more makes no step cheaper."""


class Decoder(Protocol):
    """A batch of sequences that grow by a token each."""

    def begin(self, prompts: Sequence[Sequence[int]], samples: int) -> torch.Tensor:
        """Logits (row, vocabulary) after each prompt, `samples` equal rows for each."""
        ...

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits after one more token of each row."""
        ...

    def leave(self, staying: torch.Tensor) -> None:
        """Go on with these rows only."""
        ...


class Cached:
    """Keeps keys and values; shorter prompts are padded on their left."""

    def __init__(self, hf: Any) -> None:  # noqa: ANN401 - an untyped torch module
        self.hf = hf

    def begin(self, prompts: Sequence[Sequence[int]], samples: int) -> torch.Tensor:
        """Run the prompts; the samples of one share its run."""
        width = max(map(len, prompts))
        ids, mask = np.zeros((2, len(prompts), width), np.int64)
        for r, prompt in enumerate(prompts):
            ids[r, width - len(prompt) :] = prompt
            mask[r, width - len(prompt) :] = 1
        self.mask = torch.from_numpy(mask).to(self.hf.device)
        logits = self._run(torch.from_numpy(ids).to(self.hf.device), None)
        if samples > 1:
            self.cache.batch_repeat_interleave(samples)
            self.mask = self.mask.repeat_interleave(samples, 0)
            logits = logits.repeat_interleave(samples, 0)
        return logits

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Run one token of each row."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], 1)
        return self._run(tokens[:, None], self.cache)

    def leave(self, staying: torch.Tensor) -> None:
        """Drop the keys and values of the others."""
        self.cache.batch_select_indices(staying)
        self.mask = self.mask[staying]

    def _run(self, ids: torch.Tensor, cache: Any) -> torch.Tensor:  # noqa: ANN401 - untyped library
        positions = (self.mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        out = self.hf(
            ids, attention_mask=self.mask, position_ids=positions, past_key_values=cache,
            use_cache=True, logits_to_keep=1,
        )  # fmt: skip
        self.cache = out.past_key_values
        logits: torch.Tensor = out.logits[:, -1].float()
        return logits


class Plain:
    """Runs whole sequences at every step; right for every causal network."""

    def __init__(self, forward: Forward) -> None:
        self.forward = forward

    def begin(self, prompts: Sequence[Sequence[int]], samples: int) -> torch.Tensor:
        """Run the prompts."""
        self.rows = [list(prompt) for prompt in prompts for _ in range(samples)]
        return self.forward.after(self.rows)

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Run the sequences with one more token each."""
        for row, token in zip(self.rows, tokens.tolist(), strict=True):
            row.append(token)
        return self.forward.after(self.rows)

    def leave(self, staying: torch.Tensor) -> None:
        """Forget the others."""
        self.rows = [self.rows[r] for r in staying.tolist()]


def decoder(forward: Forward) -> Decoder:
    """The cheapest way that this network proves to get right."""
    if _can_cache(forward):
        return Cached(forward.hf)
    return Plain(forward)


def most_positions(hf: Any) -> int:  # noqa: ANN401 - an untyped torch module
    """Positions of keys and values that a batch may keep, by free memory."""
    text = hf.config.get_text_config()
    heads = int(getattr(text, "num_attention_heads", 1) or 1)
    size = int(getattr(text, "head_dim", 0) or getattr(text, "hidden_size", 1024) // heads)
    kept = int(getattr(text, "num_key_value_heads", heads) or heads) * size
    layers = int(getattr(text, "num_hidden_layers", 1))
    each = 2 * layers * kept * hf.dtype.itemsize
    if hf.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(hf.device)
        return max(1, int(free // 3 // each))
    import psutil

    return max(1, min(PLENTY, int(psutil.virtual_memory().available // 4 // each)))


@torch.inference_mode()  # type: ignore[untyped-decorator]  # torch types are not followed
def _can_cache(forward: Forward) -> bool:
    """Whether a padded batch with a cache says what whole sequences say, to 1e-3 of it.

    A network that does not take a mask, positions or a cache raises anything.
    """
    prompts = [forward.sample(9), forward.sample(5)[1:]]
    cached, plain = Cached(forward.hf), Plain(forward)
    try:
        for way in (0, 1, 2):
            tokens = torch.tensor(forward.sample(4)[way : way + 2], device=forward.device)
            if way == 0:
                one, two = cached.begin(prompts, 1), plain.begin(prompts, 1)
            else:
                one, two = cached.step(tokens), plain.step(tokens)
            if not forward.equal(one, two):
                return False
        cached.leave(torch.tensor([1], device=forward.device))
    except Exception:  # noqa: BLE001 - see above
        return False
    return True
