"""How much of what a layer gives is lost when its weight becomes another?"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from tasks.compress.walk import inputs_of

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from tasks.compress.walk import Batch


def layer_errors(
    model: "PreTrainedModel",
    layers: "Mapping[str, torch.nn.Linear]",
    new: "Callable[[str], torch.Tensor]",
    seen: "Sequence[Batch]",
) -> dict[str, float]:
    """By layer, `|WX - W'X|^2 / |WX|^2` (Frobenius; 0 is no loss), X what reaches it.

    `new` gives W' of shape (out, in) for a layer's name. A layer that gives only zeros has no
    error, and none has one where no document is given.
    """
    import torch

    whole = dict.fromkeys(layers, 0.0)
    lost = dict.fromkeys(layers, 0.0)

    def see(name: str, inputs: "torch.Tensor") -> None:
        weight = layers[name].weight
        rows = inputs.flatten(0, -2).to(weight.device)
        whole[name] += float((rows @ weight.T).double().square().sum())
        lost[name] += float(
            (rows @ (weight - new(name).to(weight.device)).T).double().square().sum()
        )

    with torch.no_grad(), inputs_of(layers, see):
        for batch in seen:
            model.base_model(**batch, use_cache=False)  # the head costs much and tells nothing
    return {name: lost[name] / whole[name] for name in layers if whole[name]}
