"""Which optimizers move which weights."""

from typing import TYPE_CHECKING

from tasks.train.settings import TrainSettings

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM


def make_optimizers(
    model: "LlamaForCausalLM", settings: TrainSettings
) -> "tuple[torch.optim.Optimizer, ...]":
    """The optimizers of a training, each group knowing its peak rate as `peak`.

    Under `muon` the matrices inside the blocks follow Muon (arXiv 2502.16982), which spreads
    every update over all directions of a matrix; rare facts, which only move a few, are then
    learned in a fraction of the steps AdamW takes. Embeddings and gains follow AdamW.
    """
    import torch

    from tasks.train.muon import Muon

    inner = [p for name, p in model.named_parameters() if p.ndim > 1 and ".layers." in name]
    outer = [p for name, p in model.named_parameters() if p.ndim > 1 and ".layers." not in name]
    gains = [p for p in model.parameters() if p.ndim <= 1]
    decay, rate = settings.weight_decay, settings.peak_rate
    adam = [{"params": gains, "weight_decay": 0.0, "peak": rate}]
    if settings.optimizer == "adamw":
        adam.append({"params": [*inner, *outer], "weight_decay": decay, "peak": rate})
    else:
        adam.append({"params": outer, "weight_decay": 0.0, "peak": rate})
    # A second moment over about 50 steps instead of 1000: these runs are that short.
    made: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(adam, lr=rate, betas=(0.9, 0.98), fused=True)
    ]
    if settings.optimizer == "muon":
        group = {"params": inner, "weight_decay": decay, "peak": settings.matrix_rate}
        made.append(Muon([group], lr=settings.matrix_rate))
    return tuple(made)
