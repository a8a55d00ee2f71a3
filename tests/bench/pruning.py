"""Wanda and SparseGPT here and as the papers' algorithms run, A B A B, as JSON.

`python -m tests.bench.pruning`: a Llama with random weights and documents of random tokens.
The other side is the published procedure written down plainly: for each block, hooks on every
linear layer, a forward pass of each document, the pruning of each layer, and a second pass.
Both start from a loaded model in memory; ours also checks that the blocks can be walked and
measures each layer's error on eight documents. `ratio` is ours over theirs; below 1 is faster.
"""

import argparse
import contextlib
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from tasks.compress import SparseGpt, Wanda
from tasks.compress.blocks import linears_of
from tasks.compress.walk import rewrite
from tasks.models.testing import tiny_llama

Prune = Callable[[torch.Tensor, Any], torch.Tensor]
HALF = 0.5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--documents", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    print(json.dumps(report(parser.parse_args()), indent=1))
    return 0


def report(options: argparse.Namespace) -> dict[str, object]:
    from transformers import AutoModelForCausalLM

    with tempfile.TemporaryDirectory() as home:
        folder = tiny_llama(
            Path(home), layers=options.layers, width=options.width, max_length=options.tokens
        )
        model = AutoModelForCausalLM.from_pretrained(folder).eval()
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 300, (options.documents, 1, options.tokens), generator=draw)
    seen = [{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in ids]
    found: dict[str, object] = {"settings": vars(options)}
    pairs: list[tuple[Any, Callable[[], Any], Prune]] = [
        (Wanda(sparsity=HALF), Norms, wanda),
        (SparseGpt(sparsity=HALF), Hessian, sparsegpt),
    ]
    for method, start, prune in pairs:
        ours, theirs, same = [], [], 1.0
        for _ in range(options.repeats):
            mine, other = copy.deepcopy(model), copy.deepcopy(model)
            began = time.perf_counter()
            rewrite(mine, dict.fromkeys(linears_of(mine), method), seen)
            ours.append(time.perf_counter() - began)
            began = time.perf_counter()
            published(other, seen, start, prune)
            theirs.append(time.perf_counter() - began)
            same = agreement(mine, other)
        found[method.kind] = {
            "seconds": ours,
            "seconds_published": theirs,
            "ratio": statistics.median(ours) / statistics.median(theirs),
            "same_zeros": same,
        }
    return found


def agreement(mine: Any, other: Any) -> float:
    """Share of the weights on which both agree whether it goes."""
    pairs = zip(linears_of(mine).values(), linears_of(other).values(), strict=True)
    return statistics.fmean(
        float(((a.weight == 0) == (b.weight == 0)).float().mean()) for a, b in pairs
    )


class Norms:
    """Running mean of squares of each input."""

    def __init__(self) -> None:
        self.n, self.value = 0, torch.zeros(())

    def add(self, inputs: torch.Tensor) -> None:
        kept = self.n / (self.n + 1)
        self.value = self.value * kept + inputs.T.norm(dim=1) ** 2 / (self.n + 1)
        self.n += 1


class Hessian(Norms):
    """Running mean of 2 X X^T."""

    def add(self, inputs: torch.Tensor) -> None:
        kept = self.n / (self.n + 1)
        scaled = (2 / (self.n + 1)) ** 0.5 * inputs.T
        self.value = self.value * kept + scaled.matmul(scaled.T)
        self.n += 1


def published(
    model: Any,
    seen: Sequence[Any],
    start: Callable[[], Any],
    prune: Prune,
) -> None:
    """Block by block: hooks, a pass of every document, pruning, and a second pass."""
    with torch.no_grad():
        states = entered(model, seen)
        for block in model.model.layers:
            layers = [m for m in block.modules() if isinstance(m, torch.nn.Linear)]
            stats = {layer: start() for layer in layers}
            hooks = [
                layer.register_forward_hook(lambda m, x, _, s=stats: s[m].add(x[0][0]))
                for layer in layers
            ]
            for hidden, named in states:
                block(hidden, **named)
            for one in hooks:
                one.remove()
            for layer in layers:
                layer.weight.copy_(prune(layer.weight.detach().clone(), stats[layer].value))
            states = [[block(hidden, **named), named] for hidden, named in states]


def entered(model: Any, seen: Sequence[Any]) -> list[Any]:
    """What the first block is given for each document."""
    states: list[Any] = []

    def catch(_: object, given: Any, named: Any) -> None:
        states.append([given[0], named])
        raise StopIteration

    hook = model.model.layers[0].register_forward_pre_hook(catch, with_kwargs=True)
    for batch in seen:
        with contextlib.suppress(StopIteration):
            model(**batch, use_cache=False)
    hook.remove()
    return states


def wanda(weight: torch.Tensor, norms: torch.Tensor) -> torch.Tensor:
    scores = weight.abs() * norms.sqrt()
    order = scores.sort(dim=-1, stable=True).indices[:, : int(weight.shape[1] * HALF)]
    return weight.scatter(1, order, 0)


def sparsegpt(weight: torch.Tensor, hessian: torch.Tensor) -> torch.Tensor:
    hessian.diagonal().add_(0.01 * hessian.diagonal().mean())
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    upper = torch.linalg.cholesky(inverse, upper=True)
    for begin in range(0, weight.shape[1], 128):
        end = min(begin + 128, weight.shape[1])
        part, errors = weight[:, begin:end].clone(), torch.zeros(len(weight), end - begin)
        inner = upper[begin:end, begin:end]
        scores = part**2 / inner.diagonal() ** 2
        mask = scores <= scores.flatten().sort().values[int(scores.numel() * HALF)]
        done = torch.zeros_like(part)
        for at in range(end - begin):
            new = part[:, at].clone()
            new[mask[:, at]] = 0
            done[:, at] = new
            error = (part[:, at] - new) / inner[at, at]
            part[:, at:] -= error.unsqueeze(1).matmul(inner[at, at:].unsqueeze(0))
            errors[:, at] = error
        weight[:, begin:end] = done
        weight[:, end:] -= errors.matmul(upper[begin:end, end:])
    return weight


if __name__ == "__main__":
    raise SystemExit(main())
