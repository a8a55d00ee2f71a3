"""How many bytes do a model's weight files spend on what? Read from their headers alone."""

import json
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audits.errors import SpecError
from tasks.models.folder import gguf_file

EMBEDDINGS = ("embed", "lm_head", "wte", "wpe", "token_embd", "position_embd", "output.weight")
"""Parts of the names of embeddings and heads: GPT-2's, Llama's, GPT-NeoX's, and in GGUF."""
PACKED, SHAPE = "weight_packed", "weight_shape"
"""In compressed-tensors: several weights in one integer, and their shape when unpacked."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes by kind of tensor; `weights` counts the numbers that the layers' bytes stand for.

    Layers are all tensors of two and more dimensions that are no embedding and no head, with
    whatever is stored for them (scales, zero points, shapes). The rest are norms and biases.
    """

    layers: int
    embeddings: int
    other: int
    weights: int

    @property
    def bits_per_weight(self) -> float:
        """Bits on disk for each weight of the layers, scales included."""
        return 8 * self.layers / self.weights


def stored(path: Path) -> Stored:
    """Count what the weight files of a folder, or a GGUF file, hold.

    Raises:
        SpecError: no weight file, or none whose layers can be told.
    """
    file = gguf_file(path)
    counted = _gguf(file) if file is not None else _safetensors(path)
    if counted.weights == 0:
        raise SpecError(f"{path}: no weight file here has a layer; name a model's folder")
    return counted


def _gguf(file: Path) -> Stored:
    from tasks.models.gguf_file import tensors as in_file

    layers = embeddings = other = weights = 0
    for tensor in in_file(file):
        in_block = tensor.name.startswith("blk.")
        if not in_block and any(part in tensor.name for part in EMBEDDINGS):
            embeddings += tensor.bytes
        elif sum(n > 1 for n in tensor.shape) > 1:
            layers += tensor.bytes
            weights += math.prod(tensor.shape)
        else:
            other += tensor.bytes
    return Stored(layers, embeddings, other, weights)


def _safetensors(folder: Path) -> Stored:
    modules: dict[str, int] = defaultdict(int)
    counts: dict[str, int] = {}
    biases = 0
    for file in sorted(folder.glob("*.safetensors")):
        for name, size, shape in tensors(file):
            module, _, kind = name.rpartition(".")
            if kind == "bias":
                biases += size
                continue
            modules[module] += size
            if kind == PACKED:
                counts[module] = math.prod(_unpacked(file, f"{module}.{SHAPE}"))
            elif kind == "weight" and len(shape) > 1:
                counts[module] = math.prod(shape)
    embedded = {m for m in modules if any(part in m for part in EMBEDDINGS)}
    found = {m: n for m, n in counts.items() if m not in embedded}
    return Stored(
        layers=sum(modules[m] for m in found),
        embeddings=sum(modules[m] for m in embedded),
        other=biases
        + sum(n for m, n in modules.items() if m not in found and m not in embedded),
        weights=sum(found.values()),
    )


def tensors(file: Path) -> Iterator[tuple[str, int, tuple[int, ...]]]:
    """Name, bytes and shape of every tensor, as a safetensors file's header states them."""
    for name, entry in header(file).items():
        begin, end = entry["data_offsets"]
        yield name, end - begin, tuple(entry["shape"])


def header(file: Path) -> dict[str, Any]:
    """What a safetensors file says of its tensors, by name."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        found: dict[str, Any] = json.loads(stream.read(length))
    found.pop("__metadata__", None)
    return found


def _unpacked(file: Path, name: str) -> list[int]:
    """The shape that a tensor of this file holds as its values."""
    from safetensors import safe_open

    with safe_open(str(file), framework="numpy") as opened:
        return [int(n) for n in opened.get_tensor(name)]
