"""llama.cpp's own quantizer: what it would make of a file, and the file.

Where a row is no multiple of the block of the type it should get, the quantizer writes
another type and says so in a log that nobody reads. A rehearsal over a file's header reads
that log before there are any weights.
"""

import ctypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from audits.errors import SpecError, StageError
from tasks.models.gguf_runtime import library, listening, threads_here

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType

Importance = Mapping[str, npt.NDArray[np.float32]]
"""By tensor, the mean square of each of its inputs."""

SUPERBLOCK = 256
"""Weights of a row that K-quants and IQ types other than IQ4_NL store together."""
_FELL = re.compile(
    r"warning: (\S+)\s+- ncols\s+(\d+) not divisible by\s+(\d+) \(required for type\s+(\S+)\)"
    r".*?-> falling back to\s+(\S+)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Fallback:
    """A tensor that gets another type than asked: its `width` is no multiple of `block`."""

    tensor: str
    width: int
    block: int
    asked: str
    written: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to ask of the quantizer: a file type, and perhaps a type for embedding and head."""

    type: str
    embeddings: str | None = None


def rehearse(
    outline: Path, recipe: Recipe, head: tuple[str, int], *, importance: bool
) -> tuple[Fallback, ...]:
    """What the quantizer would write otherwise than asked, by a file's header alone.

    Args:
        outline: a file with the header of what is to be quantized.
        recipe: what is asked.
        head: the tensor that is the output head, and its width.
        importance: whether there will be importance.

    Raises:
        SpecError: it would not make this type of file.
    """
    ones = {"none": np.ones(1, np.float32)} if importance else None
    log = _run(outline, Path("unwritten"), recipe, ones, rehearsal=True)
    found = [
        Fallback(name, int(width), int(block), asked.upper(), written.upper())
        for name, width, block, asked, written in _FELL.findall(log)
    ]
    name, width = head
    if recipe.embeddings is None and _is_wide(recipe.type) and width % SUPERBLOCK:
        # the one fallback that llama.cpp takes without a word in its log
        found.insert(0, Fallback(name, width, SUPERBLOCK, "Q6_K", "Q8_0"))
    return tuple(found)


def _is_wide(kind: str) -> bool:
    """Whether a file type's own tensor type puts 256 weights into a block."""
    return "_k" in kind or (kind.startswith("iq") and kind != "iq4_nl")


def quantize(whole: Path, out: Path, recipe: Recipe, importance: Importance | None) -> Path:
    """Write `whole`, a file of floats, as `out` in another type.

    Raises:
        StageError: llama.cpp could not; its words are quoted.
    """
    _run(whole, out, recipe, importance, rehearsal=False)
    return out


def block(kind: str) -> int:
    """How many weights of a row share a scale in a tensor type."""
    import gguf

    return int(gguf.GGML_QUANT_SIZES[_tensor_type(kind)][0])


def _run(
    source: Path,
    out: Path,
    recipe: Recipe,
    importance: Importance | None,
    *,
    rehearsal: bool,
) -> str:
    lib = library()
    params = lib.llama_model_quantize_default_params()
    params.ftype = _file_type(recipe.type)
    params.nthread = threads_here()
    params.dry_run = rehearsal
    if recipe.embeddings is not None:
        kind = int(_tensor_type(recipe.embeddings))
        params.output_tensor_type = params.token_embedding_type = kind
    if importance is not None:
        params.imatrix = _weights(lib, importance)
    with listening() as heard:
        code = lib.llama_model_quantize(
            str(source).encode(), str(out).encode(), ctypes.byref(params)
        )
    log = "".join(heard)
    if code:
        said = " ".join(log.split()) or "no reason given"
        what = f"llama.cpp could not make type {recipe.type} ({said:.300})"
        if rehearsal:
            raise SpecError(f"{what}; choose another type")
        raise StageError(f"{source.name}: {what}")
    return log


def _weights(lib: Any, importance: Importance) -> Any:  # noqa: ANN401 - ctypes
    """llama.cpp's list of named arrays, ended by one without a name; it copies them."""
    rows = (lib.llama_model_imatrix_data * (len(importance) + 1))()
    for row, (name, values) in zip(rows, importance.items(), strict=False):
        row.name = name.encode()
        row.data = (ctypes.c_float * len(values))(*values.tolist())
        row.size = len(values)
    return rows


def _file_type(name: str) -> int:
    import gguf

    known = {
        one.name.removeprefix("MOSTLY_").removeprefix("ALL_"): int(one)
        for one in gguf.LlamaFileType
    }
    return known[name.upper()]


def _tensor_type(name: str) -> "GGMLQuantizationType":
    import gguf

    return gguf.GGMLQuantizationType[name.upper()]
