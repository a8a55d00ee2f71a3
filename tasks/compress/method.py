"""The two contracts of compression: a method of a whole model, and one of a layer."""

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from tasks.compress.folder import Applied, Source

S = TypeVar("S")


class Method(Protocol):
    """Settings with two verbs: what it does to a model, and whether it can be done.

    `version` is raised when the code changes what comes out; it is part of every cache key.
    A method whose model no other can start from says why in `ends`.
    """

    @property
    def kind(self) -> str:
        """Name of the method in run files."""
        ...

    @property
    def version(self) -> int:
        """Version of the method's code."""
        ...

    def apply(self, source: "Source") -> "Applied":
        """Write the compressed model's weights and config into `source.out`.

        The original stays as it is; equal settings, model and calibration text give equal
        files.
        """
        ...

    def outline(self, source: "Source", model: "PreTrainedModel") -> "PreTrainedModel":
        """Return, as shapes, what it makes of `source`, whose shapes are `model`.

        Both are outlines (`tasks.models.outline`): no weight is read. What refuses here is
        what `apply` itself calls before it computes anything; text is not looked at. A method
        that ends a chain returns what it was given.

        Raises:
            SpecError: It cannot be done to a model of these shapes.
        """
        ...


class LayerMethod(Protocol[S]):
    """Settings with three pure steps. Walking the model and its hooks is not its business."""

    def start(self, weight: "torch.Tensor") -> S:
        """Return empty statistics for a weight of shape (out, in)."""
        ...

    def observe(self, stats: S, inputs: "torch.Tensor") -> S:
        """Fold a batch of inputs of shape (tokens, in) into the statistics."""
        ...

    def rewrite(self, weight: "torch.Tensor", stats: S) -> "torch.Tensor":
        """Return the compressed weight; the original is not touched."""
        ...
