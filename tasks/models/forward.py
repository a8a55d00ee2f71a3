"""How does a batch of rows go through a causal network, and in which ways can it?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import Cache, DynamicLayer

from tasks.models.encode import Pair
from tasks.models.head import Head, Said
from tasks.models.packing import Batch, build
from tasks.models.rows import Costs, Forest, Ints, grow

_CACHED_BYTES = 6 * 2**20
"""What a CPU's cores keep near them: the widest activations of a batch should fit."""
_LOGITS = 2**27
"""Logits of a batch at the most, where a network gives nothing but logits."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Keys and values of a beginning that many rows share, and its length."""

    layers: tuple["_KeptLayer", ...]
    length: int


class Forward:
    """Runs a causal network over batches, by the cheapest way that it proves to get right.

    Once per network, a small sample is computed one sequence at a time and then in each of
    the cheaper ways; a way that differs is not used.

    Attributes:
        projects: the head can be applied to some positions alone.
        pads: shorter sequences can stand padded on the right beside longer ones.
        trees: branches of a row, and rows of a block, do not see each other.
        keeps: rows can stand behind keys and values that are kept.
        costs: what this network's work costs.
        budget: tokens of a batch.
    """

    def __init__(self, hf: Any) -> None:  # noqa: ANN401 - an untyped torch module
        self.hf = hf
        self.device = hf.device
        self._tolerance = 1e-3 if hf.dtype == torch.float32 else 5e-2
        self.vocab = int(hf.config.get_text_config().vocab_size)
        self.projects = False
        self.projects = self._can_project()
        self.head = Head(hf.get_output_embeddings() if self.projects else None, self.vocab)
        self.pads = _proves(self._can_pad)
        self.trees = self.pads and _sees_everything(hf.config) and _proves(self._can_do_trees)
        self.keeps = self.trees and _proves(self._can_keep)
        self.costs = _costs(hf)
        self.budget = self._budget()

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch types are not followed
    def read(
        self, batch: Batch, tokens: Ints, *, kept: Kept | None = None, moments: bool = False
    ) -> Said:
        """What the network says of `tokens`, one for each of the batch's nodes."""
        states = self._states(batch, kept)
        return self.head.read(
            states.reshape(-1, states.shape[-1]), batch.nodes, tokens, moments=moments
        )

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch types are not followed
    def keep(self, tokens: Ints) -> Kept:
        """Run a beginning once and keep what rows behind it attend to."""
        ids = torch.from_numpy(tokens)[None].to(self.device)
        cache = self.hf.base_model(ids, use_cache=True).past_key_values
        if any(type(layer) is not DynamicLayer for layer in cache.layers):
            raise TypeError("a cache that is more than keys and values")
        layers = tuple(_KeptLayer(layer.keys, layer.values) for layer in cache.layers)
        return Kept(layers, len(tokens))

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch types are not followed
    def alone(self, pair: Pair) -> list[float]:
        """Log-probabilities of a continuation's tokens, by one sequence in one plain run."""
        ids = torch.tensor([pair.context + pair.continuation[:-1]], device=self.device)
        n = len(pair.continuation)
        if self.projects:
            logits = self.head.layer(self._run(ids)[0, -n:])  # type: ignore[misc]  # there is one
        else:
            logits = self._run(ids)[0, -n:]
        logp = torch.log_softmax(logits.float(), dim=-1)
        asked = torch.tensor(pair.continuation, device=self.device)
        found: list[float] = logp.gather(1, asked[:, None])[:, 0].double().tolist()
        return found

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch types are not followed
    def after(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Logits (row, vocabulary) after the last token of each sequence, nothing kept."""
        if not self.pads and len(rows) > 1:
            return torch.cat([self.after([row]) for row in rows])
        ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
        for r, row in enumerate(rows):
            ids[r, : len(row)] = row
        states = self._run(torch.from_numpy(ids).to(self.device))
        last = states[torch.arange(len(rows)), torch.tensor([len(row) - 1 for row in rows])]
        logits: torch.Tensor = self.head.layer(last) if self.projects else last  # type: ignore[misc]  # there is one
        return logits.float()

    def _states(self, batch: Batch, kept: Kept | None = None) -> torch.Tensor:
        """Last hidden states (or logits, where the head cannot be applied alone)."""
        ids = torch.from_numpy(batch.tokens).to(self.device)
        if batch.plain and kept is None:
            return self._run(ids)
        more: dict[str, Any] = {
            "position_ids": torch.from_numpy(batch.positions).to(self.device),
            "attention_mask": self._mask(batch, kept.length if kept else 0),
        }
        if kept is not None:
            more |= {"past_key_values": Cache(layers=list(kept.layers)), "use_cache": True}
        return self._run(ids, **more)

    def _mask(self, batch: Batch, before: int) -> torch.Tensor:
        """Additive mask (block, 1, token, token it sees); what is kept is seen by all."""
        ends = torch.from_numpy(batch.ends).to(self.device)
        blocks, width = ends.shape
        at = torch.arange(width, device=self.device)
        seen = (at[None, None, :] <= at[None, :, None]) & (at[None, :, None] < ends[:, None, :])
        dtype = self.hf.dtype
        mask = torch.zeros(blocks, 1, width, before + width, dtype=dtype, device=self.device)
        mask[:, 0, :, before:].masked_fill_(~seen, torch.finfo(dtype).min)
        return mask

    def _run(self, ids: torch.Tensor, **more: Any) -> torch.Tensor:  # noqa: ANN401 - untyped torch
        more = {"use_cache": False} | more
        if self.projects:
            states: torch.Tensor = self.hf.base_model(ids, **more)[0]
            return states
        logits: torch.Tensor = self.hf(ids, **more).logits
        return logits

    def _budget(self) -> int:
        text = self.hf.config.get_text_config()
        hidden = int(getattr(text, "hidden_size", 1024))
        widest = max(int(getattr(text, "intermediate_size", 0) or 0), 3 * hidden)
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            # a third of the memory, twenty activations of the widest layer alive at once;
            # a power of two, so that a little more or less free memory batches alike
            most = free // 3 // (20 * widest * self.hf.dtype.itemsize)
            tokens = 1 << min(17, max(9, int(most).bit_length() - 1))
        else:
            tokens = min(4096, max(256, _CACHED_BYTES // (4 * widest)))
        return tokens if self.projects else max(1, min(tokens, _LOGITS // self.vocab))

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch types are not followed
    def _can_project(self) -> bool:
        """Whether body and head, called apart, give the network's own logits."""
        head = self.hf.get_output_embeddings()
        if head is None or self.hf.base_model is self.hf:
            return False
        ids = torch.tensor([self.sample(12)], device=self.device)
        apart = head(self.hf.base_model(ids, use_cache=False)[0])
        whole = self.hf(ids, use_cache=False).logits
        return apart.shape == whole.shape and self.equal(apart, whole)

    def _can_pad(self) -> bool:
        ids = self.sample(17)
        return self._agrees([Pair((a[0],), tuple(a[1:]), 1, True) for a in (ids, ids[5:12])])

    def _can_do_trees(self) -> bool:
        return self._agrees(self._family())

    def _can_keep(self) -> bool:
        return self._agrees(self._family(), kept=4)

    def _family(self) -> list[Pair]:
        """Continuations of one context, two of them with a common beginning."""
        ids = self.sample(20)
        arms = (ids[5:9], ids[9:14], ids[5:7] + ids[14:])
        return [Pair(tuple(ids[:5]), tuple(arm), 1, True) for arm in arms]

    def _agrees(self, pairs: list[Pair], kept: int = 0) -> bool:
        """Whether pairs computed together get the states they get one by one.

        Where they have a common context they are a tree, beside a stranger in one block.
        """
        forest = Forest(pairs)
        trees = len({p.context for p in pairs}) == 1
        rows = grow(
            forest, 0, len(pairs), kept, Costs(0.0), trees=trees, most=10**6
        )  # fmt: skip
        blocks = [[0, *range(len(rows))]] if trees else [[r] for r in range(len(rows))]
        counts = np.array([len(p.continuation) for p in pairs])
        batch = build(rows, blocks, counts)
        beginning = self.keep(np.array(pairs[0].context[:kept])) if kept else None
        states = self._states(batch, beginning).flatten(0, 1)
        said = np.split(batch.nodes, np.cumsum(batch.counts)[:-1])
        for number, nodes in zip(batch.pairs.tolist(), said, strict=True):
            pair = pairs[number]
            ids = torch.tensor([pair.context + pair.continuation[:-1]], device=self.device)
            alone = self._run(ids)[0, -len(pair.continuation) :]
            if not self.equal(states[torch.from_numpy(nodes).to(self.device)], alone):
                return False
        return True

    def equal(self, one: torch.Tensor, other: torch.Tensor) -> bool:
        """Whether two ways of computing agree, relative to the largest value."""
        scale = max(1.0, float(other.abs().max()))
        return bool((one.float() - other.float()).abs().max() <= self._tolerance * scale)

    def sample(self, n: int) -> list[int]:
        """Some tokens, always the same."""
        return [(7 * i + 3) % self.vocab for i in range(n)]


class _KeptLayer(DynamicLayer):  # type: ignore[misc]  # transformers carries no types
    """Keys and values of a beginning, put before those of each row and left as they are."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.keys, self.values, self.is_initialized = keys, values, True

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *_: Any,  # noqa: ANN401 - what other layers want
        **__: Any,  # noqa: ANN401
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Both together; nothing is stored."""
        n = len(key_states)
        keys = self.keys.expand(n, -1, -1, -1)
        values = self.values.expand(n, -1, -1, -1)
        return torch.cat([keys, key_states], -2), torch.cat([values, value_states], -2)


def _proves(way: Callable[[], bool]) -> bool:
    """Whether the network gets a way right; one that it does not take raises anything."""
    try:
        with torch.inference_mode():
            return way()
    except Exception:  # noqa: BLE001 - a library's refusal of an argument has no one class
        return False


def _costs(hf: Any) -> Costs:  # noqa: ANN401 - an untyped torch module
    """Price of attention and of a call, from the shape of the network.

    A token costs 2 operations per weight of the body. Attending to one other costs, in each
    head of each layer, 4 operations per channel and as much again as 16 channels for its
    exponential (measured on a CPU with heads of 8 and of 64 channels). A call costs as much
    as some 32 tokens for reading the weights, and half a millisecond per layer for
    launching it, at 70 billion operations a second.
    """
    text = hf.config.get_text_config()
    layers = int(getattr(text, "num_hidden_layers", 1))
    hidden = int(getattr(text, "hidden_size", 1))
    heads = int(getattr(text, "num_attention_heads", 0) or max(1, hidden // 64))
    channels = int(getattr(text, "head_dim", 0) or hidden // heads)
    outer = {id(m.weight): m.weight.numel() for m in _outer(hf)}
    body = max(1, sum(p.numel() for p in hf.parameters()) - sum(outer.values()))
    attention = 2 * layers * heads * (channels + 16) / body
    return Costs(attention=attention, call=32 + 17.5e6 * layers / body)


def _outer(hf: Any) -> list[Any]:  # noqa: ANN401 - untyped torch modules
    found = [hf.get_input_embeddings(), hf.get_output_embeddings()]
    return [m for m in found if getattr(m, "weight", None) is not None]


def _sees_everything(config: Any) -> bool:  # noqa: ANN401 - an untyped library object
    """Whether each layer attends to the whole past, so that one mask serves them all."""
    text = config.get_text_config()
    kinds = getattr(text, "layer_types", None) or ["full_attention"]
    windowed = getattr(text, "sliding_window", None) and getattr(
        text, "use_sliding_window", True
    )
    return not windowed and set(kinds) == {"full_attention"}
