"""Write a GGUF file, which llama.cpp, Ollama and LM Studio run, as the last step of a chain."""

import json
import os
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import model_validator

from audits.errors import SpecError
from tasks.compress.calibration import Calibrated

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tasks.compress.folder import Applied, Source
    from tasks.compress.walk import Batch
    from tasks.models.gguf_check import Agreement
    from tasks.models.gguf_quantize import Fallback, Importance
    from tasks.models.gguf_write import Plan
    from tasks.models.torch_model import TorchModel

FILE = "model.gguf"
FileType = Literal[
    "f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q5_k_s", "q5_1", "q5_0", "q4_k_m",
    "q4_k_s", "q4_1", "q4_0", "iq4_nl", "iq4_xs", "q3_k_l", "q3_k_m", "q3_k_s", "iq3_m",
    "iq3_s", "iq3_xs", "iq3_xxs", "q2_k", "q2_k_s", "iq2_m", "iq2_s", "iq2_xs", "iq2_xxs",
    "iq1_m", "iq1_s",
]  # fmt: skip
EmbeddingType = Literal["f32", "f16", "bf16", "q8_0", "q6_k", "q5_k", "q4_k", "q4_0"]
FLOATS: Mapping[str, float] = {"f32": 1.0, "f16": 100.0}
"""Types whose answers must be the source's, and how much looser than those of 32 bits."""
UNWEIGHED = ("f32", "f16", "bf16", "q8_0")
DEMANDING = (
    "q2_k_s", "iq3_xs", "iq3_xxs", "iq2_m", "iq2_s", "iq2_xs", "iq2_xxs", "iq1_m", "iq1_s",
)  # fmt: skip
"""Types that llama.cpp does not make without importance."""
SHOWN = 3


class Gguf(Calibrated):
    """Write one GGUF file in a type of llama.cpp's, by llama.cpp's own quantizer.

    Before it is quantized, a file of 32-bit floats must cut hard texts as the model's own
    tokenizer does and give the model's log-probabilities. Embedding and head get types of
    llama.cpp's choice unless `embeddings` says which.
    """

    version: ClassVar[int] = 1
    instead: ClassVar[str] = ""
    ends: ClassVar[str] = "writes a file that no step can read"

    kind: Literal["gguf"] = "gguf"
    type: FileType
    importance: bool = False
    """Weigh each rounding error by the mean square of the input it meets in the text."""
    embeddings: EmbeddingType | None = None
    """Type of embedding and head; null leaves it to llama.cpp."""
    allow_fallback: bool = False
    """Let tensors whose width does not fit the type have another one, named in the artifact."""

    @model_validator(mode="after")
    def _makes_sense(self) -> "Gguf":
        if self.importance and self.type in UNWEIGHED:
            raise ValueError(f"importance changes no bit of type {self.type}; leave it out")
        if not self.importance and self.type in DEMANDING:
            raise ValueError(f"llama.cpp makes type {self.type} only with importance: true")
        return self

    @property
    def reads_text(self) -> bool:
        """Whether rounding errors are weighed by it; else it is compared on, where given."""
        return self.importance

    def apply(self, source: "Source") -> "Applied":
        """Write `model.gguf`, whole or not at all.

        Raises:
            SpecError: The extra is not installed, the model or its tokenizer cannot be
                written as GGUF, tensors do not fit the type, or there is no text to weigh by.
            StageError: The file does not say what the model says.
        """
        from tasks.models.gguf_file import require_runner
        from tasks.models.gguf_write import plan

        require_runner()
        seen = self.documents(source) if self.importance else []
        planned = plan(source.model)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=source.out) as aside:
            return self._write(source, planned, seen, Path(aside))

    def outline(self, source: "Source", model: "PreTrainedModel") -> "PreTrainedModel":
        """The same shapes, if they and their tokenizer can be written as this file.

        Raises:
            SpecError: As `apply`, but for the text.
        """
        from tasks.models.gguf_file import require_runner
        from tasks.models.gguf_write import plan

        require_runner()
        with tempfile.TemporaryDirectory() as aside:
            self._rehearsed(plan(source.model), Path(aside))
        return model

    def _write(
        self, source: "Source", planned: "Plan", seen: "Sequence[Batch]", aside: Path
    ) -> "Applied":
        from tasks.compress.folder import Applied
        from tasks.models.gguf_check import require_logits
        from tasks.models.gguf_file import tensors
        from tasks.models.gguf_quantize import Recipe, quantize
        from tasks.models.gguf_tokens import normalizer
        from tasks.models.gguf_write import write
        from tasks.models.load import load_torch
        from tasks.models.torch_model import TorchModel

        recipe = Recipe(self.type, self.embeddings)
        fallen = self._rehearsed(planned, aside)
        whole = write(planned, aside / "whole.gguf", self._about(source, len(seen)))
        model = load_torch(source.model, device="cpu")
        assert isinstance(model, TorchModel)  # no family that can be written fills masks
        exact = _compared(whole, model, source, tokens=True)
        tolerance = planned.family.tolerance
        require_logits(exact, tolerance)
        made, found = whole, exact
        if self.type != "f32" or self.embeddings is not None:
            weights = _importance(planned, model, seen) if seen else None
            made = quantize(whole, aside / "made.gguf", recipe, weights)
            found = _compared(made, model, source, tokens=False)
            if self.type in FLOATS and self.embeddings is None:
                require_logits(found, FLOATS[self.type] * tolerance)
        remarks: dict[str, object] = {
            "types": dict(Counter(one.type for one in tensors(made))),
            "fallbacks": [_named(one) for one in fallen],
            "f32_largest_difference_nats": exact.largest,
            "kl_nats": found.kl,
            "tokens_compared": found.tokens,
            "normalizer": normalizer(planned.tokenizer),
        }
        os.replace(made, source.out / FILE)
        return Applied(_layers(planned), remarks)

    def _rehearsed(self, planned: "Plan", aside: Path) -> "tuple[Fallback, ...]":
        """Tensors that will have another type than asked; SpecError unless that is allowed."""
        from tasks.models.gguf_quantize import Recipe, block, rehearse
        from tasks.models.gguf_write import outline

        widths = {one.name: one.shape[-1] for one in planned.tensors}
        head = next(n for n in ("output.weight", "token_embd.weight") if n in widths)
        if self.embeddings is not None and widths[head] % block(self.embeddings):
            raise SpecError(
                f"method gguf: embeddings {self.embeddings} needs a width that is a multiple "
                f"of {block(self.embeddings)}; {head} has {widths[head]}; choose another type"
            )
        fallen = rehearse(
            outline(planned, aside / "outline.gguf"),
            Recipe(self.type, self.embeddings),
            (head, widths[head]),
            importance=self.importance,
        )
        if fallen and not self.allow_fallback:
            shown = "; ".join(
                f"{one.tensor} is {one.width} wide, {one.asked} needs a multiple of "
                f"{one.block}, llama.cpp would write {one.written}"
                for one in fallen[:SHOWN]
            )
            more = f" and {len(fallen) - SHOWN} more" if len(fallen) > SHOWN else ""
            raise SpecError(
                f"method gguf: type {self.type} does not fit {len(fallen)} of "
                f"{len(widths)} tensors: {shown}{more}; choose a type of smaller blocks (q8_0 "
                "has 32, f16 none), name one for embedding and head by embeddings, or write "
                "allow_fallback: true"
            )
        return fallen

    def _about(self, source: "Source", documents: int) -> dict[str, str | int]:
        """Where the file comes from, in its own header; no path of this machine."""
        from tasks.models.folder import weights_digest
        from tasks.models.gguf_file import runner_version

        digest = weights_digest(source.model)
        told: dict[str, str | int] = {
            "general.name": f"model {digest[:12]}",
            "general.quantized_by": f"assay, llama-cpp-python {runner_version()}",
            "assay.source_digest": digest,
            "assay.method": json.dumps(self.model_dump(mode="json"), sort_keys=True),
        }
        if documents:
            told["assay.calibration_digest"] = source.text_digest
            told["quantize.imatrix.chunks_count"] = documents
        return told


def _compared(
    file: Path, model: "TorchModel", source: "Source", *, tokens: bool
) -> "Agreement":
    """How far a file is from the model; StageError where it cuts a text elsewhere."""
    from tasks.models.gguf_check import agreement, hard_texts, require_tokens
    from tasks.models.gguf_model import load_gguf
    from tasks.models.gguf_tokens import normalizer, special_tokens

    loaded = load_gguf(file, device="cpu")
    tokenizer = model.tokenizer
    texts = hard_texts(special_tokens(tokenizer), source.texts, normalizer(tokenizer))
    if tokens:
        require_tokens(loaded, model, texts)
    return agreement(loaded, model, texts)


def _layers(planned: "Plan") -> dict[str, int]:
    """Weights of each matrix of the blocks, by the file's name without its ending."""
    return {
        one.name.removesuffix(".weight"): one.shape[0] * one.shape[1]
        for one in planned.tensors
        if one.name.startswith("blk.") and len(one.shape) == 2
    }


def _importance(planned: "Plan", model: "TorchModel", seen: "Sequence[Batch]") -> "Importance":
    """By the file's tensor, the mean square of each input over the text, as in llama.cpp.

    Rows of some matrices stand in another order in the file; columns never do.
    """
    import torch

    from tasks.compress.blocks import linears_of
    from tasks.compress.walk import inputs_of

    layers = linears_of(model.hf)
    sums: dict[str, torch.Tensor] = {}
    n = sum(batch["input_ids"].numel() for batch in seen)

    def see(name: str, inputs: torch.Tensor) -> None:
        squares = inputs.reshape(-1, inputs.shape[-1]).double().square().sum(0)
        sums[name] = sums[name] + squares if name in sums else squares

    with torch.no_grad(), inputs_of(layers, see):
        for batch in seen:
            model.hf(**batch, use_cache=False)
    names = {one.source.removesuffix(".weight"): one.name for one in planned.tensors}
    return {names[layer]: (total / n).float().numpy() for layer, total in sums.items()}


def _named(one: "Fallback") -> dict[str, object]:
    return {
        "tensor": one.tensor, "width": one.width, "asked": one.asked, "written": one.written,
    }  # fmt: skip
