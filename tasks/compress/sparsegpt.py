"""Prune and let later weights make up for it (Frantar & Alistarh, arXiv:2301.00774)."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from audits.errors import StageError
from tasks.compress.calibration import Calibrated
from tasks.compress.gram import Gram
from tasks.compress.sparsity import (
    Pattern,
    Sparsity,
    groups,
    lowest,
    prune,
    require_half,
)

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from tasks.compress.folder import Applied, Source

BLOCK = 128
"""Columns whose mask is chosen together; both block sizes of the paper's section 3.4."""


class SparseGpt(Calibrated):
    """Zero weights by optimal brain surgery, column by column.

    With H = 2 X X^T + lambda I and the upper Cholesky factor U of its inverse, a weight's
    score is w^2 / [H^-1]_cc (equation 3), where c counts among columns not yet done, so that
    [H^-1]_cc = U_cc^2; the rest of its row moves by -(w / U_cc) U_c,: (algorithm 1).
    The mask is chosen anew for every 128 columns (over all rows), or for every group of the
    pattern (within a row). An input that is never other than zero loses its weights too.
    What is written is dense: neither the file nor a run gets smaller or faster by it.

    Differs from the reference code, which prunes one weight more a block than asked
    (`tmp <= thresh`), and more where scores tie: here ties go to the lower index.
    """

    version: ClassVar[int] = 1

    kind: Literal["sparsegpt"] = "sparsegpt"
    sparsity: Sparsity
    pattern: Pattern = "unstructured"
    dampening: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Share of the mean diagonal that is added to the Hessian."""

    @model_validator(mode="after")
    def _fits(self) -> "SparseGpt":
        require_half(self.sparsity, self.pattern)
        return self

    def apply(self, source: "Source") -> "Applied":
        """Prune every linear layer but the head and save dense safetensors.

        Raises:
            SpecError: There is too little calibration text, or the blocks cannot be walked.
            StageError: A layer's Hessian could not be inverted.
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

    def start(self, weight: "torch.Tensor") -> Gram:
        """No inputs yet."""
        return Gram.empty(weight)

    def observe(self, stats: Gram, inputs: "torch.Tensor") -> Gram:
        """Add this batch to X X^T; order and batching do not matter."""
        return stats.add(inputs)

    def rewrite(self, weight: "torch.Tensor", stats: Gram) -> "torch.Tensor":
        """Prune and update; a new tensor.

        Raises:
            StageError: The Hessian is not positive definite in this precision.
        """
        new = weight.clone()
        hessian = stats.total * (2 / stats.n)
        dead = hessian.diagonal() == 0
        hessian.diagonal()[dead] = 1
        new[:, dead] = 0
        hessian.diagonal().add_(self.dampening * hessian.diagonal().mean())
        upper = self._upper(hessian)
        for begin in range(0, new.shape[1], BLOCK):
            end = min(begin + BLOCK, new.shape[1])
            errors = self._block(new[:, begin:end], upper[begin:end, begin:end])
            new[:, end:] -= errors @ upper[begin:end, end:]
        return new

    def _upper(self, hessian: "torch.Tensor") -> "torch.Tensor":
        import torch

        try:
            inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
            return torch.linalg.cholesky(inverse, upper=True)
        except torch.linalg.LinAlgError as error:
            raise StageError(
                "method sparsegpt: the Hessian could not be inverted; give more calibration "
                f"text or raise dampening (now {self.dampening})"
            ) from error

    def _block(self, part: "torch.Tensor", upper: "torch.Tensor") -> "torch.Tensor":
        """Prune some columns in place; returns w / U_cc of what went, of the same shape."""
        import torch

        scale = upper.diagonal()
        mask = self._mask(part, scale)
        errors = torch.zeros_like(part)
        for at in range(part.shape[1]):
            self._regroup(mask, part, scale, at)
            errors[:, at] = torch.where(mask[:, at], part[:, at], 0.0) / scale[at]
            part[:, at:].addr_(errors[:, at], upper[at, at:], alpha=-1)
            part[:, at].masked_fill_(mask[:, at], 0.0)
        return errors

    def _mask(self, part: "torch.Tensor", scale: "torch.Tensor") -> "torch.Tensor":
        import torch

        if self.pattern != "unstructured":
            return torch.zeros_like(part, dtype=torch.bool)
        scores = (part / scale).square().flatten()
        return lowest(scores, int(scores.numel() * self.sparsity)).view_as(part)

    def _regroup(
        self, mask: "torch.Tensor", part: "torch.Tensor", scale: "torch.Tensor", at: int
    ) -> None:
        """Where a group of the pattern begins, choose what goes by the weights as they are."""
        if self.pattern == "unstructured":
            return
        zeros, of = groups(self.pattern)
        if at % of == 0 and at + of <= part.shape[1]:
            now = slice(at, at + of)
            mask[:, now] = lowest((part[:, now] / scale[now]).square(), zeros)
