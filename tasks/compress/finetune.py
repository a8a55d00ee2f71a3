"""Train a compressed model a little further, and let what was pruned stay pruned."""

import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt

from audits.errors import StageError
from tasks.compress.calibration import Calibrated

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from tasks.compress.folder import Applied, Source
    from tasks.compress.walk import Batch

BETAS = (0.9, 0.95)


class FineTune(Calibrated):
    """Minimize the next-token loss over the calibration text by AdamW without weight decay.

    The rate falls linearly to nothing. Where `keep_zeros` is set, weights of linear layers
    that are zero at the start stay exactly zero: neither the gradient nor the moments see
    them. The mask is that of the weights themselves, so it is whatever the step before left,
    and a 2:4 model stays one. Embedding and norms train too.
    """

    version: ClassVar[int] = 1

    kind: Literal["finetune"] = "finetune"
    steps: PositiveInt
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    batch_size: PositiveInt = 8
    """Documents in a step; each epoch goes through all of them in a new order."""
    keep_zeros: bool = True
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Of the order of documents."""
    samples: PositiveInt = 1024
    """Documents, the first ones of the set."""

    def apply(self, source: "Source") -> "Applied":
        """Write the trained model.

        Raises:
            SpecError: There is too little text.
            StageError: The loss is no number any more.
        """
        from tasks.compress.blocks import linears_of, weight_of
        from tasks.compress.folder import Applied
        from tasks.models.quiet import quiet

        seen = self.documents(source)
        model = source.load()
        weights = [weight_of(layer) for layer in linears_of(model).values()]
        before = share_of_zeros(weights)
        losses = self.train(model, seen)
        with quiet():
            model.save_pretrained(str(source.out))
        said = {
            "loss_first": losses[0],
            "loss_last": losses[-1],
            "share_of_zeros_before": before,
            "share_of_zeros": share_of_zeros(weights),
        }
        layers = linears_of(model)
        return Applied({name: weight_of(layers[name]).numel() for name in layers}, said)

    def train(self, model: "PreTrainedModel", seen: "Sequence[Batch]") -> list[float]:
        """Train in place, in eval mode: dropout would be noise in a comparison.

        Returns:
            The loss of each step in nats per token, before the step.

        Raises:
            StageError: A loss is no number any more.
        """
        import torch

        parameters = [p for p in model.parameters() if p.requires_grad]
        masks = zeros_of(model) if self.keep_zeros else []
        optimizer = torch.optim.AdamW(
            parameters, lr=self.learning_rate, betas=BETAS, weight_decay=0.0
        )
        decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: 1 - n / self.steps)
        losses: list[float] = []
        for batch in batched(seen, self.batch_size, self.steps, self.seed):
            loss = loss_of(model, batch)
            if not torch.isfinite(loss):
                raise StageError(
                    f"method finetune: the loss of step {len(losses) + 1} is {loss.item()}; "
                    f"lower learning_rate (now {self.learning_rate})"
                )
            optimizer.zero_grad()
            loss.backward()
            for weight, zero in masks:
                assert weight.grad is not None
                weight.grad.masked_fill_(zero, 0.0)
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            decay.step()
            losses.append(loss.item())
        return losses


def zeros_of(
    model: "PreTrainedModel",
) -> "list[tuple[torch.nn.Parameter, torch.Tensor]]":
    """Weights of linear layers in blocks that have zeros, with where those are.

    A weight whose gradient is always zero never moves under Adam without decay.
    """
    import torch

    from tasks.compress.blocks import linears_of

    found = []
    for layer in linears_of(model).values():
        weight = layer.weight
        assert isinstance(weight, torch.nn.Parameter)
        zero = weight.detach() == 0
        if zero.any():
            found.append((weight, zero))
    return found


def share_of_zeros(weights: "Sequence[torch.Tensor]") -> float:
    """Zeros among all these weights."""
    zeros = sum(int((w == 0).sum()) for w in weights)
    return zeros / sum(int(w.numel()) for w in weights)


def batched(
    seen: "Sequence[Batch]", size: int, steps: int, seed: int
) -> "Iterator[Sequence[Batch]]":
    """So many batches; every epoch has each document once, in an order drawn anew."""
    draw = random.Random(seed)
    waiting: list[int] = []
    for _ in range(steps):
        while len(waiting) < size:
            waiting += draw.sample(range(len(seen)), len(seen))
        now, waiting = waiting[:size], waiting[size:]
        yield [seen[at] for at in now]


def loss_of(model: "PreTrainedModel", batch: "Sequence[Batch]") -> "torch.Tensor":
    """Mean next-token loss in nats over the tokens of some documents of any lengths."""
    import torch

    rows = [one["input_ids"][0] for one in batch]
    pad = torch.nn.utils.rnn.pad_sequence
    ids = pad(rows, batch_first=True, padding_value=0)
    mask = pad([torch.ones_like(row) for row in rows], batch_first=True, padding_value=0)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
    labels = ids.masked_fill(mask == 0, -100)[:, 1:]
    loss: torch.Tensor = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), labels.flatten(), ignore_index=-100
    )
    return loss
