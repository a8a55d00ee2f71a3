"""What a student is trained on: the text, its teachers' word on it, and how they got there."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from audits.errors import SpecError
from tasks.compress import losses
from tasks.compress.generated import continued, prompts_of
from tasks.compress.training import Rows, loss_of, next_token_loss, padded

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from tasks.compress.distill import Distill
    from tasks.compress.walk import Batch

INSIDE = ("hidden", "attention")


@dataclass(frozen=True, slots=True)
class Objective:
    """The loss of a step of distillation; `projections` are parameters of its own."""

    student: "PreTrainedModel"
    teachers: "Sequence[PreTrainedModel]"
    how: "Distill"
    projections: "Sequence[torch.nn.Parameter]" = ()
    draw: random.Random = field(default_factory=random.Random)

    def __call__(self, batch: "Sequence[Batch]") -> "Mapping[str, torch.Tensor]":
        """The parts of the loss by name, each unweighted, `loss` their weighted sum.

        Text that the student writes itself gives `distillation_loss` and what is inside; the
        task loss is then that of the documents, whose beginnings it continued.
        """
        terms: dict[str, torch.Tensor] = {}
        rows = padded(batch)
        own = self.how.text == "student"
        if own:
            if self.how.alpha < 1:
                terms["task_loss"] = loss_of(self.student, batch)
            rows = self._written(batch)
        out = run(self.student, rows, self.how)
        if not own:
            terms["task_loss"] = next_token_loss(out.logits, rows)
        if self.teachers:
            terms |= self._taught(out, rows)
        weights = self.how.shares()
        total = sum(weights[name] * term for name, term in terms.items())
        return {"loss": total, **terms, "tokens": rows.predicted.sum()}

    def _written(self, batch: "Sequence[Batch]") -> Rows:
        """Continuations by the student as it is now, of documents that are long enough."""
        how = self.how.written()
        prompts = prompts_of(batch, how)
        if not len(prompts):
            raise SpecError(
                f"generation: a step's documents are all shorter than {how.prompt_tokens} "
                "tokens; lower prompt_tokens or raise batch_size"
            )
        return continued(self.student, prompts, how, self.draw.getrandbits(32))

    def _taught(self, out: Any, rows: Rows) -> "dict[str, torch.Tensor]":  # noqa: ANN401 - an output of transformers'
        import torch

        with torch.no_grad():
            said = [run(teacher, rows, self.how) for teacher in self.teachers]
        found = {"distillation_loss": self._divergence(out, said, rows)}
        if self.how.hidden:
            found["hidden_loss"] = self._hidden(out.hidden_states, said[0].hidden_states, rows)
        if self.how.attention:
            found["attention_loss"] = _attention(out.attentions, said[0].attentions, rows)
        return found

    def _divergence(self, out: Any, said: Sequence[Any], rows: Rows) -> "torch.Tensor":  # noqa: ANN401
        counted, how = rows.predicted, self.how
        targets = losses.soft_targets(
            [one.logits[:, :-1][counted] for one in said],
            temperature=how.temperature,
            weights=[teacher.weight for teacher in how.teachers],
            mean=how.mean,
        )
        loss = losses.forward_kl if how.objective == "forward_kl" else losses.reverse_kl
        return loss(out.logits[:, :-1][counted], targets, temperature=how.temperature)

    def _hidden(
        self, mine: "Sequence[torch.Tensor]", theirs: "Sequence[torch.Tensor]", rows: Rows
    ) -> "torch.Tensor":
        """Equations 8 and 9 of TinyBERT, summed over layers; W where widths differ."""
        found = []
        for at, other in enumerate(losses.layer_map(len(mine) - 1, len(theirs) - 1)):
            state = mine[at]
            if self.projections:
                state = state @ self.projections[min(at, 1)].T
            found.append(losses.state_loss(state, theirs[other], rows.mask))
        return sum(found[1:], found[0])


def run(model: "PreTrainedModel", rows: Rows, how: "Distill") -> Any:  # noqa: ANN401 - an output of transformers'
    """A forward pass with what the loss looks at inside."""
    return model(
        input_ids=rows.ids,
        attention_mask=rows.mask,
        use_cache=False,
        output_hidden_states=how.hidden > 0,
        output_attentions=how.attention > 0,
    )


def projections(
    student: "PreTrainedModel", teacher: "PreTrainedModel", seed: int
) -> "list[torch.nn.Parameter]":
    """W of the embedding and W of the layers, (teacher, student); none where widths agree.

    They are trained with the student and dropped with the loss.
    """
    import torch

    widths = [m.get_input_embeddings().weight.shape[1] for m in (teacher, student)]
    if widths[0] == widths[1]:
        return []
    made = torch.Generator().manual_seed(seed)
    scale = widths[1] ** -0.5
    return [torch.nn.Parameter(scale * torch.randn(*widths, generator=made)) for _ in range(2)]


def require_comparable(
    student: "PreTrainedModel",
    teachers: "Sequence[PreTrainedModel]",
    how: "Distill",
    rows: Rows,
) -> None:
    """Try some tokens on all models: is what the loss compares there and of one size?

    Raises:
        SpecError: A family gives none of it, or the numbers of tokens or heads differ.
    """
    import torch

    models = [student, *teachers]
    if how.attention:
        for model in models:
            model.set_attn_implementation("eager")  # no other gives its attention
    with torch.no_grad():
        found = [run(model, rows, how) for model in models]
    names = [model.config.model_type for model in models]
    sizes = [out.logits.shape[-1] for out in found]
    if len(set(sizes)) > 1:
        raise SpecError(
            f"method distill: the student gives {sizes[0]} logits and its teachers "
            f"{', '.join(map(str, sizes[1:]))}; name teachers with the student's vocabulary"
        )
    for name, out in zip(names, found, strict=True):
        if how.hidden:
            _require_inside(name, getattr(out, "hidden_states", None), "hidden", 3)
        if how.attention:
            _require_inside(name, getattr(out, "attentions", None), "attention", 4)
    if how.attention:
        _require_heads([out.attentions[0].shape[1] for out in found])


def _require_heads(heads: Sequence[int]) -> None:
    if heads[0] != heads[1]:
        raise SpecError(
            f"attention: the student has {heads[0]} heads and its teacher {heads[1]}, and "
            "they are compared head by head; leave attention out, or keep all heads"
        )


def _require_inside(family: str, found: Any, field_: str, dims: int) -> None:  # noqa: ANN401
    if not found or any(one is None or one.ndim != dims for one in found):
        raise SpecError(
            f"{field_}: model type {family!r} does not hand out what this compares; leave "
            f"{field_} out, or choose another model"
        )


def _attention(
    mine: "Sequence[torch.Tensor]", theirs: "Sequence[torch.Tensor]", rows: Rows
) -> "torch.Tensor":
    """Equation 7 of TinyBERT, summed over layers."""
    pairs = enumerate(losses.layer_map(len(mine), len(theirs))[1:])
    found = [
        losses.attention_loss(mine[at], theirs[other - 1], rows.mask) for at, other in pairs
    ]
    return sum(found[1:], found[0])
