"""The training loop: from texts to a model, the same one however often it is interrupted."""

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audits.errors import StageError
from tasks.train.optimizers import make_optimizers
from tasks.train.packing import PADDING, Blocks, encode, pack
from tasks.train.resume import load_checkpoint, save_checkpoint
from tasks.train.settings import TrainSettings

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

Progress = Callable[[int, int, float], None]
"""Told after every step: steps done, steps in all, the step's loss in nats per token."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained model, what it saw, and how the loss went.

    `losses` has one value per step, in nats per token; `seconds` counts training alone,
    over all attempts.
    """

    model: "LlamaForCausalLM"
    stream: Blocks
    losses: tuple[float, ...]
    seconds: float


def train_model(
    texts: Sequence[str],
    tokenizer: "PreTrainedTokenizerBase",
    settings: TrainSettings,
    scratch: Path,
    progress: Progress = lambda done, total, loss: None,
) -> Trained:
    """Train a Llama from scratch on documents.

    A pure function of texts, tokenizer and settings: on one machine with one number of
    threads equal arguments give equal weights, bit by bit, also when killed and called
    again with the same `scratch`. A control twin is a call with another corpus or seed.

    Raises:
        StageError: There is no text, the loss is no longer finite, or `scratch` holds the
            checkpoint of another training.
    """
    import torch

    stream = pack(
        encode(texts, tokenizer),
        epochs=settings.epochs, block_tokens=settings.block_tokens, seed=settings.seed,
    )  # fmt: skip
    if not len(stream):
        raise StageError("set 'train': there is no document to train on; add some")
    if settings.max_steps is not None:
        stream = stream[: settings.max_steps * settings.batch_blocks]
    steps = math.ceil(len(stream) / settings.batch_blocks)
    model = new_model(settings, tokenizer)
    optimizers = make_optimizers(model, settings)
    identity = _identity(settings, stream)
    done = load_checkpoint(scratch, identity, model, optimizers)
    losses, seconds = list(done.losses), done.seconds
    model.train()
    for step in range(len(losses), steps):
        begun = time.perf_counter()
        share = rate_share(step, steps, settings)
        for group in (g for o in optimizers for g in o.param_groups):
            group["lr"] = group["peak"] * share
        at = step * settings.batch_blocks
        batch = torch.from_numpy(stream[at : at + settings.batch_blocks]).long()
        losses.append(_step(model, optimizers, batch, settings, step))
        seconds += time.perf_counter() - begun
        progress(step + 1, steps, losses[-1])
        if (step + 1) % settings.checkpoint_every == 0:
            save_checkpoint(scratch, identity, model, optimizers, losses, seconds)
    save_checkpoint(scratch, identity, model, optimizers, losses, seconds)
    return Trained(model.eval(), stream, tuple(losses), seconds)


def new_model(
    settings: TrainSettings, tokenizer: "PreTrainedTokenizerBase"
) -> "LlamaForCausalLM":
    """Return a Llama with random float32 weights; equal seeds give equal weights.

    It is also the untrained twin of the model that `train_model` gives.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = settings.architecture
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=shape.context_length,
        tie_word_embeddings=shape.tie_embeddings,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return LlamaForCausalLM(config)


def rate_share(step: int, steps: int, settings: TrainSettings) -> float:
    """Share of the peak rate at a step: up linearly, then down to zero by the schedule."""
    warmup = math.ceil(settings.warmup * steps)
    if step < warmup:
        return (step + 1) / warmup
    gone = (step - warmup) / max(1, steps - warmup)
    if settings.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * gone))
    if settings.schedule == "linear":
        return 1 - gone
    return min(1.0, (1 - gone) / 0.2)


def _step(
    model: "LlamaForCausalLM",
    optimizers: "Sequence[torch.optim.Optimizer]",
    batch: "torch.Tensor",
    settings: TrainSettings,
    step: int,
) -> float:
    """Take one step; the loss is the mean over the tokens that are there."""
    import torch

    half = settings.dtype == "bfloat16"
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        # Padding stands at the end, where causal attention hides it from every token.
        logits: Any = model(input_ids=batch.clamp(min=0), use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(
        logits[:, :-1].float().flatten(0, 1), batch[:, 1:].flatten(), ignore_index=PADDING
    )
    value = float(loss.item())
    if not math.isfinite(value):
        raise StageError(
            f"training: the loss is {value} at step {step + 1}; "
            f"lower peak_rate (now {settings.peak_rate}) or lengthen warmup"
        )
    model.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
    for optimizer in optimizers:
        optimizer.step()
    return value


def _identity(settings: TrainSettings, stream: Blocks) -> str:
    """What a checkpoint must belong to; how often it was taken is no part of it."""
    stem = settings.model_copy(update={"checkpoint_every": 1}).identity
    return hashlib.sha256(stem.encode() + stream.tobytes()).hexdigest()
