"""Is this folder a model we may load, and which one is it?

Looks at names and headers only: nothing here imports torch or reads whole weights
except to hash them.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audits.errors import SpecError
from tasks.models.borrowing import settled
from tasks.models.hub import FILES

_PICKLED = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt", "*.msgpack", "*.h5")
_TOKENIZERS = (
    ("tokenizer.json",),
    ("tokenizer.model",),
    ("spiece.model",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
)
_HEADS = ("ForCausalLM", "ForMaskedLM", "LMHead", "ForConditionalGeneration", "DoubleHeads")
"""What the names of classes with a language head hold; people should see the first two."""
_NOTES = frozenset({"compression.json", "training.json", "membership.json"})
"""Files that our stages leave beside a model, and that nothing which answers reads."""
_ADAPTER = "adapter_config.json"
_PLACES = {"_name_or_path", "name_or_path"}


def check_folder(path: Path) -> None:
    """Refuse what is not a whole model of safetensors weights or GGUF; costs no torch.

    Raises:
        SpecError: naming the folder or file, what is wrong with it and what to do.
    """
    if (file := gguf_file(path)) is not None:
        from tasks.models.gguf_file import read

        read(file)
        return
    if not path.is_dir():
        raise SpecError(f"{path}: there is no such folder; give the folder of a model")
    settled(path)
    config = read_json(path / "config.json", path)
    if "model_type" not in config:
        raise SpecError(
            f"{path / 'config.json'}: has no 'model_type', so it does not describe a model; "
            "save the model with transformers' save_pretrained"
        )
    _require_head(path / "config.json", config)
    if (path / _ADAPTER).exists():
        raise SpecError(
            f"{path / _ADAPTER}: an adapter beside a model is applied by some installations "
            "and not by others; merge it into the weights and save these"
        )
    for shard, listed in _shards(path).items():
        _check_shard(shard, listed)
    tokenizer_file(path)


def gguf_file(path: Path) -> Path | None:
    """The GGUF file that a path means: itself, or the only one of a folder without others.

    Raises:
        SpecError: a folder holds several and no safetensors weights.
    """
    if path.suffix == ".gguf" and not path.is_dir():
        return path
    if not path.is_dir() or any(path.glob("*.safetensors")):
        return None
    found = sorted(path.glob("*.gguf"))
    if len(found) > 1:
        raise SpecError(
            f"{path}: holds {len(found)} GGUF files ({found[0].name}, {found[1].name}, …); "
            "give the path of one"
        )
    return found[0] if found else None


def tokenizer_file(path: Path) -> Path:
    """The file that holds a folder's tokenizer, or its vocabulary.

    Raises:
        SpecError: there is none.
    """
    for names in _TOKENIZERS:
        if all((path / name).is_file() for name in names):
            return path / names[0]
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
        path = Path(ref).expanduser()
        if gguf_file(path) is not None:
            raise SpecError(
                f"{ref}: a run starts from safetensors weights, which it can compress; "
                "evaluate, audit and profile a GGUF file by their own commands"
            )
        check_folder(path)
    else:
        from tasks.models.hub import require

        require(ref, revision)


def is_folder(ref: str) -> bool:
    """Whether a reference means a folder, be it there or not, and no model of the hub."""
    path_like = ref.startswith((".", "/", "~")) or ref.count("/") > 1 or ref.endswith(".gguf")
    return path_like or Path(ref).exists()


def weights_digest(folder: Path) -> str:
    """Content hash of weights, configuration, tokenizer and generation defaults.

    Where the folder lies, and files that change no answer (README, recipes), do not count.
    Every other file does that comes along with a model (`tasks.models.hub.FILES`), whatever
    its name: which of several tokenizers is read, a configuration may say. A GGUF file holds
    all of that: its SHA-256.
    """
    if (borrowed := settled(folder)) is not None:
        return borrowed.digest
    if (file := gguf_file(folder)) is not None:
        return _digest(file)
    files = identity_files(folder)
    if not any(name.endswith(".safetensors") for name in files):
        raise SpecError(f"{folder}: has no safetensors weights to identify; is it a model?")
    tree = hashlib.sha256()
    for name, file in files.items():
        tree.update(f"{name}\0{_digest(file)}\0".encode())
    return tree.hexdigest()


def identity_files(folder: Path) -> dict[str, Path]:
    """The files that `weights_digest` covers, by name: all that the model's answers need."""
    if (file := gguf_file(folder)) is not None:
        return {file.name: file}
    found = {f.name: f for pattern in FILES for f in folder.glob(pattern)}
    found = {name: file for name, file in found.items() if name not in _NOTES}
    return dict(sorted(found.items()))


def _digest(file: Path) -> str:
    if file.name.endswith("config.json") and (content := _object(file)) is not None:
        kept = {k: v for k, v in content.items() if k not in _PLACES}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _object(file: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None for anything else, which is known by its bytes."""
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _require_head(file: Path, config: Mapping[str, Any]) -> None:
    """Refuse a model saved without a language head: transformers would draw a random one."""
    named = config.get("architectures")
    classes = [str(name) for name in named] if isinstance(named, list) else []
    if classes and not any(head in name for name in classes for head in _HEADS):
        raise SpecError(
            f"{file}: architectures is {', '.join(classes)}, which has no language head; "
            f"give a model saved with its {_HEADS[0]} or {_HEADS[1]} class"
        )


def _shards(path: Path) -> dict[Path, frozenset[str]]:
    """The files of weights that transformers will read, with the tensors promised for each."""
    single, index = path / "model.safetensors", path / "model.safetensors.index.json"
    if single.is_file():
        return {single: frozenset()}
    if index.is_file():
        return _indexed(path, index)
    if any(path.glob("model*.safetensors")):
        raise SpecError(
            f"{path}: has shards of weights but no {index.name} that lists them; copy the "
            "whole model"
        )
    for pattern in _PICKLED:
        for file in sorted(path.glob(pattern)):
            raise SpecError(
                f"{file}: pickled weights can run code when loaded and are refused; convert "
                "them with save_pretrained(..., safe_serialization=True) and give that folder"
            )
    raise SpecError(
        f"{path}: has no weights (model.safetensors); give the folder that holds them"
    )


def _indexed(path: Path, index: Path) -> dict[Path, frozenset[str]]:
    """Shards of an index; all must lie in the model's own folder."""
    content = read_json(index, path)
    listed = content.get("weight_map")
    if not isinstance(listed, dict) or not listed or "metadata" not in content:
        raise SpecError(
            f"{index}: is no index of weights (weight_map and metadata) as save_pretrained "
            "writes it; copy the whole model"
        )
    found: dict[Path, set[str]] = {}
    for tensor, name in sorted(listed.items()):
        if not (isinstance(name, str) and _is_shard(name)):
            raise SpecError(
                f"{index}: {tensor} is said to be in {name!r}, which is no file of this "
                "folder; copy the whole model into one folder"
            )
        found.setdefault(path / name, set()).add(tensor)
    return {shard: frozenset(tensors) for shard, tensors in found.items()}


def _is_shard(name: str) -> bool:
    return Path(name).name == name and name.endswith(".safetensors")


def _check_shard(shard: Path, promised: frozenset[str]) -> None:
    """Compare what a safetensors header states with the bytes and the index that are there."""
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
    if not ends:
        raise SpecError(f"{shard}: holds no weights; copy it again")
    if lacking := sorted(promised - header.keys()):
        raise SpecError(
            f"{shard}: lacks {lacking[0]}, which the index says it holds (and "
            f"{len(lacking) - 1} more); copy the whole model again"
        )


def read_json(file: Path, folder: Path) -> dict[str, Any]:
    """The object in a file of a model's folder.

    Raises:
        SpecError: it is not there, is not JSON, or holds no object.
    """
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
