"""The seam to llmcompressor: a model goes in, a folder of packed weights comes out."""

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from audits.errors import SpecError, StageError
from tasks.compress import balance
from tasks.compress.calibration import LENGTH, batches
from tasks.compress.folder import Applied, Source, linear_layers
from tasks.compress.layer_errors import layer_errors
from tasks.compress.walk import HELD
from tasks.models.quiet import patient_bars, quiet

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Quantizer = Callable[[Mapping[str, Any]], Any]
"""From what to quantize, and how finely, to llmcompressor's own object."""
KvCache = Literal["fp8", "int8", "int4"]
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


@dataclass(frozen=True, slots=True)
class Scaling:
    """Scales that the library finds and moves between layers before it rounds."""

    kind: balance.Kind
    modifier: Any


def rounding() -> Quantizer:
    """Round to nearest."""
    modifiers = _library().modifiers.quantization
    return lambda scheme: modifiers.QuantizationModifier(**scheme)


def correcting(*, act_order: bool, dampening: float) -> Quantizer:
    """GPTQ."""
    modifiers = _library().modifiers.quantization
    return lambda scheme: modifiers.GPTQModifier(
        **scheme, actorder="static" if act_order else None, dampening_frac=dampening
    )


def activation_aware(*, grid: int) -> Scaling:
    """AWQ's scales: the best of `grid` powers of the mean input, by what the block gives."""
    modifiers = _library().modifiers.transform.awq
    return Scaling("awq", modifiers.AWQModifier(n_grid=grid))


def smoothing(*, strength: float) -> Scaling:
    """SmoothQuant's scales."""
    modifiers = _library().modifiers.transform.smoothquant
    return Scaling("smoothquant", modifiers.SmoothQuantModifier(smoothing_strength=strength))


def quantize(
    quantizer: Quantizer,
    source: Source,
    scheme: Scheme,
    *,
    seen: "Sequence[Mapping[str, torch.Tensor]]" = (),
    scaling: Scaling | None = None,
    model: "PreTrainedModel | None" = None,
) -> Applied:
    """Quantize all linear layers but the head and save them packed.

    `model` is used up; where there is none, it is the source's, and each layer's error is
    measured on identical inputs, those of the first documents.

    Raises:
        SpecError: A group does not divide a layer's width, or the library cannot do this to
            a model of this family.
        StageError: The scales that the library moved changed the model.
    """
    given, model = model, model or source.load()
    layers = linear_layers(model)
    check_groups(layers, scheme.group_size)
    if scheme.kv_cache is not None:
        _check_attention(model)
    counts = {name: layer.weight.numel() for name, layer in layers.items()}
    said: dict[str, object] = {"run_time": PACKED if scheme.inputs is None else ROUNDED}
    if scheme.kv_cache is not None:
        said["kv_cache"] = KEPT
    wanted = quantizer(_recipe(model, scheme))
    if scaling is None:
        _oneshot(model, source, [wanted], seen)
    else:
        said |= _scaled(model, source, scaling, wanted, seen)
    errors = {} if given else _errors(model, source, scaled=scaling is not None)
    with quiet(), patient_bars(), contextlib.redirect_stdout(io.StringIO()):
        model.save_pretrained(str(source.out))
    fallen = getattr(wanted, "_rtn_fallback_module_names", [])
    return Applied(counts, {**said, "rounded_instead": ", ".join(fallen)}, errors)


def check_groups(layers: "Mapping[str, torch.nn.Linear]", group_size: int | None) -> None:
    """Refuse, before anything is computed, widths that groups do not divide.

    Raises:
        SpecError: A layer has one.
    """
    for name, layer in layers.items():
        if group_size is not None and layer.in_features % group_size:
            raise SpecError(
                f"group_size {group_size} does not divide the width {layer.in_features} of "
                f"layer {name}; choose a divisor, or null for one scale per output"
            )


def weight_arguments(scheme: Scheme) -> dict[str, Any]:
    """What compressed-tensors calls the arguments of quantized weights."""
    strategy = {"strategy": "channel"} if scheme.group_size is None else {
        "strategy": "group", "group_size": scheme.group_size,
    }  # fmt: skip
    return {
        "num_bits": scheme.bits, "type": "int", "symmetric": scheme.symmetric, **strategy
    }  # fmt: skip


def _scaled(
    model: "PreTrainedModel",
    source: Source,
    scaling: Scaling,
    wanted: Any,  # noqa: ANN401 - the library's own object
    seen: "Sequence[Mapping[str, torch.Tensor]]",
) -> dict[str, object]:
    """Scale and quantize, and say how far the scales alone moved the logits."""
    pairs = balance.require_pairs(scaling.kind, model, seen[0])
    before = balance.logits(model, seen[0])
    _oneshot(model, source, [scaling.modifier, wanted], seen)
    with _unrounded(model):
        moved = balance.largest_change(before, balance.logits(model, seen[0]))
    if moved > balance.SAME:
        raise StageError(
            f"method {scaling.kind}: the scales alone changed the logits by {moved:.2g} of the "
            "largest; choose method gptq, which scales nothing"
        )
    return {"scaled_pairs": pairs, "logits_moved_by_scales": moved}


def _errors(model: "PreTrainedModel", source: Source, *, scaled: bool) -> dict[str, float]:
    """Each layer's error beside the original, or, once scaled, beside its scaled self.

    GPTQ has written its levels into the weights by now. A scaled layer on scaled inputs gives
    what the original one gave.
    """
    from compressed_tensors.quantization import forward_quantize

    packed = linear_layers(model)

    def new(name: str) -> "torch.Tensor":
        layer = packed[name]
        scheme = layer.quantization_scheme
        found: torch.Tensor = forward_quantize(layer, layer.weight, "weight", scheme.weights)
        return found

    seen = batches(source, samples=HELD, length=LENGTH) if source.texts else ()
    original = model if scaled else source.load()
    with _unrounded(model):
        return layer_errors(original, linear_layers(original), new, seen)


def _oneshot(
    model: "PreTrainedModel",
    source: Source,
    recipe: Sequence[Any],
    seen: "Sequence[Mapping[str, torch.Tensor]]",
) -> None:
    from torch.utils.data import DataLoader

    library = _library()
    with contextlib.redirect_stdout(io.StringIO()), quiet(), patient_bars(), _unpinned():
        library.oneshot(
            model=model,
            tokenizer=source.tokenizer(),
            recipe=list(recipe),
            dataset=DataLoader(seen, batch_size=None) if seen else None,
            num_calibration_samples=len(seen),
            log_dir=None,
        )
        library.core.reset_session()


def _recipe(model: "PreTrainedModel", scheme: Scheme) -> dict[str, Any]:
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


_KV_CACHE: Mapping[KvCache, dict[str, Any]] = {
    "fp8": {"num_bits": 8, "type": "float", "strategy": "tensor"},
    "int8": {"num_bits": 8, "type": "int", "strategy": "attn_head"},
    "int4": {"num_bits": 4, "type": "int", "strategy": "attn_head"},
}


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


@contextlib.contextmanager
def _unrounded(model: "PreTrainedModel") -> Iterator[None]:
    """While open, a model that will be packed runs on its scaled weights as they are."""
    from compressed_tensors.quantization.lifecycle import (
        disable_quantization,
        enable_quantization,
    )

    model.apply(disable_quantization)
    try:
        yield
    finally:
        model.apply(enable_quantization)


@contextlib.contextmanager
def _unpinned() -> Iterator[None]:
    """Let AWQ run without an accelerator.

    llmcompressor 0.14 pins what it caches for copies to a device, and torch refuses to pin
    where there is none.
    """
    import torch
    from llmcompressor.pipelines.cache import IntermediatesCache

    if torch.accelerator.is_available():
        yield
        return
    pin = IntermediatesCache.pin_memory
    IntermediatesCache.pin_memory = lambda *_, **__: None
    try:
        yield
    finally:
        IntermediatesCache.pin_memory = pin


def _library() -> Any:  # noqa: ANN401 - untyped library
    """Import llmcompressor without its talk: it logs to stdout, which is ours for results."""
    with contextlib.redirect_stdout(io.StringIO()):
        import llmcompressor
        import llmcompressor.core
        import llmcompressor.modifiers.gptq
        import llmcompressor.modifiers.quantization
        import llmcompressor.modifiers.transform.awq
        import llmcompressor.modifiers.transform.smoothquant
        from llmcompressor.logger import LoggerConfig, configure_logger

        configure_logger(LoggerConfig(console_log_level=None))
    return llmcompressor
