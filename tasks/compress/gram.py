"""Second moments of a layer's inputs: all that least squares needs to know of them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Gram:
    """`total` is the sum of x x^T over `n` tokens, of shape (in, in)."""

    total: "torch.Tensor"
    n: int = 0

    @staticmethod
    def empty(weight: "torch.Tensor") -> "Gram":
        """No tokens yet, for a weight of shape (out, in)."""
        return Gram(weight.new_zeros(weight.shape[1], weight.shape[1]))

    def add(self, inputs: "torch.Tensor") -> "Gram":
        """With tokens of shape (tokens, in) added in place; the old value is used up."""
        return Gram(self.total.addmm_(inputs.T, inputs), self.n + len(inputs))
