"""A folder of transformers' as a GGUF file of 32-bit floats, tensor for tensor."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audits.errors import SpecError
from tasks.models.folder import gguf_file
from tasks.models.gguf_families import BUFFERS, HEADS, Array, Family, family_of
from tasks.models.gguf_tokens import write_vocabulary

INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class Planned:
    """One tensor: where it lies, what both sides call it, and its shape in the file."""

    source: str
    shard: Path
    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """A folder that can be written, and what of it: made from headers, without any weight."""

    folder: Path
    config: Any
    tokenizer: Any
    family: Family
    tensors: tuple[Planned, ...]

    @property
    def bytes(self) -> int:
        """Of the weights as 32-bit floats."""
        return sum(4 * int(np.prod(one.shape)) for one in self.tensors)


def write_gguf(folder: Path, out: Path) -> Path:
    """Write the model and the tokenizer of `folder` into the file `out`; see `plan`."""
    return write(plan(folder), out)


def plan(folder: Path) -> Plan:
    """Look at a folder of safetensors weights of float type and its tokenizer.

    Raises:
        SpecError: an architecture, a configuration or weights that cannot be written as GGUF.
    """
    from tasks.models.load import described

    if gguf_file(folder) is not None:
        raise SpecError(f"{folder}: is a GGUF file already; give the weights it was made of")
    place = folder / "config.json"
    config, tokenizer, _ = described(folder)
    if getattr(config, "quantization_config", None):
        raise SpecError(
            f"{place}: is quantized already; write GGUF of the weights it was made of"
        )
    family = family_of(config, place)
    return Plan(folder, config, tokenizer, family, tuple(_tensors(folder, config, family)))


def write(planned: Plan, out: Path, about: Mapping[str, str | int] | None = None) -> Path:
    """Write a planned file, one tensor in memory at a time.

    Args:
        planned: what to write.
        out: the file.
        about: further keys of the header.

    Raises:
        SpecError: the tokenizer cannot be written as GGUF.
    """
    from safetensors import safe_open

    writer = _begin(planned, out, about or {})
    for one in planned.tensors:
        with safe_open(one.shard, "pt") as stored:  # numpy has no bfloat16
            tensor = stored.get_tensor(one.source).float().numpy()
        writer.write_tensor_data(_converted(one.source, tensor, planned))
    writer.close()
    return out


def outline(planned: Plan, out: Path) -> Path:
    """Write a planned file's header, with a hole of the right size where its weights go."""
    _begin(planned, out, {}).close()
    with out.open("r+b") as stream:
        stream.truncate(out.stat().st_size + planned.bytes + 64 * len(planned.tensors))
    return out


def _begin(planned: Plan, out: Path, about: Mapping[str, str | int]) -> Any:  # noqa: ANN401 - an untyped library
    """A file with its header, ready to take the weights."""
    import gguf

    writer = gguf.GGUFWriter(out, planned.family.name)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    planned.family.describe(writer, planned.config)
    write_vocabulary(writer, planned.tokenizer, int(planned.config.vocab_size), planned.folder)
    for key, value in about.items():
        (writer.add_string if isinstance(value, str) else writer.add_uint32)(key, value)
    for one in planned.tensors:
        n_bytes = 4 * int(np.prod(one.shape))
        writer.add_tensor_info(one.name, one.shape, np.dtype(np.float32), n_bytes)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    return writer


def _tensors(folder: Path, config: Any, family: Family) -> Iterator[Planned]:  # noqa: ANN401
    """What is stored, without what llama.cpp has no place for: buffers, and a tied head."""
    import gguf
    from safetensors import safe_open

    [architecture] = [k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == family.name]
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    tied = HEADS if config.tie_word_embeddings else ()
    for shard in _shards(folder):
        with safe_open(shard, "numpy") as stored:
            for source in stored.keys():  # noqa: SIM118 - the handle is no mapping
                if source.endswith(BUFFERS) or source in tied:
                    continue
                name = names.get_name(source, (".weight", ".bias"))
                if name is None:
                    raise SpecError(
                        f"{shard}: llama.cpp's {family.name} has no tensor like {source}, so "
                        "this model cannot be written as GGUF"
                    )
                shape = tuple(stored.get_slice(source).get_shape())
                turned = source.endswith(family.transposed) if family.transposed else False
                yield Planned(source, shard, name, shape[::-1] if turned else shape)


def _shards(folder: Path) -> list[Path]:
    index = folder / INDEX
    if (folder / "model.safetensors").is_file() or not index.is_file():
        return [folder / "model.safetensors"]
    listed = json.loads(index.read_text("utf-8"))["weight_map"]
    return [folder / name for name in sorted(set(listed.values()))]


def _converted(source: str, tensor: Array, planned: Plan) -> Array:
    family = planned.family
    if family.transposed and source.endswith(family.transposed):
        tensor = tensor.T
    return np.ascontiguousarray(family.reorder(source, tensor, planned.config))
