"""Train a compressed model a little further on text, and let what was pruned stay pruned."""

from typing import TYPE_CHECKING, ClassVar, Literal

from tasks.compress.training import Trained, loss_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tasks.compress.folder import Applied, Source


class FineTune(Trained):
    """Minimize the next-token loss over the calibration text.

    How, and what `keep_zeros` keeps, is said of `Trained`.
    """

    version: ClassVar[int] = 1

    kind: Literal["finetune"] = "finetune"

    def apply(self, source: "Source") -> "Applied":
        """Write the trained model.

        Raises:
            SpecError: There is too little text.
            StageError: The loss is no number any more.
        """
        seen = self.documents(source)
        model = source.load()
        return self.fit(source, model, seen, lambda batch: {"loss": loss_of(model, batch)})

    def outline(self, source: "Source", model: "PreTrainedModel") -> "PreTrainedModel":
        """The same shapes, if there are linear layers, whose zeros are counted.

        Raises:
            SpecError: There is none.
        """
        from tasks.compress.blocks import linears_of

        linears_of(model)
        return model
