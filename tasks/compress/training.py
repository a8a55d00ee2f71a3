"""The one training loop of compression: a loss is plugged in, and zeros stay zeros."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, PositiveInt

from audits.errors import StageError
from tasks.compress.calibration import Calibrated

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from tasks.compress.folder import Applied, Source
    from tasks.compress.walk import Batch

    Loss = Callable[[Sequence[Batch]], Mapping[str, torch.Tensor]]
    """From some documents to numbers by name; `loss` is minimized, `tokens` are counted."""

BETAS = (0.9, 0.95)
IGNORED = -100
"""The label of what is not to be predicted."""


class Trained(Calibrated):
    """Minimize a loss over documents by AdamW without weight decay.

    The rate falls linearly to nothing. Where `keep_zeros` is set, weights of linear layers
    that are zero at the start stay exactly zero: neither the gradient nor the moments see
    them. The mask is that of the weights themselves, so it is whatever the step before left,
    and a 2:4 model stays one. Embedding and norms train too.
    """

    instead: ClassVar[str] = ""

    steps: PositiveInt
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    batch_size: PositiveInt = 8
    """Documents in a step; each epoch goes through all of them in a new order."""
    keep_zeros: bool = True
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Of the order of documents, and of all else that is drawn."""
    samples: PositiveInt = 1024
    """Documents, the first ones of the set."""

    def fit(
        self,
        source: "Source",
        model: "PreTrainedModel",
        seen: "Sequence[Batch]",
        loss: "Loss",
        more: "Sequence[torch.nn.Parameter]" = (),
    ) -> "Applied":
        """Train, write the trained model, and say of each number what it was first and last.

        Raises:
            StageError: The loss is no number any more.
        """
        from tasks.compress.adapter import merge
        from tasks.compress.blocks import linears_of, weight_of
        from tasks.compress.folder import Applied

        before = share_of_zeros(map(weight_of, linears_of(model).values()))
        losses = self.train(model, seen, loss, more)
        merge(model)
        weights = {name: weight_of(layer) for name, layer in linears_of(model).items()}
        source.save(model)
        counts = [step.pop("tokens") for step in losses if "tokens" in step]
        said = {
            **{f"{name}_first": value for name, value in losses[0].items()},
            **{f"{name}_last": value for name, value in losses[-1].items()},
            **({"tokens": int(sum(counts))} if counts else {}),
            "share_of_zeros_before": before,
            "share_of_zeros": share_of_zeros(weights.values()),
        }
        return Applied({name: weight.numel() for name, weight in weights.items()}, said)

    def train(
        self,
        model: "PreTrainedModel",
        seen: "Sequence[Batch]",
        loss: "Loss",
        more: "Sequence[torch.nn.Parameter]" = (),
    ) -> list[dict[str, float]]:
        """Train in place, in eval mode: dropout would be noise in a comparison.

        `more` are parameters outside the model that are trained along with it.

        Returns:
            The numbers of each step, before the step.

        Raises:
            StageError: A loss is no number any more.
        """
        import torch

        parameters = [p for p in model.parameters() if p.requires_grad] + list(more)
        masks = zeros_of(model) if self.keep_zeros else []
        optimizer = torch.optim.AdamW(
            parameters, lr=self.learning_rate, betas=BETAS, weight_decay=0.0
        )
        decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: 1 - n / self.steps)
        found: list[dict[str, float]] = []
        for batch in batched(seen, self.batch_size, self.steps, self.seed):
            terms = loss(batch)
            if not torch.isfinite(terms["loss"]):
                raise StageError(self._diverged(len(found) + 1, terms["loss"].item()))
            optimizer.zero_grad()
            terms["loss"].backward()
            for weight, zero in masks:
                assert weight.grad is not None
                weight.grad.masked_fill_(zero, 0.0)
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            decay.step()
            found.append({name: term.item() for name, term in terms.items()})
        return found

    def _diverged(self, step: int, loss: float) -> str:
        kind = getattr(self, "kind", "training")
        return (
            f"method {kind}: the loss of step {step} is {loss}; lower learning_rate "
            f"(now {self.learning_rate})"
        )


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
        if not isinstance(weight, torch.nn.Parameter):
            continue  # the sum of an adapter, which has a mask of its own
        zero = weight.detach() == 0
        if zero.any():
            found.append((weight, zero))
    return found


def share_of_zeros(weights: "Iterable[torch.Tensor]") -> float:
    """Zeros among all these weights."""
    counted = [(int((w == 0).sum()), int(w.numel())) for w in weights]
    return sum(zeros for zeros, _ in counted) / sum(n for _, n in counted)


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


@dataclass(frozen=True, slots=True)
class Rows:
    """Documents side by side, padded on the right; each tensor is (documents, tokens).

    `labels` are the tokens again, `IGNORED` where they are not to be predicted.
    """

    ids: "torch.Tensor"
    mask: "torch.Tensor"
    labels: "torch.Tensor"

    @property
    def predicted(self) -> "torch.Tensor":
        """Where, of (documents, tokens - 1) positions, the next token is to be predicted."""
        return self.labels[:, 1:] != IGNORED


def padded(batch: "Sequence[Batch]") -> Rows:
    """Put documents of any lengths side by side.

    A document may come with `labels`; otherwise each of its tokens is to be predicted.
    """
    import torch

    pad = torch.nn.utils.rnn.pad_sequence
    rows = [one["input_ids"][0] for one in batch]
    labels = [one.get("labels", one["input_ids"])[0] for one in batch]
    return Rows(
        pad(rows, batch_first=True, padding_value=0),
        pad([torch.ones_like(row) for row in rows], batch_first=True, padding_value=0),
        pad(labels, batch_first=True, padding_value=IGNORED),
    )


def next_token_loss(logits: "torch.Tensor", rows: Rows) -> "torch.Tensor":
    """Mean next-token loss in nats over the tokens that are to be predicted.

    `logits` are those of every position: (documents, tokens, vocabulary).
    """
    import torch

    loss: torch.Tensor = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(),
        rows.labels[:, 1:].flatten(),
        ignore_index=IGNORED,
    )
    return loss


def loss_of(model: "PreTrainedModel", batch: "Sequence[Batch]") -> "torch.Tensor":
    """Mean next-token loss in nats over the tokens of some documents of any lengths."""
    rows = padded(batch)
    out = model(input_ids=rows.ids, attention_mask=rows.mask, use_cache=False)
    return next_token_loss(out.logits, rows)
