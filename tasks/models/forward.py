"""What does the network say at the scored positions of rows of tokens?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tasks.models.encode import Pair
from tasks.models.rows import Row, batches, grow

TOKENS_PER_BATCH = 4096
SPARE = 128
"""Tokens that branches may take below a short context."""
_LOGITS_AT_ONCE = 2**25


@dataclass(frozen=True, slots=True)
class Answers:
    """For the asks of one row: log-probabilities in nats, and whether each was the argmax."""

    row: int
    logprobs: npt.NDArray[np.float64]
    greedy: npt.NDArray[np.bool_]


class Forward:
    """Runs a causal network over rows, by the cheapest way that it proves to get right.

    Once per network, a small sample is computed plainly, with only the asked positions
    projected, and with trees; a way that differs from the plain one is not used.
    """

    def __init__(self, hf: Any) -> None:  # noqa: ANN401 - an untyped torch module
        self.hf = hf
        self.device = hf.device
        self._tolerance = 1e-3 if hf.dtype == torch.float32 else 5e-2
        self.projects = self._can_project()
        self.trees = self._can_do_trees()

    def answer(self, rows: Sequence[Row]) -> Iterator[Answers]:
        """Answer every ask of every row, batch by batch, in no particular order of rows."""
        for batch in batches([len(row.tokens) for row in rows], TOKENS_PER_BATCH):
            yield from self._batch(batch, [rows[r] for r in batch])

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch types are not followed
    def _batch(self, numbers: Sequence[int], rows: Sequence[Row]) -> list[Answers]:
        states = self._states(rows)
        width = states.shape[1]
        nodes = [sorted({node for node, _ in row.asks}) for row in rows]
        flat = [r * width + node for r, ns in enumerate(nodes) for node in ns]
        slot = {at: i for i, at in enumerate(flat)}
        where = [slot[r * width + node] for r, row in enumerate(rows) for node, _ in row.asks]
        tokens = [token for row in rows for _, token in row.asks]
        chosen = states.reshape(-1, states.shape[-1])[torch.tensor(flat, device=self.device)]
        logprobs, greedy = self._read(chosen, where, tokens)
        ends = np.cumsum([len(row.asks) for row in rows])[:-1]
        return [
            Answers(number, lp, top)
            for number, lp, top in zip(
                numbers, np.split(logprobs, ends), np.split(greedy, ends), strict=True
            )
        ]

    def _read(
        self, chosen: torch.Tensor, where: Sequence[int], tokens: Sequence[int]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Log-softmax in fp32 over a few positions at a time, then pick the asked tokens."""
        at, token = np.asarray(where), np.asarray(tokens)
        logprobs, greedy = np.empty(len(at)), np.empty(len(at), np.bool_)
        order = np.argsort(at, kind="stable")
        step = max(1, _LOGITS_AT_ONCE // int(self.hf.config.get_text_config().vocab_size))
        for start in range(0, len(chosen), step):
            part = chosen[start : start + step]
            logits = self._logits(part).float()
            low, high = np.searchsorted(at[order], [start, start + len(part)])
            mine = order[low:high]
            local = torch.from_numpy(at[mine] - start).to(self.device)
            asked = torch.from_numpy(token[mine]).to(self.device)
            picked = torch.log_softmax(logits, dim=-1)[local, asked]
            logprobs[mine] = picked.double().cpu().numpy()
            greedy[mine] = (logits.argmax(dim=-1)[local] == asked).cpu().numpy()
        return logprobs, greedy

    def _states(self, rows: Sequence[Row]) -> torch.Tensor:
        """Last hidden states (or logits, where the head cannot be applied alone) of rows."""
        width = max(len(row.tokens) for row in rows)
        ids = np.zeros((len(rows), width), np.int64)
        for r, row in enumerate(rows):
            ids[r, : len(row.tokens)] = row.tokens
        more = {}
        if any(parent != node - 1 for row in rows for node, parent in enumerate(row.parents)):
            more = self._tree(rows, width)
        return self._run(torch.from_numpy(ids).to(self.device), **more)

    def _tree(self, rows: Sequence[Row], width: int) -> dict[str, torch.Tensor]:
        """Position ids, and an additive mask in which padding sees only itself."""
        positions = np.zeros((len(rows), width), np.int64)
        sees = np.broadcast_to(np.eye(width, dtype=np.bool_), (len(rows), width, width)).copy()
        for r, row in enumerate(rows):
            size = len(row.tokens)
            positions[r, :size] = row.positions()
            sees[r, :size, :size] = row.sees()
        allowed = torch.from_numpy(sees).to(self.device)[:, None]
        mask = torch.zeros(allowed.shape, dtype=self.hf.dtype, device=self.device)
        mask.masked_fill_(~allowed, torch.finfo(self.hf.dtype).min)
        return {
            "position_ids": torch.from_numpy(positions).to(self.device),
            "attention_mask": mask,
        }

    def _run(self, ids: torch.Tensor, **more: torch.Tensor) -> torch.Tensor:
        if self.projects:
            states: torch.Tensor = self.hf.base_model(ids, use_cache=False, **more)[0]
            return states
        logits: torch.Tensor = self.hf(ids, use_cache=False, **more).logits
        return logits

    def _logits(self, states: torch.Tensor) -> torch.Tensor:
        if not self.projects:
            return states
        logits: torch.Tensor = self.hf.get_output_embeddings()(states)
        return logits

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch types are not followed
    def _can_project(self) -> bool:
        """Whether body and head, called apart, give the network's own logits."""
        head = self.hf.get_output_embeddings()
        if head is None or self.hf.base_model is self.hf:
            return False
        ids = torch.tensor([_sample(self.hf, 12)], device=self.device)
        apart = head(self.hf.base_model(ids, use_cache=False)[0])
        whole = self.hf(ids, use_cache=False).logits
        return apart.shape == whole.shape and self._equal(apart, whole)

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch types are not followed
    def _can_do_trees(self) -> bool:
        """Whether branches of a tree get the states they would have as plain sequences."""
        if not _sees_everything(self.hf.config):
            return False
        ids = _sample(self.hf, 16)
        context, arms = tuple(ids[:5]), (ids[5:9], ids[9:14], ids[5:7] + ids[14:])
        pairs = [Pair(context, tuple(arm), 1, True) for arm in arms]
        [tree], _ = grow(pairs, shared=True, spare=SPARE)
        together = self._states([tree])[0]
        for pair in pairs:
            alone = self._states([Row.chain(pair.context + pair.continuation[:-1])])[0]
            path = _path(tree, pair)
            if not self._equal(together[path], alone):
                return False
        return True

    def _equal(self, one: torch.Tensor, other: torch.Tensor) -> bool:
        scale = max(1.0, float(other.abs().max()))
        return bool((one.float() - other.float()).abs().max() <= self._tolerance * scale)


def _path(tree: Row, pair: Pair) -> list[int]:
    """Nodes of a tree that a context and the fed part of its continuation run through."""
    nodes = list(range(len(pair.context)))
    for token in pair.continuation[:-1]:
        nodes.append(tree.step(nodes[-1], token))
    return nodes


def _sample(hf: Any, n: int) -> list[int]:  # noqa: ANN401 - an untyped torch module
    vocab = int(hf.config.get_text_config().vocab_size)
    return [(7 * i + 3) % vocab for i in range(n)]


def _sees_everything(config: Any) -> bool:  # noqa: ANN401 - an untyped library object
    """Whether each layer attends to the whole past, so that one mask serves them all."""
    text = config.get_text_config()
    kinds = getattr(text, "layer_types", None) or ["full_attention"]
    windowed = getattr(text, "sliding_window", None) and getattr(
        text, "use_sliding_window", True
    )
    return not windowed and set(kinds) == {"full_attention"}
