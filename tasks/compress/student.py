"""A fresh, smaller student: its parent's family and tokenizer, and nothing learned."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from audits.errors import SpecError
from audits.settings import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tasks.compress.folder import Applied, Source

KEPT = (
    "vocab_size", "bos_token_id", "eos_token_id", "pad_token_id", "model_type", "architectures",
    "dtype", "torch_dtype", "transformers_version", "quantization_config",
)  # fmt: skip
"""Fields that say what the parent's tokenizer and family are, or nothing of a shape."""


class Student(Settings):
    """Draw a model of the parent's family anew, with another shape and its tokenizer.

    It knows nothing: a step of `distill` teaches it, whose teacher is the model the chain
    began with. Fields that are not named stay the parent's, `head_dim` as well.
    """

    version: ClassVar[int] = 1

    kind: Literal["student"] = "student"
    config: Annotated[Mapping[str, int | float | bool], Field(min_length=1)]
    """Fields of the family's own config, like `hidden_size` and `num_hidden_layers`."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Of the weights, which are drawn as the family draws them."""

    def apply(self, source: "Source") -> "Applied":
        """Write the untrained student.

        Raises:
            SpecError: The family has no such field, one is the tokenizer's, or together they
                describe no model.
        """
        from tasks.compress.rebuild import save

        parent = source.load()
        made = self.outline(source, parent)
        return save(made, parent.num_parameters(), source, {"learned": "nothing yet"}, {})

    def outline(self, source: "Source", model: "PreTrainedModel") -> "PreTrainedModel":
        """The student of this parent; without weights where the parent has none.

        Raises:
            SpecError: As `apply`.
        """
        from tasks.compress.rebuild import fresh

        self._require_fields(model)
        what = ", ".join(self.config)
        return fresh(model, self._layers(model), what=what, seed=self.seed)

    def _require_fields(self, parent: "PreTrainedModel") -> None:
        family = parent.config.model_type
        there = set(parent.config.to_dict()) | set(parent.config.attribute_map)
        for name in self.config:
            if name in KEPT:
                raise SpecError(
                    f"method student: {name} is the parent's; a student has its tokenizer and "
                    "family"
                )
            if name not in there:
                shape = sorted(k for k in there - set(KEPT) if _is_shape(parent, k))
                raise SpecError(
                    f"method student: model type {family!r} has no field {name!r} in its "
                    f"config; its numbers are {', '.join(shape)}"
                )

    def _layers(self, parent: "PreTrainedModel") -> dict[str, object]:
        """The fields, and of what the config says of each layer that of the first ones."""
        config: dict[str, object] = dict(self.config)
        types = getattr(parent.config, "layer_types", None)
        depth = self.config.get("num_hidden_layers")
        if types and isinstance(depth, int):
            config["layer_types"] = list(types[:depth])
        return config


def _is_shape(parent: "PreTrainedModel", field: str) -> bool:
    return type(getattr(parent.config, field, None)) is int
