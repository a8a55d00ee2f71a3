"""The seam to llmcompressor: a model goes in, a folder of packed weights comes out."""

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from audits.errors import SpecError
from tasks.compress.folder import Applied, Source, linear_layers
from tasks.models.quiet import patient_bars, quiet

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Modifier = Callable[[Mapping[str, Any]], Any]
"""From what to quantize, and how finely, to llmcompressor's own object."""


def rounding() -> Modifier:
    """Round to nearest."""
    modifiers = _library().modifiers.quantization
    return lambda scheme: modifiers.QuantizationModifier(**scheme)


def correcting(*, act_order: bool, dampening: float) -> Modifier:
    """GPTQ."""
    modifiers = _library().modifiers.quantization
    return lambda scheme: modifiers.GPTQModifier(
        **scheme, actorder="static" if act_order else None, dampening_frac=dampening
    )


def quantize(
    modifier: Modifier,
    source: Source,
    *,
    bits: int,
    group_size: int | None,
    seen: "Sequence[Mapping[str, torch.Tensor]] | None" = None,
) -> Applied:
    """Quantize all linear layers but the head and save them packed.

    Raises:
        SpecError: A group does not divide a layer's width.
    """
    library = _library()
    model = source.load()
    layers = linear_layers(model)
    _check_groups(layers, group_size)
    counts = {name: layer.weight.numel() for name, layer in layers.items()}
    wanted = modifier(_scheme(model, bits, group_size))
    from torch.utils.data import DataLoader

    with contextlib.redirect_stdout(io.StringIO()), quiet(), patient_bars():
        library.oneshot(
            model=model,
            tokenizer=source.tokenizer(),
            recipe=wanted,
            dataset=None if seen is None else DataLoader(seen, batch_size=None),
            num_calibration_samples=len(seen or ()),
            output_dir=str(source.out),
            log_dir=None,
        )
        library.core.reset_session()
    fallen = getattr(wanted, "_rtn_fallback_module_names", [])
    return Applied(counts, {"rounded_instead": ", ".join(fallen)})


def _scheme(model: "PreTrainedModel", bits: int, group_size: int | None) -> dict[str, Any]:
    """Symmetric integers for the weights of linear layers; activations stay as they are."""
    head = model.get_output_embeddings()
    ignore = [name for name, module in model.named_modules() if module is head]
    strategy = {"strategy": "channel"} if group_size is None else {
        "strategy": "group", "group_size": group_size,
    }  # fmt: skip
    weights = {"num_bits": bits, "type": "int", "symmetric": True, **strategy}
    return {
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
        "ignore": ignore,
    }


def _check_groups(layers: "Mapping[str, torch.nn.Linear]", group_size: int | None) -> None:
    for name, layer in layers.items():
        if group_size is not None and layer.in_features % group_size:
            raise SpecError(
                f"group_size {group_size} does not divide the width {layer.in_features} of "
                f"layer {name}; choose a divisor, or null for one scale per output"
            )


def _library() -> Any:  # noqa: ANN401 - untyped library
    """Import llmcompressor without its talk: it logs to stdout, which is ours for results."""
    with contextlib.redirect_stdout(io.StringIO()):
        import llmcompressor
        import llmcompressor.core
        import llmcompressor.modifiers.gptq
        import llmcompressor.modifiers.quantization
        from llmcompressor.logger import LoggerConfig, configure_logger

        configure_logger(LoggerConfig(console_log_level=None))
    return llmcompressor
