"""Between which layers of a model may a scale be moved without changing what it says?

AWQ (arXiv:2306.00978) and SmoothQuant (arXiv:2211.10438) divide what leaves one layer by a
scale for each channel and multiply the weights that read it. Which layers those are differs
by family: llmcompressor keeps lists of them and falls back to Llama's for whatever it does
not know. Here a family that it does not know is refused, and one that it knows is tried.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from audits.errors import SpecError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Batch = Mapping[str, "torch.Tensor"]
Kind = Literal["awq", "smoothquant"]
SAME = 1e-4
"""Largest change of a logit, relative to the largest logit, that is rounding in float32."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A layer whose output is divided, and the linear layers that read it and nothing else."""

    divided: "torch.nn.Module"
    multiplied: "tuple[torch.nn.Linear, ...]"


def require_pairs(kind: Kind, model: "PreTrainedModel", batch: Batch) -> int:
    """Move scales through a copy of the model along the library's pairs, and compare.

    Powers of two are moved, so that float32 rounds nothing where the pairs are right.

    Returns:
        The number of pairs.

    Raises:
        SpecError: The library has no pairs for this family, or they change the model.
    """
    import copy

    from llmcompressor.modeling.offset_norm import norm_calibration_context

    copied = copy.deepcopy(model)
    # Gemma's norms multiply by 1 + weight: the library swaps them for plain ones meanwhile
    with norm_calibration_context(copied):
        found = pairs(kind, copied)
        for pair in found:
            _move(pair)
    moved = largest_change(logits(model, batch), logits(copied, batch))
    if moved > SAME:
        raise SpecError(
            f"method {kind}: scales moved as llmcompressor pairs the layers of "
            f"{type(model).__name__} change its logits by {moved:.2g} of the largest; choose "
            "method gptq, which scales nothing"
        )
    return len(found)


def pairs(kind: Kind, model: "PreTrainedModel") -> list[Pair]:
    """The library's pairs that are in this model.

    Raises:
        SpecError: It has none for this family, or none of its own fit.
    """
    from compressed_tensors.utils import match_modules_set

    names = {module: name for name, module in model.named_modules()}
    found = []
    try:
        for divided, multiplied in _patterns(kind, model):
            for [one], *rest in match_modules_set(model, (divided, *multiplied)):
                pair = Pair(one, tuple(layer for some in rest for layer in some))
                if pair.multiplied and (kind == "smoothquant" or _fits(pair, names)):
                    found.append(pair)
    except ValueError as error:  # patterns that match in sets of other sizes
        raise SpecError(_unknown(kind, model)) from error
    if not found:
        raise SpecError(_unknown(kind, model))
    return found


def logits(model: "PreTrainedModel", batch: Batch) -> "torch.Tensor":
    """What the model says of one document."""
    import torch

    with torch.no_grad():
        found: torch.Tensor = model(**batch, use_cache=False).logits
    return found


def largest_change(before: "torch.Tensor", after: "torch.Tensor") -> float:
    """Largest change of a logit as a share of the largest logit (of 1, where all are less)."""
    moved = (after.cpu() - before.cpu()).abs().max()
    return float(moved / before.abs().max().clamp(min=1).cpu())


def _patterns(kind: Kind, model: "PreTrainedModel") -> "Sequence[tuple[str, Sequence[str]]]":
    """By module name, what is divided and what is multiplied, as the library has it."""
    from llmcompressor.modifiers.transform.awq import dynamic_mappings as awq
    from llmcompressor.modifiers.transform.smoothquant import dynamic_mappings as smooth

    registries: Mapping[Kind, Sequence[Mapping[str, Any]]] = {
        "awq": (awq.AWQ_MAPPING_REGISTRY, awq.AWQ_DYNAMIC_MAPPING_REGISTRY),
        "smoothquant": (smooth.MAPPINGS_REGISTRY, smooth.SMOOTHQUANT_DYNAMIC_MAPPING_REGISTRY),
    }
    if not any(type(model).__name__ in known for known in registries[kind]):
        raise SpecError(_unknown(kind, model))
    if kind == "awq":
        listed = awq.get_layer_mappings_from_model(model)
        return [(one.smooth_layer, one.balance_layers) for one in listed]
    return [(last, first) for first, last in smooth.get_layer_mappings_from_model(model)]


def _fits(pair: Pair, names: "Mapping[torch.nn.Module, str]") -> bool:
    """Whether values reach the output unmixed, as AWQ asks: heads that share them mix them."""
    if not names[pair.multiplied[0]].endswith(".o_proj"):
        return True
    times = 3 if names[pair.divided].endswith(".qkv_proj") else 1
    made = getattr(pair.divided, "out_features", 0)
    return bool(made == times * pair.multiplied[0].in_features)


def _move(pair: Pair) -> None:
    import torch

    width = pair.multiplied[0].in_features
    draw = torch.Generator().manual_seed(width)
    scales = torch.exp2(torch.randint(-2, 3, (width,), generator=draw).float())
    with torch.no_grad():
        for layer in pair.multiplied:
            layer.weight.mul_(scales)
        for name in ("weight", "bias"):
            found = getattr(pair.divided, name, None)
            if found is not None:
                found[-width:].div_(scales if found.ndim == 1 else scales[:, None])


def _unknown(kind: Kind, model: "PreTrainedModel") -> str:
    return (
        f"method {kind}: llmcompressor does not know between which layers of "
        f"{type(model).__name__} scales can be moved; choose method gptq or rtn"
    )
