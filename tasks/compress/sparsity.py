"""Which weights go: the lowest scores of a row, of a matrix, or of every four or eight."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from tasks.compress.folder import Applied, Source
    from tasks.compress.method import LayerMethod
    from tasks.compress.walk import Batch


def _quoted(given: object) -> object:
    if isinstance(given, int):
        raise ValueError(
            f'YAML reads 2:4 without quotes as the number {given}; write "2:4" or "4:8"'
        )
    return given


Sparsity = Annotated[float, Field(gt=0, lt=1)]
"""Share of the weights that become zero."""
Pattern = Annotated[Literal["unstructured", "2:4", "4:8"], BeforeValidator(_quoted)]
"""Where zeros may lie: anywhere, or exactly two of every four (four of every eight) inputs."""
GAIN = "no run-time gain on this backend: zeros are stored and multiplied"


def require_half(sparsity: float, pattern: str) -> None:
    """Refuse a share that contradicts the pattern (arXiv:2301.00774, section 3.3).

    Raises:
        ValueError: 2:4 and 4:8 are a half, and another share is asked for.
    """
    if pattern != "unstructured" and sparsity != 0.5:
        raise ValueError(
            f"pattern {pattern} zeroes one half; write sparsity: 0.5, not {sparsity}"
        )


def groups(pattern: str) -> tuple[int, int]:
    """Zeros in each group, and weights in it."""
    zeros, of = pattern.split(":")
    return int(zeros), int(of)


def lowest(scores: "torch.Tensor", n: int) -> "torch.Tensor":
    """True at the `n` lowest scores along the last dimension, ties to the lower index."""
    import torch

    order = scores.argsort(dim=-1, stable=True)[..., :n]
    return torch.zeros_like(scores, dtype=torch.bool).scatter(-1, order, value=True)


def lowest_in_groups(scores: "torch.Tensor", pattern: str) -> "torch.Tensor":
    """True at the lowest of every group of a row of `scores`, of shape (out, in).

    The remainder of a width that groups do not divide is in no group: False.
    """
    import torch

    zeros, of = groups(pattern)
    rows, width = scores.shape
    whole = width - width % of
    mask = torch.zeros_like(scores, dtype=torch.bool)
    grouped = scores[:, :whole].reshape(rows, -1, of)
    mask[:, :whole] = lowest(grouped, zeros).reshape(rows, whole)
    return mask


def prunable(model: "PreTrainedModel") -> "PreTrainedModel":
    """The model itself, unless it has no linear layers or no blocks to walk, by its outline.

    Raises:
        SpecError: It has none.
    """
    from tasks.compress.blocks import linears_of
    from tasks.compress.walk import require_steps

    linears_of(model)
    require_steps(model)
    return model


def prune(
    source: "Source",
    model: "PreTrainedModel",
    methods: "Mapping[str, LayerMethod[Any]]",
    pattern: str,
    seen: "Sequence[Batch]",
) -> "Applied":
    """Walk `model` with one method a layer, save it dense, and say what that saves: nothing.

    Remarks: the share of zeros, what remains dense because groups of the pattern do not
    divide a width, and matrices in the blocks that are not linear layers.
    """
    from tasks.compress.blocks import left_dense, linears_of, weight_of
    from tasks.compress.folder import Applied
    from tasks.compress.walk import rewrite

    errors = rewrite(model, methods, seen)
    source.save(model)
    weights = {name: weight_of(layer) for name, layer in linears_of(model).items()}
    counts = {name: w.numel() for name, w in weights.items()}
    zeros = sum(int((w == 0).sum()) for w in weights.values())
    return Applied(
        counts,
        {
            "share_of_zeros": zeros / sum(counts.values()),
            "run_time": GAIN,
            "remainder": remainder(model, pattern),
            "left_dense": ", ".join(left_dense(model)),
        },
        errors,
    )


def remainder(model: "PreTrainedModel", pattern: str, shown: int | None = None) -> str:
    """Which columns stay dense because groups divide no width, of `shown` layers or of all."""
    from tasks.compress.blocks import linears_of, weight_of

    if pattern == "unstructured":
        return ""
    _, of = groups(pattern)
    widths = {name: weight_of(layer).shape[1] for name, layer in linears_of(model).items()}
    odd = [f"{width % of} of {name}" for name, width in widths.items() if width % of]
    if not odd:
        return ""
    rest = len(odd[shown:]) if shown is not None else 0
    columns = ", ".join(odd[:shown]) + (f" and those of {rest} more" if rest else "")
    return f"the last columns are in no group of {of} and stay dense: {columns}"
