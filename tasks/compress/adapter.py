"""Train two small factors beside each weight, and add their product to it at the end."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, PositiveInt

from audits.settings import Settings

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class Adapter(Settings):
    """Low-rank adapters (Hu et al., arXiv:2106.09685) on every linear layer of the blocks.

    While training a weight is W + alpha/rank · B A (their section 4.1) with W, embedding and
    norms as they were. B begins as zero, so that nothing changes at the first step, and A is
    drawn as torch draws a linear layer. What is written is that sum: no adapter remains.
    """

    rank: PositiveInt
    alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 16.0


def adapt(
    model: "PreTrainedModel", adapter: Adapter, *, keep_zeros: bool, seed: int
) -> "list[torch.nn.Parameter]":
    """Give every linear layer factors, in place; nothing else of the model trains any more.

    With `keep_zeros` the product is masked where the weight is zero, so that the sum is, too.
    """
    import torch
    from torch.nn.utils import parametrize

    from tasks.compress.blocks import linears_of

    class Sum(torch.nn.Module):  # type: ignore[misc]  # torch types are not followed
        """W + scale · (B A) ∘ mask; of any weight of two dimensions, lying either way."""

        def __init__(self, weight: torch.Tensor, draw: torch.Generator) -> None:
            super().__init__()
            rows, columns = weight.shape
            within = columns**-0.5
            first = torch.rand(adapter.rank, columns, generator=draw) * 2 * within - within
            self.a = torch.nn.Parameter(first)
            self.b = torch.nn.Parameter(torch.zeros(rows, adapter.rank))
            self.mask = weight.detach() != 0 if keep_zeros else None

        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            product = (adapter.alpha / adapter.rank) * (self.b @ self.a)
            return weight + (product if self.mask is None else product * self.mask)

    draw = torch.Generator().manual_seed(seed)
    model.requires_grad_(False)
    found = []
    for layer in linears_of(model).values():
        weight = layer.weight
        assert isinstance(weight, torch.Tensor)
        added = Sum(weight, draw)
        parametrize.register_parametrization(layer, "weight", added)
        found += [added.a, added.b]
    return found


def merge(model: "PreTrainedModel") -> None:
    """Put each sum in the place of its weight: the model computes what it computed before."""
    from torch.nn.utils import parametrize

    from tasks.compress.blocks import linears_of

    for layer in linears_of(model).values():
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
