"""Prune weights that are small where inputs are small (Sun et al., arXiv:2306.11695)."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import model_validator

from tasks.compress.calibration import Calibrated
from tasks.compress.sparsity import (
    Pattern,
    Sparsity,
    lowest,
    lowest_in_groups,
    prune,
    require_half,
)

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from tasks.compress.folder import Applied, Source


class Wanda(Calibrated):
    """Zero, in every row, the `sparsity` share of weights with the lowest |W_ij| * ||X_j||_2.

    Equation 1 of the paper: `X_j` is the j-th input over all calibration tokens. Weights are
    compared per output (its section 3), and survivors stay as they were.
    What is written is dense: neither the file nor a run gets smaller or faster by it.
    """

    version: ClassVar[int] = 1

    kind: Literal["wanda"] = "wanda"
    sparsity: Sparsity
    pattern: Pattern = "unstructured"

    @model_validator(mode="after")
    def _fits(self) -> "Wanda":
        require_half(self.sparsity, self.pattern)
        return self

    def apply(self, source: "Source") -> "Applied":
        """Prune every linear layer but the head and save dense safetensors.

        Raises:
            SpecError: There is too little calibration text, or the blocks cannot be walked.
        """
        from tasks.compress.blocks import linears_of

        seen = self.documents(source)
        model = source.load()
        methods = dict.fromkeys(linears_of(model), self)
        return prune(source, model, methods, self.pattern, seen)

    def outline(self, source: "Source", model: "PreTrainedModel") -> "PreTrainedModel":
        """The same shapes, if there are linear layers and the blocks can be run one by one.

        Raises:
            SpecError: As `apply`, but for the text.
        """
        from tasks.compress.sparsity import prunable

        return prunable(model)

    def start(self, weight: "torch.Tensor") -> "torch.Tensor":
        """No squares yet, one sum for each input."""
        return weight.new_zeros(weight.shape[1])

    def observe(self, stats: "torch.Tensor", inputs: "torch.Tensor") -> "torch.Tensor":
        """Add this batch's squares; order and batching do not matter."""
        return stats + inputs.norm(dim=0).square()

    def rewrite(self, weight: "torch.Tensor", stats: "torch.Tensor") -> "torch.Tensor":
        """Zero floor(sparsity * in) of each row, ties to the lower index; a new tensor."""
        scores = weight.abs() * stats.sqrt()
        mask = (
            lowest(scores, int(weight.shape[1] * self.sparsity))
            if self.pattern == "unstructured"
            else lowest_in_groups(scores, self.pattern)
        )
        return weight.masked_fill(mask, 0.0)
