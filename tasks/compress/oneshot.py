"""The seam to llmcompressor: a model goes in, a folder of packed weights comes out."""

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from audits.errors import StageError
from tasks.compress import balance
from tasks.compress.calibration import LENGTH, batches
from tasks.compress.folder import Applied, Source, linear_layers
from tasks.compress.layer_errors import layer_errors
from tasks.compress.library import library
from tasks.compress.scheme import KEPT, Scheme, recipe, require_quantizable
from tasks.compress.walk import HELD
from tasks.models.quiet import patient_bars, quiet

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Quantizer = Callable[[Mapping[str, Any]], Any]
"""From what to quantize, and how finely, to llmcompressor's own object."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """Scales that the library finds and moves between layers before it rounds."""

    kind: balance.Kind
    modifier: Any


def rounding() -> Quantizer:
    """Round to nearest."""
    modifiers = library().modifiers.quantization
    return lambda scheme: modifiers.QuantizationModifier(**scheme)


def correcting(*, act_order: bool, dampening: float) -> Quantizer:
    """GPTQ."""
    modifiers = library().modifiers.quantization
    return lambda scheme: modifiers.GPTQModifier(
        **scheme, actorder="static" if act_order else None, dampening_frac=dampening
    )


def activation_aware(*, grid: int) -> Scaling:
    """AWQ's scales: the best of `grid` powers of the mean input, by what the block gives."""
    modifiers = library().modifiers.transform.awq
    return Scaling("awq", modifiers.AWQModifier(n_grid=grid))


def smoothing(*, strength: float) -> Scaling:
    """SmoothQuant's scales."""
    modifiers = library().modifiers.transform.smoothquant
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
    layers = require_quantizable(model, scheme)
    counts = {name: layer.weight.numel() for name, layer in layers.items()}
    zeros = {name: layer.weight.detach() == 0 for name, layer in layers.items()}
    said: dict[str, object] = {"run_time": scheme.gain}
    if scheme.kv_cache is not None:
        said["kv_cache"] = KEPT
    wanted = quantizer(recipe(model, scheme))
    if scaling is None:
        _oneshot(model, source, [wanted], seen)
    else:
        said |= _scaled(model, source, scaling, wanted, seen)
    said |= _zeros_lost(model, zeros)
    errors = {} if given else _errors(model, source, scaled=scaling is not None)
    source.save(model)
    with contextlib.redirect_stdout(io.StringIO()):
        library().core.reset_session()
    fallen = getattr(wanted, "_rtn_fallback_module_names", [])
    return Applied(counts, {**said, "rounded_instead": ", ".join(fallen)}, errors)


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


def _zeros_lost(
    model: "PreTrainedModel", zeros: "Mapping[str, torch.Tensor]"
) -> dict[str, object]:
    """How many zeros of a pruned model are none any more; nothing of one without any.

    What corrects errors moves weights that were pruned as it moves any others.
    """
    there = sum(int(mask.sum()) for mask in zeros.values())
    if not there:
        return {}
    layers = linear_layers(model)
    lost = sum(int((_packed(layers[name])[mask] != 0).sum()) for name, mask in zeros.items())
    return {"zeros_before": there, "zeros_lost": lost}


def _packed(layer: "torch.nn.Linear") -> "torch.Tensor":
    """The weight that will be read from the file."""
    from compressed_tensors.quantization import forward_quantize

    scheme: Any = layer.quantization_scheme
    found: torch.Tensor = forward_quantize(layer, layer.weight, "weight", scheme.weights)
    return found


def _errors(model: "PreTrainedModel", source: Source, *, scaled: bool) -> dict[str, float]:
    """Each layer's error beside the original, or, once scaled, beside its scaled self.

    GPTQ has written its levels into the weights by now. A scaled layer on scaled inputs gives
    what the original one gave.
    """
    packed = linear_layers(model)

    def new(name: str) -> "torch.Tensor":
        return _packed(packed[name])

    seen = batches(source, samples=HELD, length=LENGTH) if source.texts else ()
    original = model if scaled else source.load()
    with _unrounded(model):
        return layer_errors(original, linear_layers(original), new, seen)


def _oneshot(
    model: "PreTrainedModel",
    source: Source,
    modifiers: Sequence[Any],
    seen: "Sequence[Mapping[str, torch.Tensor]]",
) -> None:
    from torch.utils.data import DataLoader

    with contextlib.redirect_stdout(io.StringIO()), quiet(), patient_bars(), _unpinned():
        library().oneshot(
            model=model,
            tokenizer=source.tokenizer(),
            recipe=list(modifiers),
            dataset=DataLoader(seen, batch_size=None) if seen else None,
            num_calibration_samples=len(seen),
            log_dir=None,
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
