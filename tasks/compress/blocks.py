"""The blocks of a decoder and their linear layers, whatever the family calls them."""

from typing import TYPE_CHECKING

from audits.errors import SpecError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def blocks_of(model: "PreTrainedModel") -> "dict[str, torch.nn.Module]":
    """The decoder's blocks by name, in the order in which they run.

    They are the one list of modules that is as long as the config says the model is deep.

    Raises:
        SpecError: There is no such list.
    """
    import torch

    depth = getattr(model.config, "num_hidden_layers", None)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == depth:
            return {f"{name}.{at}": block for at, block in enumerate(module)}
    raise SpecError(
        f"model type {model.config.model_type!r} has no list of {depth} blocks that could be "
        "walked one by one; choose another model"
    )


def linears_of(model: "PreTrainedModel") -> "dict[str, torch.nn.Module]":
    """Every linear layer in a block by name; embedding and head are in none.

    GPT-2's `Conv1D` is one whose weight lies transposed; see `weight_of`.

    Raises:
        SpecError: The blocks have no linear layers.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    found = {
        f"{name}.{inner}": module
        for name, block in blocks_of(model).items()
        for inner, module in block.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D)
    }
    if not found:
        raise SpecError(
            f"model type {model.config.model_type!r} has no linear layers in its blocks; "
            "choose another model"
        )
    return found


def weight_of(layer: "torch.nn.Module") -> "torch.Tensor":
    """A layer's weight as a view of shape (out, in): writing to it changes the layer."""
    import torch
    from transformers.pytorch_utils import Conv1D

    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    return weight.detach().T if isinstance(layer, Conv1D) else weight.detach()


def left_dense(model: "PreTrainedModel") -> tuple[str, ...]:
    """Matrices in the blocks that are no linear layers, like the experts of a mixture."""
    linear = {id(layer.weight) for layer in linears_of(model).values()}
    return tuple(
        f"{name}.{inner}"
        for name, block in blocks_of(model).items()
        for inner, weight in block.named_parameters()
        if weight.ndim > 1 and id(weight) not in linear
    )
