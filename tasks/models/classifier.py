"""A classifier of texts from a folder or the hub: how likely is one of its labels?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from audits.errors import SpecError
from tasks.models.folder import is_folder, read_json, weights_digest
from tasks.models.hub import FILES, require, require_hub_id
from tasks.models.quiet import quiet

BATCH = 32
NAMELESS = "LABEL_"
"""How transformers calls labels that nobody named."""
ENDLESS = 1_000_000
"""A tokenizer that names no longest text says a larger number."""
BEHIND_PADDING = 2
"""Positions that some encoders (RoBERTa) begin behind."""


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
            no label of that name, or several.
    """
    folder = find_classifier(ref)
    held = _require_digest(ref, folder, digest)
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
    at = _place_of(label, ref, model.config.id2label)
    return ClassifierModel(model, tokenizer, label=at, digest=held)


def check_classifier(ref: str, *, digest: str, label: str) -> None:
    """Refuse what `load_classifier` would, as far as files tell; no weights are loaded.

    A hub model that is not in the hub's cache costs one short attempt to reach the hub, and
    what it holds is not looked at.

    Raises:
        SpecError: as `load_classifier`.
    """
    if not is_folder(ref) and _in_cache(ref) is None:
        require(ref)
        return
    folder = find_classifier(ref)
    _require_digest(ref, folder, digest)
    config = read_json(folder / "config.json", folder)
    unnamed = {at: f"{NAMELESS}{at}" for at in range(config.get("num_labels", 2))}
    _place_of(label, ref, config.get("id2label") or unnamed)


def _require_digest(ref: str, folder: Path, digest: str) -> str:
    """What is held; SpecError where it is not what is stated."""
    held = weights_digest(folder)
    if held != digest:
        raise SpecError(
            f"classifier {ref}: is the model {held}, not {digest or 'a stated one'}; write"
            f" digest: {held} where that is the one you mean"
        )
    return held


def _place_of(label: str, ref: str, names_of: Mapping[Any, str]) -> int:
    """Which of the classifier's labels is meant."""
    places = [int(at) for at, name in names_of.items() if str(name) == label]
    if len(places) > 1:
        raise SpecError(
            f"classifier {ref}: calls {len(places)} of its labels {label!r}, and which is "
            "meant cannot be told; give each a name of its own in config.json (id2label)"
        )
    if not places:
        names = ", ".join(sorted(map(str, names_of.values())))
        which = (
            " (nobody named them; its card says which is which)" if NAMELESS in names else ""
        )
        raise SpecError(
            f"classifier {ref}: has no label {label!r}; its labels are {names}{which}; write"
            " label: with the one that is meant"
        )
    return places[0]


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
    longest = getattr(model.config, "max_position_embeddings", None)
    if longest and tokenizer.model_max_length > ENDLESS:
        tokenizer.model_max_length = longest - BEHIND_PADDING
    where = "cuda" if torch.cuda.is_available() else "cpu"
    return model.to(where).eval(), tokenizer


def _fetched(ref: str) -> Path:
    """Files of a hub model: from its cache, or else from the hub."""
    if (held := _in_cache(ref)) is not None:
        return held
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(ref, allow_patterns=list(FILES)))
    except Exception as error:
        raise SpecError(
            f"classifier {ref!r} is no folder here and the hub does not give it "
            f"({type(error).__name__}); get it on a connected machine with `hf download {ref} "
            "--local-dir DIR` and give DIR"
        ) from error


def _in_cache(ref: str) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    require_hub_id(ref)
    try:
        return Path(snapshot_download(ref, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
