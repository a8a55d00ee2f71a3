"""Is this GGUF file whole, and what does it say of itself?

Read with the `gguf` library before llama.cpp opens the file, for llama.cpp ends the process
at some of what a damaged or hostile header can say. Nothing here imports llama.cpp.
"""

import importlib.util
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from audits.errors import SpecError

if TYPE_CHECKING:
    from gguf import GGUFReader

INSTALL = "pip install -e '.[gguf]'"
AGAIN = "copy it again from where it came from"


@dataclass(frozen=True, slots=True)
class Header:
    """What a GGUF file states: architecture, quantization, vocabulary.

    `types` holds the share of weights stored in each type, largest first: a quantizer falls
    back to other types without a word where rows do not fit, and the file type does not say.
    Where no `pretokenizer` is stated, llama.cpp splits words in a way of its own; SentencePiece
    splits none before it merges.
    """

    file: Path
    architecture: str
    file_type: str
    types: Mapping[str, float]
    pretokenizer: str
    bos: int | None
    eos: int | None
    chat_template: str | None


def read(file: Path) -> Header:
    """Check a file's structure and read its header.

    Raises:
        SpecError: it is no GGUF file, is cut short or damaged, holds no model of its own
            (a vocabulary, a part of several), or the extra is not installed.
    """
    reader = _reader(file)
    for tensor in reader.tensors:
        if tensor.data_offset + tensor.n_bytes > file.stat().st_size:
            raise SpecError(
                f"{file}: is cut short: tensor {tensor.name} ends at byte "
                f"{tensor.data_offset + tensor.n_bytes} of {file.stat().st_size}; {AGAIN}"
            )
    fields = _Fields(file, reader)
    architecture = fields.text("general.architecture")
    if architecture is None:
        raise SpecError(f"{file}: states no general.architecture; {AGAIN}")
    _require_model(file, reader, fields, architecture)
    _require_sound(file, reader, fields, architecture)
    return Header(
        file=file,
        architecture=architecture,
        file_type=_file_type(fields.number("general.file_type")),
        types=_shares(reader),
        pretokenizer=_pretokenizer(fields),
        bos=_special(file, fields, "bos"),
        eos=_special(file, fields, "eos"),
        chat_template=fields.text("tokenizer.chat_template"),
    )


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a file: its name, type and bytes, scales included."""

    name: str
    type: str
    bytes: int
    shape: tuple[int, ...]


def tensors(file: Path) -> tuple[Tensor, ...]:
    """The table of a file's tensors, in their order.

    Raises:
        SpecError: it is no GGUF file or damaged, or the extra is not installed.
    """
    return tuple(
        Tensor(one.name, one.tensor_type.name, int(one.n_bytes), tuple(one.shape.tolist()))
        for one in _reader(file).tensors
    )


def runner_version() -> str:
    """Version of llama-cpp-python, which fixes that of llama.cpp.

    Raises:
        SpecError: it is not installed.
    """
    try:
        return metadata.version("llama-cpp-python")
    except metadata.PackageNotFoundError as error:
        raise SpecError(
            f"GGUF files need llama-cpp-python, which is not installed; `{INSTALL}`"
        ) from error


def require_runner() -> None:
    """Raise SpecError unless GGUF files can be written and run here; loads neither library."""
    runner_version()
    if importlib.util.find_spec("gguf") is None:
        raise SpecError(
            f"GGUF files need the library gguf, which is not installed; `{INSTALL}`"
        )


def _reader(file: Path) -> "GGUFReader":
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise SpecError(
            f"{file}: GGUF files need an extra that is not installed; `{INSTALL}`"
        ) from error
    if not file.is_file():
        raise SpecError(f"{file}: there is no such file; give the path of a GGUF file")
    with file.open("rb") as stream:
        magic = stream.read(4)
    if magic != b"GGUF":
        raise SpecError(f"{file}: begins with {magic!r}, not b'GGUF': it is no GGUF file")

    class Bounded(GGUFReader):  # type: ignore[misc]  # the library is not followed
        """The reader, which alone counts to a billion behind the end of a file."""

        def _get(self, offset: int, dtype: object, count: int = 1, **more: object) -> object:
            found = super()._get(offset, dtype, count, **more)
            if len(found) < count:
                raise ValueError(f"nothing follows byte {self.data.nbytes}")
            return found

    try:
        return Bounded(file)
    except Exception as error:
        # whatever its arithmetic on a damaged header raises: the file is at fault
        words = " ".join(str(error).split()) or type(error).__name__
        raise SpecError(
            f"{file}: its header cannot be read ({words:.150}): it is cut short or damaged; "
            f"{AGAIN}"
        ) from error


class _Fields:
    """Values of a header, each of the type that it must have."""

    def __init__(self, file: Path, reader: "GGUFReader") -> None:
        self._file, self._reader = file, reader

    def text(self, key: str) -> str | None:
        found = self._value(key, str)
        return found if isinstance(found, str) else None

    def number(self, key: str) -> int | None:
        found = self._value(key, int)
        return found if isinstance(found, int) else None

    def flag(self, key: str) -> bool | None:
        found = self._value(key, bool)
        return found if isinstance(found, bool) else None

    def count(self, key: str) -> int:
        """Number of elements of an array; 0 where there is none."""
        field = self._reader.fields.get(key)
        return len(field.data) if field else 0

    def _value(self, key: str, kind: type) -> object:
        field = self._reader.fields.get(key)
        if field is None:
            return None
        found = field.contents()
        if not isinstance(found, kind):
            raise SpecError(
                f"{self._file}: {key} is {found!r:.40}, which is no {kind.__name__}; {AGAIN}"
            )
        return found


def _require_model(
    file: Path, reader: "GGUFReader", fields: _Fields, architecture: str
) -> None:
    """Refuse what is no whole causal language model, by what the header says of it."""
    kind = fields.text("general.type") or "model"
    if kind != "model":
        raise SpecError(f"{file}: holds a GGUF {kind}, not a model; give the model's file")
    if (parts := fields.number("split.count") or 1) > 1:
        raise SpecError(
            f"{file}: is one of {parts} parts; join them with `llama-gguf-split --merge` and "
            "give the one file"
        )
    if not reader.tensors:
        raise SpecError(
            f"{file}: holds a vocabulary and no weights; give the file of a whole model"
        )
    if fields.flag(f"{architecture}.attention.causal") is False:
        raise SpecError(
            f"{file}: holds an encoder ({architecture}), which cannot continue a text; give a "
            "causal language model"
        )
    if not fields.count("tokenizer.ggml.tokens"):
        raise SpecError(
            f"{file}: holds no vocabulary (tokenizer.ggml.tokens); convert the model again, "
            "with its tokenizer"
        )


def _require_sound(
    file: Path, reader: "GGUFReader", fields: _Fields, architecture: str
) -> None:
    """Refuse what llama.cpp asserts, for a failed assertion of its ends the process."""
    key = f"{architecture}.block_count"
    blocks, most = fields.number(key), len(reader.tensors)
    if blocks is not None and not 0 < blocks <= most:
        raise SpecError(f"{file}: {key} is {blocks}, with {most} tensors; {AGAIN}")
    for name, field in reader.fields.items():
        value = field.contents() if len(field.types) == 1 else None
        if isinstance(value, float) and not 0 <= value < math.inf and "epsilon" in name:
            raise SpecError(f"{file}: {name} is {value}, which is no epsilon; {AGAIN}")
    tokens = reader.fields["tokenizer.ggml.tokens"]
    # llama.cpp reads a token up to its first NUL
    different = len({tokens.parts[at].tobytes().split(b"\0")[0] for at in tokens.data})
    if different < len(tokens.data):
        raise SpecError(
            f"{file}: {len(tokens.data) - different} of its {len(tokens.data)} tokens are "
            f"equal to others; {AGAIN}"
        )


def _pretokenizer(fields: _Fields) -> str:
    if fields.text("tokenizer.ggml.model") == "llama":
        return "none (SentencePiece)"
    return fields.text("tokenizer.ggml.pre") or "none stated"


def _special(file: Path, fields: _Fields, role: str) -> int | None:
    """A special token that the file names; llama.cpp would take its own where it names none."""
    key = f"tokenizer.ggml.{role}_token_id"
    token, size = fields.number(key), fields.count("tokenizer.ggml.tokens")
    if token is not None and not 0 <= token < size:
        raise SpecError(f"{file}: {key} is {token}, but there are {size} tokens; {AGAIN}")
    return token


def _file_type(number: int | None) -> str:
    from gguf import LlamaFileType

    try:
        name = str(LlamaFileType(-1 if number is None else number).name)
    except ValueError:
        return "unknown"
    return name.removeprefix("MOSTLY_").removeprefix("ALL_")


def _shares(reader: "GGUFReader") -> dict[str, float]:
    weights: Counter[str] = Counter()
    for tensor in reader.tensors:
        weights[tensor.tensor_type.name] += tensor.n_elements
    total = sum(weights.values())
    return {name: count / total for name, count in weights.most_common()}
