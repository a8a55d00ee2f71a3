"""What a compression method reads, where it writes, and what came of it on disk."""

import contextlib
import hashlib
import io
import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from audits.errors import SpecError
from tasks.models.folder import check_folder, gguf_file
from tasks.models.stored import header, stored

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

COPIED = (
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt",
    "spiece.model", "*.jinja", "generation_config.json",
)  # fmt: skip
"""What a compressed model has in common with its parent, byte by byte."""


@dataclass(frozen=True, slots=True)
class Source:
    """The model to compress, the text to look at meanwhile, and the folder to fill."""

    model: Path
    texts: Sequence[str]
    out: Path
    teachers: Sequence[Path] = ()
    """Further models, for a method that learns from some."""

    @property
    def text_digest(self) -> str:
        """Identity of the calibration text: its documents, in order."""
        return hashlib.sha256(json.dumps(list(self.texts)).encode()).hexdigest()

    def load(self) -> "PreTrainedModel":
        """Load the model in float32, fresh: a method may change what it gets.

        Raises:
            SpecError: The folder is no model whose weights are whole, or one that is
                quantized already.
        """
        from tasks.models.load import load_torch

        self.require_plain()
        loaded: PreTrainedModel = load_torch(self.model, device="cpu").hf
        return loaded

    def require_plain(self) -> None:
        """Refuse what is no whole model of plain weights; reads headers alone.

        Raises:
            SpecError: As `load`.
        """
        check_folder(self.model)
        if gguf_file(self.model) is not None:
            raise SpecError(f"{self.model}: is a GGUF file; let method gguf be the last step")
        config = json.loads((self.model / "config.json").read_text("utf-8"))
        if "quantization_config" in config:
            raise SpecError(
                f"{self.model}: is quantized already; let quantization be the last step"
            )

    def save(self, model: "PreTrainedModel") -> None:
        """Write a model's weights and config, in the type of number that the source has.

        What is packed keeps its integers and its scales; zeros stay zeros.
        """
        from tasks.models.quiet import patient_bars, quiet

        _cast(model, self._stored_type())
        with quiet(), patient_bars(), contextlib.redirect_stdout(io.StringIO()):
            model.save_pretrained(str(self.out))

    def _stored_type(self) -> str:
        """The type of number of most of the source's weights, as safetensors calls it."""
        bytes_of: Counter[str] = Counter()
        for file in sorted(self.model.glob("*.safetensors")):
            for entry in header(file).values():
                begin, end = entry["data_offsets"]
                bytes_of[str(entry["dtype"])] += end - begin
        return bytes_of.most_common(1)[0][0] if bytes_of else "F32"

    @property
    def positions(self) -> int | None:
        """How many tokens the model can read at once, where its config says so."""
        config = json.loads((self.model / "config.json").read_text("utf-8"))
        for name in ("max_position_embeddings", "n_positions"):
            if isinstance(config.get(name), int) and config[name] > 0:
                return int(config[name])
        return None

    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """Load the model's own tokenizer."""
        from transformers import AutoTokenizer

        loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            str(self.model), local_files_only=True, trust_remote_code=False
        )
        return loaded

    def copy_rest(self) -> None:
        """Give the compressed model its parent's tokenizer and generation defaults.

        A GGUF file holds its own.
        """
        if gguf_file(self.out) is not None:
            return
        for file in sorted({f for pattern in COPIED for f in self.model.glob(pattern)}):
            shutil.copyfile(file, self.out / file.name)


@dataclass(frozen=True, slots=True)
class Applied:
    """The layers a method changed, with the number of weights of each, and its remarks.

    `errors` is each layer's `|WX - W'X|^2 / |WX|^2` on identical inputs, where measured.
    """

    layers: Mapping[str, int]
    remarks: Mapping[str, object] = field(default_factory=dict)
    errors: Mapping[str, float] = field(default_factory=dict)


def linear_layers(model: "PreTrainedModel") -> "dict[str, torch.nn.Linear]":
    """Every linear layer by name, in model order, save the output head.

    The head is the embedding again (tied) or its counterpart; it is left as it is.

    Raises:
        SpecError: The model has no such layer (GPT-2 computes with another kind).
    """
    import torch

    head = model.get_output_embeddings()
    found = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }
    if not found:
        raise SpecError(
            f"model type {model.config.model_type!r} has no linear layers that can be "
            "compressed; choose another model"
        )
    return found


def sizes(folder: Path) -> dict[str, float]:
    """Bytes by kind of tensor (`tasks.models.stored`), of the files, and bits per weight."""
    counted = stored(folder)
    single = gguf_file(folder)
    files = sorted(folder.glob("*.safetensors")) if single is None else [single]
    return {
        "bytes_layers": counted.layers,
        "bytes_embeddings": counted.embeddings,
        "bytes_other": counted.other,
        "bytes_files": sum(f.stat().st_size for f in files),
        "bits_per_weight": counted.bits_per_weight,
    }


def _cast(model: "PreTrainedModel", stored: str) -> None:
    """Bring what is not packed into a type of number, in place."""
    import torch

    wanted = {"BF16": torch.bfloat16, "F16": torch.float16}.get(stored)
    if wanted is None:
        return
    for module in model.modules():
        if getattr(module, "quantization_scheme", None) is None:
            for parameter in module.parameters(recurse=False):
                if parameter.is_floating_point():
                    parameter.data = parameter.data.to(wanted)
    model.config.dtype = wanted
