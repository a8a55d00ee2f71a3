"""The further models that a student learns from: who they are, and whether they fit it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from audits.errors import SpecError
from audits.settings import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ROLE = "teacher."
"""What the inputs of a stage that are teachers are called, before their number from 0 on."""


class Teacher(Settings):
    """A model to learn from; in a run file its name alone will do.

    Once a step is handed its teachers they are inputs, and `model` is the digest of one:
    where it lies and what a run file calls it do not decide what comes out.
    """

    model: Annotated[str, Field(min_length=1)]
    """A variant of the run, `base`, or a model folder or hub id."""
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """Its share among several, relative to theirs."""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: object) -> object:
        return {"model": given} if isinstance(given, str) else given


def check_teacher(folder: Path) -> None:
    """Refuse what cannot teach, as far as its files say; costs no torch.

    Raises:
        SpecError: It is no whole model of transformers'.
    """
    from tasks.models.folder import check_folder, gguf_file

    if gguf_file(folder) is not None:
        raise SpecError(
            f"teacher {folder}: a GGUF file gives no logits to learn from here; name the "
            "safetensors model it was made of"
        )
    check_folder(folder)


def open_teacher(folder: Path) -> "PreTrainedModel":
    """Load a teacher in float32; quantized weights are unpacked, its parameters do not train.

    Raises:
        SpecError: It is no causal language model.
    """
    from tasks.models.load import load_torch
    from tasks.models.torch_model import TorchModel

    loaded = load_torch(folder, device="cpu")
    if not isinstance(loaded, TorchModel):
        raise SpecError(
            f"teacher {folder}: is a masked language model, which predicts no next token; "
            "name a causal one"
        )
    model: PreTrainedModel = loaded.hf
    model.requires_grad_(False)
    return model


def require_shared_vocabulary(student: Path, teacher: Path, texts: Sequence[str] = ()) -> None:
    """Refuse a teacher whose tokens are not the student's; equal files cost no library.

    Raises:
        SpecError: The vocabularies differ, or these texts become other tokens.
    """
    from tasks.models.folder import tokenizer_file

    files = tokenizer_file(student), tokenizer_file(teacher)
    if len({file.read_bytes() for file in files}) == 1:
        return
    mine, other = (tokenizer_of(folder) for folder in (student, teacher))
    vocabularies = mine.get_vocab(), other.get_vocab()
    if vocabularies[0] != vocabularies[1]:
        sizes = " and ".join(f"{len(v)} tokens" for v in vocabularies)
        why = f"the student's tokenizer and its own have {sizes}, which are not the same"
    elif any(mine(text)["input_ids"] != other(text)["input_ids"] for text in texts):
        why = "its tokenizer cuts the text into other tokens than the student's does"
    else:
        return
    raise SpecError(
        f"teacher {teacher}: {why}; name a teacher with the student's tokenizer, or let it "
        "write the text: text: teacher, alpha: 0"
    )


def tokenizer_of(folder: Path) -> "PreTrainedTokenizerBase":
    """Load a folder's tokenizer."""
    from tasks.models.load import described

    found: PreTrainedTokenizerBase = described(folder)[1]
    return found
