"""A classifier of texts from a folder or the hub: how likely is one of its labels?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audits.errors import SpecError
from tasks.models.folder import is_folder, weights_digest
from tasks.models.hub import FILES, require_hub_id
from tasks.models.quiet import quiet

BATCH = 32
NAMELESS = "LABEL_"
"""How transformers calls labels that nobody named."""


class ClassifierModel:
    """A sequence classifier as a scorer of texts: the probability of one label."""

    def __init__(self, model: Any, tokenizer: Any, *, label: int, digest: str) -> None:  # noqa: ANN401 - untyped library
        self._model, self._tokenizer, self._label = model, tokenizer, label
        several = getattr(model.config, "problem_type", None) == "multi_label_classification"
        self._sigmoid = several or int(model.config.num_labels) == 1
        self.digest = digest

    def score(self, texts: Sequence[str]) -> list[float]:
        """Probability of the label for each text; a longer text than it reads is cut off.

        Among several labels of which more than one may hold it is the label's own sigmoid,
        else its share of the softmax.
        """
        import torch

        order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
        found: dict[int, float] = {}
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            asked = self._tokenizer(
                [texts[at] for at in batch], padding=True, truncation=True, return_tensors="pt"
            )
            with torch.inference_mode():
                logits = self._model(**asked.to(self._model.device)).logits.float()
            said = logits.sigmoid() if self._sigmoid else logits.softmax(-1)
            found |= zip(batch, said[:, self._label].tolist(), strict=True)
        return [found[at] for at in range(len(texts))]


def load_classifier(ref: str, *, digest: str, label: str) -> ClassifierModel:
    """Load a classifier of safetensors weights; code that comes with it is never run.

    Raises:
        SpecError: no such model here, no safetensors weights, other content than `digest`, or
            no label of that name.
    """
    folder = find_classifier(ref)
    held = weights_digest(folder)
    if held != digest:
        raise SpecError(
            f"classifier {ref}: is the model {held}, not {digest or 'a stated one'}; write"
            f" digest: {held} where that is the one you mean"
        )
    try:
        with quiet():
            model, tokenizer = _loaded(folder)
    except MemoryError:
        raise
    except Exception as error:
        raise SpecError(
            f"classifier {ref}: transformers cannot load it ({type(error).__name__}: "
            f"{' '.join(str(error).split()):.200}); give a folder with config.json, "
            "safetensors weights and a tokenizer"
        ) from error
    labels = {str(name): int(at) for at, name in model.config.id2label.items()}
    if label not in labels:
        names = ", ".join(sorted(labels))
        which = (
            " (nobody named them; its card says which is which)" if NAMELESS in names else ""
        )
        raise SpecError(
            f"classifier {ref}: has no label {label!r}; its labels are {names}{which}; write"
            " label: with the one that is meant"
        )
    return ClassifierModel(model, tokenizer, label=labels[label], digest=held)


def find_classifier(ref: str) -> Path:
    """The folder of a classifier: the one named, or what the hub's cache or the hub holds.

    Raises:
        SpecError: there is none.
    """
    folder = Path(ref).expanduser() if is_folder(ref) else _fetched(ref)
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise SpecError(
            f"classifier {ref}: holds no model; give a folder with config.json and safetensors "
            "weights"
        )
    return folder


def _loaded(folder: Path) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model, report = AutoModelForSequenceClassification.from_pretrained(
        folder, use_safetensors=True, local_files_only=True, trust_remote_code=False,
        output_loading_info=True,
    )  # fmt: skip
    if missing := sorted(map(str, report["missing_keys"])):
        raise SpecError(f"its weights lack {missing[0]}, which would be drawn at random")
    tokenizer = AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    where = "cuda" if torch.cuda.is_available() else "cpu"
    return model.to(where).eval(), tokenizer


def _fetched(ref: str) -> Path:
    """Files of a hub model: from its cache, or else from the hub."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    require_hub_id(ref)
    try:
        return Path(snapshot_download(ref, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        return Path(snapshot_download(ref, allow_patterns=list(FILES)))
    except Exception as error:
        raise SpecError(
            f"classifier {ref!r} is no folder here and the hub does not give it "
            f"({type(error).__name__}); get it on a connected machine with `hf download {ref} "
            "--local-dir DIR` and give DIR"
        ) from error
