"""Prune the weights that are nearest to zero (Han et al., arXiv:1506.02626)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import model_validator

from audits.settings import Settings
from tasks.compress.sparsity import Pattern, Sparsity, lowest_in_groups, prune, require_half

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from tasks.compress.folder import Applied, Source


class Magnitude(Settings):
    """Zero the `sparsity` share of the linear layers' weights with the smallest magnitude.

    What is written is dense: neither the file nor a run gets smaller or faster by it.
    Calibration text, where there is some, only serves to measure each layer's error; where
    a model's blocks cannot be run one by one, no error is measured.
    """

    version: ClassVar[int] = 2

    kind: Literal["magnitude"] = "magnitude"
    sparsity: Sparsity
    scope: Literal["layer", "global"] = "layer"
    """Compare weights within each layer, or across all of them."""
    pattern: Pattern = "unstructured"
    """With "2:4" or "4:8" each row's inputs are compared four or eight at a time."""

    @model_validator(mode="after")
    def _fits(self) -> "Magnitude":
        require_half(self.sparsity, self.pattern)
        if self.pattern != "unstructured" and self.scope == "global":
            raise ValueError(f"scope global has no pattern {self.pattern}; write scope: layer")
        return self

    def apply(self, source: "Source") -> "Applied":
        """Prune every linear layer but the head and save dense safetensors."""
        from tasks.compress.blocks import linears_of, weight_of
        from tasks.compress.calibration import measurable

        model = source.load()
        weights = {name: weight_of(layer) for name, layer in linears_of(model).items()}
        new = (
            [self.rewrite(w) for w in weights.values()]
            if self.scope == "layer"
            else self._rewrite_together(list(weights.values()))
        )
        methods = {name: _Decided(w) for name, w in zip(weights, new, strict=True)}
        return prune(source, model, methods, self.pattern, measurable(source, model))

    def outline(self, source: "Source", model: "PreTrainedModel") -> "PreTrainedModel":
        """The same shapes, if there are linear layers.

        Raises:
            SpecError: As `apply`.
        """
        from tasks.compress.blocks import linears_of

        linears_of(model)
        return model

    def rewrite(self, weight: "torch.Tensor") -> "torch.Tensor":
        """Zero floor(sparsity * n) of n weights, ties to the lower index; a new tensor."""
        if self.pattern != "unstructured":
            return weight.masked_fill(lowest_in_groups(weight.abs(), self.pattern), 0.0)
        flat = weight.flatten()
        losers = flat.abs().argsort(stable=True)[: int(flat.numel() * self.sparsity)]
        return flat.index_fill(0, losers, 0.0).view_as(weight)

    def _rewrite_together(self, weights: "list[torch.Tensor]") -> "list[torch.Tensor]":
        import torch

        joined = self.rewrite(torch.cat([w.flatten() for w in weights]))
        parts = joined.split([w.numel() for w in weights])
        return [part.view(w.shape) for part, w in zip(parts, weights, strict=True)]


@dataclass(frozen=True, slots=True)
class _Decided:
    """A layer method whose answer does not wait for inputs."""

    new: "torch.Tensor"

    def start(self, weight: "torch.Tensor") -> None:
        return None

    def observe(self, stats: None, inputs: "torch.Tensor") -> None:
        return None

    def rewrite(self, weight: "torch.Tensor", stats: None) -> "torch.Tensor":
        return self.new
