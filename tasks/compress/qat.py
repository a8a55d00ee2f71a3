"""Train a model on the weights that it will be left with after rounding."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from tasks.compress.quantize import Grid
from tasks.compress.training import Trained, next_token_loss, padded

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from tasks.compress.folder import Applied, Source
    from tasks.compress.scheme import Scheme
    from tasks.compress.walk import Batch


class Qat(Grid, Trained):
    """Minimize the next-token loss of the rounded model, then round it as `rtn` does.

    Every step reads the weights of linear layers as `rtn` would write them, scales taken anew
    from the least and largest weight of each group (as LLM-QAT does, arXiv:2305.17888), and
    hands their gradients to the unrounded weights as if rounding were not there (the
    straight-through estimator of arXiv:1308.3432). Embedding, head and norms train too and
    stay as they are. How it trains is said of `Trained`; the same steps without rounding are
    `finetune`, then `rtn`.
    """

    version: ClassVar[int] = 1
    instead: ClassVar[str] = "rtn"

    kind: Literal["qat"] = "qat"

    def apply(self, source: "Source") -> "Applied":
        """Write packed weights that transformers loads through compressed-tensors.

        Raises:
            SpecError: A group does not divide a layer's width, or there is too little text.
            StageError: The loss is no number any more.
        """
        from tasks.compress.folder import Applied
        from tasks.compress.oneshot import quantize, rounding
        from tasks.compress.scheme import require_quantizable

        seen, scheme = self.documents(source), self.scheme()
        model = source.load()
        layers = require_quantizable(model, scheme)
        losses = self.train(
            model, seen, lambda batch: {"loss": rounded_loss(model, layers, scheme, batch)}
        )
        done = quantize(rounding(), source, scheme, model=model)
        said = {"loss_first": losses[0]["loss"], "loss_last": losses[-1]["loss"]}
        return Applied(done.layers, {**done.remarks, **said})


def rounded_loss(
    model: "PreTrainedModel",
    layers: "Mapping[str, torch.nn.Linear]",
    scheme: "Scheme",
    batch: "Sequence[Batch]",
) -> "torch.Tensor":
    """Mean next-token loss in nats with rounded weights; gradients are those of the weights."""
    import torch

    rows = padded(batch)
    weights = {
        f"{name}.weight": layer.weight + (rounded(layer.weight, scheme) - layer.weight).detach()
        for name, layer in layers.items()
    }
    given = {"input_ids": rows.ids, "attention_mask": rows.mask, "use_cache": False}
    out = torch.func.functional_call(model, weights, (), given)
    return next_token_loss(out.logits, rows)


def rounded(weight: "torch.Tensor", scheme: "Scheme") -> "torch.Tensor":
    """The weight (out, in) that will be read from the file if this one is packed."""
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.lifecycle.forward import fake_quantize
    from compressed_tensors.quantization.utils import calculate_qparams

    from tasks.compress.scheme import weight_arguments

    args = QuantizationArgs(**weight_arguments(scheme))
    whole = weight.detach()
    groups = whole.unflatten(1, (-1, scheme.group_size or whole.shape[1]))
    scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), args)
    found: torch.Tensor = fake_quantize(whole, scale, zero, args)
    return found
