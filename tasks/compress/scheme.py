"""How finely are weights, and what runs through a model, rounded, and can this model be so?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from audits.errors import SpecError
from tasks.compress.library import library
from tasks.compress.quantize import KvCache

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

PACKED = "no run-time gain on this backend: transformers unpacks the weights and keeps floats"
ROUNDED = (
    "no run-time gain on this backend: transformers unpacks the weights, rounds what enters a "
    "layer, and multiplies floats"
)
KEPT = "no memory saved on this backend: keys and values are rounded and kept as floats"


@dataclass(frozen=True, slots=True)
class Scheme:
    """How finely weights of linear layers are stored, and what is rounded as the model runs.

    `group_size` null is one scale per output. `inputs` rounds what enters each layer to so
    many bits, token by token.
    """

    bits: int
    group_size: int | None
    symmetric: bool = True
    inputs: int | None = None
    kv_cache: KvCache | None = None

    @property
    def gain(self) -> str:
        """What a reloaded model does not gain, to stand in the artifact."""
        return PACKED if self.inputs is None else ROUNDED


def require_quantizable(
    model: "PreTrainedModel", scheme: Scheme
) -> "dict[str, torch.nn.Linear]":
    """The layers to quantize, by name, before anything is computed.

    Raises:
        SpecError: There is none, groups do not divide a width, experts of a mixture are no
            linear layers, or the library would leave keys and values as they are.
    """
    from tasks.compress.folder import linear_layers

    layers = linear_layers(model)
    _check_groups(layers, scheme.group_size)
    _check_experts(model)
    if scheme.kv_cache is not None:
        _check_attention(model)
    return layers


def recipe(model: "PreTrainedModel", scheme: Scheme) -> dict[str, Any]:
    """The scheme as llmcompressor's modifiers are told it."""
    head = model.get_output_embeddings()
    ignore = [name for name, module in model.named_modules() if module is head]
    group: dict[str, Any] = {"targets": ["Linear"], "weights": weight_arguments(scheme)}
    if scheme.inputs is not None:
        group["input_activations"] = {
            "num_bits": scheme.inputs, "type": "int", "symmetric": True,
            "strategy": "token", "dynamic": True,
        }  # fmt: skip
    found: dict[str, Any] = {"config_groups": {"group_0": group}, "ignore": ignore}
    if scheme.kv_cache is not None:
        found["kv_cache_scheme"] = _KV_CACHE[scheme.kv_cache] | {"symmetric": True}
    return found


def weight_arguments(scheme: Scheme) -> dict[str, Any]:
    """What compressed-tensors calls the arguments of quantized weights."""
    strategy = {"strategy": "channel"} if scheme.group_size is None else {
        "strategy": "group", "group_size": scheme.group_size,
    }  # fmt: skip
    return {
        "num_bits": scheme.bits, "type": "int", "symmetric": scheme.symmetric, **strategy
    }  # fmt: skip


_KV_CACHE: Mapping[KvCache, dict[str, Any]] = {
    "fp8": {"num_bits": 8, "type": "float", "strategy": "tensor"},
    "int8": {"num_bits": 8, "type": "int", "strategy": "attn_head"},
    "int4": {"num_bits": 4, "type": "int", "strategy": "attn_head"},
}


def _check_groups(layers: "Mapping[str, torch.nn.Linear]", group_size: int | None) -> None:
    for name, layer in layers.items():
        if group_size is not None and layer.in_features % group_size:
            raise SpecError(
                f"group_size {group_size} does not divide the width {layer.in_features} of "
                f"layer {name}; choose a divisor, or null for one scale per output"
            )


def _check_experts(model: "PreTrainedModel") -> None:
    """Refuse mixtures: the library writes each expert as a layer, and not all reload so."""
    experts = library().modeling.moe.linearize.get_non_linearized_moes(model)
    if found := [name for name, _ in experts]:
        raise SpecError(
            f"{type(model).__name__}: the experts of a mixture ({found[0]}) are no linear "
            "layers that can be quantized; choose another model"
        )


def _check_attention(model: "PreTrainedModel") -> None:
    """Refuse a model in which the library would leave keys and values as they are."""
    from compressed_tensors.quantization.lifecycle.initialize import is_cached_attention_module

    found = sum(is_cached_attention_module(module) for module in model.modules())
    depth = model.config.num_hidden_layers
    if found != depth:
        raise SpecError(
            f"kv_cache: the library finds the attention of {found} of {depth} layers of "
            f"{type(model).__name__}; leave kv_cache out"
        )
    if getattr(model.config, "num_key_value_heads", None) is None:
        raise SpecError(
            f"kv_cache: the config of {type(model).__name__} does not say how many heads of "
            "keys and values there are; leave kv_cache out"
        )
