"""Prune the weights that are nearest to zero (Han et al., arXiv:1506.02626)."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from audits.settings import Settings

if TYPE_CHECKING:
    import torch

    from tasks.compress.folder import Applied, Source


class Magnitude(Settings):
    """Zero the `sparsity` share of the linear layers' weights with the smallest magnitude.

    What is written is dense: neither the file nor a run gets smaller or faster by it.
    """

    version: ClassVar[int] = 1

    kind: Literal["magnitude"] = "magnitude"
    sparsity: Annotated[float, Field(gt=0, lt=1)]
    scope: Literal["layer", "global"] = "layer"
    """Compare weights within each layer, or across all of them."""

    def apply(self, source: "Source") -> "Applied":
        """Prune every linear layer but the head and save dense safetensors."""
        import torch

        from tasks.compress.folder import Applied, linear_layers
        from tasks.models.quiet import quiet

        model = source.load()
        layers = linear_layers(model)
        weights = [layer.weight for layer in layers.values()]
        pruned = (
            [self.rewrite(w.detach()) for w in weights]
            if self.scope == "layer"
            else self._rewrite_together([w.detach() for w in weights])
        )
        with torch.no_grad():
            for weight, new in zip(weights, pruned, strict=True):
                weight.copy_(new)
        with quiet():
            model.save_pretrained(str(source.out))
        zeros = sum(int((w == 0).sum()) for w in pruned)
        return Applied(
            {name: layer.weight.numel() for name, layer in layers.items()},
            {
                "share_of_zeros": zeros / sum(w.numel() for w in pruned),
                "run_time": "no run-time gain on this backend: zeros are stored and multiplied",
            },
        )

    def rewrite(self, weight: "torch.Tensor") -> "torch.Tensor":
        """Zero floor(sparsity * n) of n weights, ties to the lower index; a new tensor."""
        flat = weight.flatten()
        losers = flat.abs().argsort(stable=True)[: int(flat.numel() * self.sparsity)]
        return flat.index_fill(0, losers, 0.0).view_as(weight)

    def _rewrite_together(self, weights: "list[torch.Tensor]") -> "list[torch.Tensor]":
        import torch

        joined = self.rewrite(torch.cat([w.flatten() for w in weights]))
        parts = joined.split([w.numel() for w in weights])
        return [part.view_as(w) for part, w in zip(parts, weights, strict=True)]
