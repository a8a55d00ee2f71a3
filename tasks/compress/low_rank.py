"""Replace weights by ones of low rank, as they are or as their inputs use them."""

import fnmatch
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from audits.errors import SpecError
from audits.settings import Settings
from tasks.compress.calibration import Calibrated
from tasks.compress.gram import Gram

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from transformers import PreTrainedModel

    from tasks.compress.folder import Applied, Source
    from tasks.compress.method import LayerMethod
    from tasks.compress.walk import Batch

Layers = Annotated[str, Field(min_length=1)]
"""Which linear layers, by name, with * and ? as in file names."""
GAIN = (
    "no byte and no time saved: transformers has no module of two factors, so they are "
    "multiplied back into a dense weight"
)


class Svd(Settings):
    """Keep the `rank` largest singular values of each chosen layer's weight.

    The nearest weight of that rank in the Frobenius norm (Eckart & Young 1936). What is
    written is dense: neither the file nor a run gets smaller or faster by it.
    """

    version: ClassVar[int] = 1

    kind: Literal["svd"] = "svd"
    rank: PositiveInt
    layers: Layers = "*"

    def apply(self, source: "Source") -> "Applied":
        """Write the model with the product of the factors in place of each chosen weight.

        Raises:
            SpecError: No layer is chosen, or one has no more than `rank` to begin with.
        """
        from tasks.compress.calibration import measurable

        model = source.load()
        chosen = choose(model, self.layers, self.rank)
        seen = measurable(source, model)
        return _factor(source, model, dict.fromkeys(chosen, self), self.rank, seen)

    def outline(self, source: "Source", model: "PreTrainedModel") -> "PreTrainedModel":
        """The same shapes, if layers are chosen and have more than this rank.

        Raises:
            SpecError: As `apply`.
        """
        choose(model, self.layers, self.rank)
        return model

    def start(self, weight: "torch.Tensor") -> None:
        """Nothing is observed."""

    def observe(self, stats: None, inputs: "torch.Tensor") -> None:
        """Inputs do not matter."""

    def rewrite(self, weight: "torch.Tensor", stats: None) -> "torch.Tensor":
        """The truncated weight, computed in double precision; a new tensor."""
        import torch

        u, s, v = torch.linalg.svd(weight.double(), full_matrices=False)
        k = self.rank
        return ((u[:, :k] * s[:k]) @ v[:k]).to(weight.dtype)


class ActivationSvd(Calibrated):
    """Keep the `rank` directions in which each chosen layer's outputs vary most.

    The weight of that rank with the least |WX - W'X| in the Frobenius norm over the
    calibration tokens: the truncation of W S, S S^T = X X^T (SVD-LLM, arXiv:2403.07378,
    section 3). That is U_k U_k^T W, with U_k the first eigenvectors of W X X^T W^T, which
    needs no inverse of S. What is written is dense: neither the file nor a run gets smaller
    or faster by it.
    """

    version: ClassVar[int] = 1

    kind: Literal["activation_svd"] = "activation_svd"
    rank: PositiveInt
    layers: Layers = "*"

    def apply(self, source: "Source") -> "Applied":
        """Write the model with the product of the factors in place of each chosen weight.

        Raises:
            SpecError: No layer is chosen, one has no more than `rank` to begin with, the
                blocks cannot be walked, or there is too little calibration text.
        """
        seen = self.documents(source)
        model = source.load()
        chosen = choose(model, self.layers, self.rank)
        return _factor(source, model, dict.fromkeys(chosen, self), self.rank, seen)

    def outline(self, source: "Source", model: "PreTrainedModel") -> "PreTrainedModel":
        """The same shapes, if layers are chosen and have more than this rank.

        Raises:
            SpecError: As `apply`, but for the text.
        """
        from tasks.compress.walk import require_steps

        choose(model, self.layers, self.rank)
        require_steps(model)
        return model

    def start(self, weight: "torch.Tensor") -> Gram:
        """No inputs yet."""
        return Gram.empty(weight)

    def observe(self, stats: Gram, inputs: "torch.Tensor") -> Gram:
        """Add this batch to X X^T; order and batching do not matter."""
        return stats.add(inputs)

    def rewrite(self, weight: "torch.Tensor", stats: Gram) -> "torch.Tensor":
        """The projected weight, computed in double precision; a new tensor."""
        import torch

        wide = weight.double()
        outputs = wide @ stats.total.double() @ wide.T
        first = torch.linalg.eigh((outputs + outputs.T) / 2).eigenvectors[:, -self.rank :]
        return (first @ (first.T @ wide)).to(weight.dtype)


def choose(model: "PreTrainedModel", pattern: str, rank: int) -> tuple[str, ...]:
    """The linear layers a pattern names.

    Raises:
        SpecError: It names none, or one that has no more than `rank` to begin with.
    """
    from tasks.compress.blocks import linears_of, weight_of

    layers = linears_of(model)
    found = tuple(name for name in layers if fnmatch.fnmatchcase(name, pattern))
    if not found:
        raise SpecError(
            f"layers: {pattern!r} matches none of the {len(layers)} linear layers, which are "
            f"called like {next(iter(layers))}"
        )
    for name in found:
        full = min(weight_of(layers[name]).shape)
        if rank >= full:
            raise SpecError(
                f"rank {rank}: layer {name} has at most rank {full} to begin with; choose a "
                f"lower one, or fewer layers"
            )
    return found


def _factor(
    source: "Source",
    model: "PreTrainedModel",
    methods: "Mapping[str, LayerMethod[Any]]",
    rank: int,
    seen: "Sequence[Batch]",
) -> "Applied":
    from tasks.compress.blocks import linears_of, weight_of
    from tasks.compress.folder import Applied
    from tasks.compress.walk import rewrite

    errors = rewrite(model, methods, seen)
    source.save(model)
    layers = linears_of(model)
    shapes = {name: weight_of(layers[name]).shape for name in methods}
    factors = sum(rank * (rows + columns) for rows, columns in shapes.values())
    counts = {name: rows * columns for name, (rows, columns) in shapes.items()}
    said = {"run_time": GAIN, "weights_as_factors": factors, "weights": sum(counts.values())}
    return Applied(counts, said, errors)
