"""Is this folder a model we may load, and which one is it?

Looks at names and headers only: nothing here imports torch or reads whole weights
except to hash them.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from audits.errors import SpecError

_PICKLED = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt", "*.msgpack", "*.h5")
_TOKENIZERS = (
    ("tokenizer.json",),
    ("tokenizer.model",),
    ("spiece.model",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
)
_IDENTITY = (
    "*.safetensors", "model.safetensors.index.json", "config.json", "generation_config.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "tokenizer.model", "spiece.model", "vocab.json", "merges.txt", "vocab.txt",
    "chat_template.jinja",
)  # fmt: skip
_PLACES = {"_name_or_path", "name_or_path"}


def check_folder(path: Path) -> None:
    """Refuse a folder that is not a whole model of safetensors weights; costs no torch.

    Raises:
        SpecError: naming the folder, what is wrong with it and what to do.
    """
    if not path.is_dir():
        raise SpecError(f"{path}: there is no such folder; give the folder of a model")
    config = _json(path / "config.json", path)
    if "model_type" not in config:
        raise SpecError(
            f"{path / 'config.json'}: has no 'model_type', so it does not describe a model; "
            "save the model with transformers' save_pretrained"
        )
    for shard in _shards(path):
        _check_shard(shard)
    if not any(all((path / name).is_file() for name in names) for names in _TOKENIZERS):
        raise SpecError(
            f"{path}: has weights but no tokenizer (tokenizer.json or tokenizer.model); "
            "save the tokenizer into the same folder"
        )


def check_reference(ref: str, revision: str | None = None) -> None:
    """Refuse what cannot become a model: neither a sound folder nor a hub model to be had.

    A hub model that is not in the hub's cache costs one short attempt to reach the hub.

    Args:
        ref: folder, or hub id (`owner/name`) where no folder is called so.
        revision: branch, tag or commit of the hub id.

    Raises:
        SpecError: naming what is missing and what to do.
    """
    if is_folder(ref):
        check_folder(Path(ref).expanduser())
    else:
        from tasks.models.hub import require

        require(ref, revision)


def is_folder(ref: str) -> bool:
    """Whether a reference means a folder, be it there or not, and no model of the hub."""
    path_like = ref.startswith((".", "/", "~")) or ref.count("/") > 1
    return path_like or Path(ref).exists()


def weights_digest(folder: Path) -> str:
    """Content hash of weights, configuration, tokenizer and generation defaults.

    Where the folder lies, and files that change no answer (README, recipes), do not count.
    """
    files = identity_files(folder)
    if not any(name.endswith(".safetensors") for name in files):
        raise SpecError(f"{folder}: has no safetensors weights to identify; is it a model?")
    tree = hashlib.sha256()
    for name, file in files.items():
        tree.update(f"{name}\0{_digest(file)}\0".encode())
    return tree.hexdigest()


def identity_files(folder: Path) -> dict[str, Path]:
    """The files that `weights_digest` covers, by name: all that the model's answers need."""
    found = {f.name: f for pattern in _IDENTITY for f in folder.glob(pattern)}
    return dict(sorted(found.items()))


def _digest(file: Path) -> str:
    if file.name.endswith("config.json"):
        content = json.loads(file.read_text("utf-8"))
        kept = {k: v for k, v in content.items() if k not in _PLACES}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _shards(path: Path) -> list[Path]:
    index = path / "model.safetensors.index.json"
    if index.is_file():
        listed = _json(index, path).get("weight_map", {})
        return [path / name for name in sorted(set(map(str, listed.values())))]
    found = sorted(path.glob("model*.safetensors"))
    if found:
        return found
    for pattern in _PICKLED:
        for file in sorted(path.glob(pattern)):
            raise SpecError(
                f"{file}: pickled weights can run code when loaded and are refused; convert "
                "them with save_pretrained(..., safe_serialization=True) and give that folder"
            )
    raise SpecError(
        f"{path}: has no weights (model.safetensors); give the folder that holds them"
    )


def _check_shard(shard: Path) -> None:
    """Compare the sizes a safetensors header states with the bytes that are there."""
    if not shard.is_file():
        raise SpecError(f"{shard}: is listed in the index but missing; copy the whole model")
    size = shard.stat().st_size
    with shard.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        text = stream.read(length) if length <= size - 8 else b""
    try:
        header = json.loads(text)
        ends = [v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise SpecError(f"{shard}: is not a safetensors file; copy it again") from error
    if 8 + length + max(ends, default=0) != size:
        raise SpecError(f"{shard}: is cut short or has been altered; copy it again")


def _json(file: Path, folder: Path) -> dict[str, Any]:
    if not file.is_file():
        raise SpecError(
            f"{folder}: has no {file.name}, so it is not a model in Hugging Face layout; "
            "give the folder that save_pretrained wrote"
        )
    try:
        content = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise SpecError(f"{file}: is not JSON ({error}); save the model again") from error
    if not isinstance(content, dict):
        raise SpecError(f"{file}: holds no JSON object; save the model again")
    return content
