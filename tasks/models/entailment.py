"""A model of natural language inference from a folder: which statement entails which?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audits.errors import SpecError
from tasks.models.folder import weights_digest

BATCH = 32
ENTAILS = "entailment"


class EntailmentModel:
    """A sequence classifier one of whose labels is called entailment."""

    def __init__(self, model: Any, tokenizer: Any, *, label: int, digest: str) -> None:  # noqa: ANN401 - untyped library
        self._model, self._tokenizer, self._label = model, tokenizer, label
        self.digest = digest

    def entails(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """For each (premise, hypothesis), whether entailment is the likeliest label."""
        import torch

        distinct = list(dict.fromkeys(pairs))
        found: dict[tuple[str, str], bool] = {}
        for start in range(0, len(distinct), BATCH):
            batch = distinct[start : start + BATCH]
            texts = [[text for text, _ in batch], [text for _, text in batch]]
            asked = self._tokenizer(*texts, padding=True, truncation=True, return_tensors="pt")
            with torch.inference_mode():
                best = self._model(**asked).logits.argmax(-1).tolist()
            found |= {pair: at == self._label for pair, at in zip(batch, best, strict=True)}
        return [found[pair] for pair in pairs]


def load_entailment(folder: Path, *, digest: str) -> EntailmentModel:
    """Load a classifier of safetensors weights; code that comes with it is never run.

    Raises:
        SpecError: no such folder, no safetensors weights, other content than `digest`, or no
            label that is called entailment.
    """
    if not (folder / "config.json").is_file():
        raise SpecError(f"nli {folder}: holds no model; give a folder with a config.json")
    held = weights_digest(folder)
    if held != digest:
        raise SpecError(
            f"nli {folder}: holds the model {held}, not {digest or 'a stated one'}; write"
            f" nli_digest: {held} where that is the one you mean"
        )
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    labels = {str(name).lower(): int(at) for at, name in config.id2label.items()}
    if ENTAILS not in labels:
        raise SpecError(
            f"nli {folder}: its labels are {', '.join(sorted(labels))}; a model of inference"
            f" has one called {ENTAILS}"
        )
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, use_safetensors=True, local_files_only=True
    )
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return EntailmentModel(model.eval(), tokenizer, label=labels[ENTAILS], digest=held)
