"""From a folder or a hub id to a model that can be asked."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audits.errors import AssayError, SpecError
from registry.looking import plural
from tasks.models.asked import Loaded
from tasks.models.borrowing import settled
from tasks.models.folder import (
    check_folder,
    gguf_file,
    is_folder,
    tokenizer_file,
    weights_digest,
)
from tasks.models.hub import fetch

if TYPE_CHECKING:
    from tasks.models.masked import MaskedModel
    from tasks.models.torch_model import TorchModel

SHOWN = 3
"""Tensors that a refusal names."""
CORRECT = "correct it, or copy the whole model again"


def load(
    ref: str | Path,
    *,
    dtype: str = "float32",
    device: str | None = None,
    add_bos: bool | None = None,
) -> Loaded:
    """Load a model for scoring and generation, in eval mode.

    An encoder with a masked language head becomes a `MaskedModel`, which only scores.
    Packed weights that compressed-tensors wrote are loaded through transformers; code that
    comes with a model is never run. A GGUF file is run by llama.cpp: its weights keep
    their types, and `dtype` is that of the key-value cache. A folder that stands for a
    model of lm-eval's gives that model. What else a model can do beside answering as a
    `LanguageModel` is asked of it by the protocols of `tasks.models.asked`.

    Args:
        ref: folder in Hugging Face layout, a GGUF file, or a hub id where the hub can be
            reached.
        dtype: `float32` or `bfloat16`.
        device: torch device; None takes CUDA where there is one.
        add_bos: whether contexts begin with BOS; None leaves it to the tokenizer.

    Raises:
        SpecError: there is no such model, or it is not one we may load.
    """
    if dtype not in ("float32", "bfloat16"):
        raise SpecError(f"dtype {dtype!r} is not supported; choose float32 or bfloat16")
    if (borrowed := settled(Path(ref))) is not None:
        from tasks.models.borrowed import open_borrowed

        return open_borrowed(borrowed, dtype)
    found = locate(ref)
    if (file := gguf_file(found)) is not None:
        from tasks.models.gguf_model import load_gguf

        return load_gguf(file, dtype=dtype, device=device, add_bos=add_bos)
    return load_torch(found, dtype=dtype, device=device, add_bos=add_bos)


def load_torch(
    folder: Path,
    *,
    dtype: str = "float32",
    device: str | None = None,
    add_bos: bool | None = None,
) -> "TorchModel | MaskedModel":
    """Load a checked folder of safetensors weights; see `load`."""
    import torch

    from tasks.models.masked import MaskedModel
    from tasks.models.torch_model import TorchModel

    config, tokenizer, masked = described(folder)
    hf = _network(folder, config, getattr(torch, dtype), masked=masked)
    _require_room(folder, tokenizer, hf)
    where = device or ("cuda" if torch.cuda.is_available() else "cpu")
    hf, digest = hf.to(where).eval(), weights_digest(folder)
    if masked:
        return MaskedModel(hf, tokenizer, digest=digest)
    return TorchModel(hf, tokenizer, digest=digest, add_bos=add_bos)


def locate(ref: str | Path) -> Path:
    """Folder or GGUF file of a model: the path itself, or where its hub files were put.

    Raises:
        SpecError: nothing is there, or it is not a model we may load.
    """
    if isinstance(ref, str):
        ref = Path(ref).expanduser() if is_folder(ref) else fetch(ref)
    check_folder(ref)
    return ref


def described(folder: Path) -> tuple[Any, Any, bool]:
    """A folder's configuration and tokenizer, and whether it is of a masked model.

    Raises:
        SpecError: they cannot be read.
    """
    config, masked = configured(folder)
    return config, _tokenizer(folder), masked


def configured(folder: Path) -> tuple[Any, bool]:
    """A folder's configuration, and whether it is of a masked model.

    Raises:
        SpecError: it cannot be read, or is of no language model.
    """
    from transformers import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_MASKED_LM_MAPPING,
        AutoConfig,
    )

    from tasks.models.quiet import quiet

    file = folder / "config.json"
    with quiet(), said(file, "no model can be configured by it", CORRECT):
        found = AutoConfig.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    known = (MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING)
    if not any(type(found) in families for families in known):  # to list them imports them all
        raise SpecError(
            f"{file}: model_type {found.model_type!r} is no causal language model that "
            "transformers knows, nor a masked one; give another model"
        )
    return found, _is_masked(found)


def _is_masked(config: Any) -> bool:  # noqa: ANN401 - an untyped library object
    """Whether the weights are those of a masked language model.

    Some families come in both forms; then the class they were saved with says which.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    if type(config) not in MODEL_FOR_MASKED_LM_MAPPING:
        return False
    named = any("ForMaskedLM" in str(name) for name in config.architectures or ())
    return named or type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING


def _network(folder: Path, config: Any, dtype: Any, *, masked: bool) -> Any:  # noqa: ANN401 - untyped library objects
    """The network, with every weight from the folder.

    Raises:
        SpecError: configuration and weights make no language model of this kind.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    from tasks.models.quiet import patient_bars, quiet

    file = folder / "config.json"
    kind, auto = (
        ("masked", AutoModelForMaskedLM) if masked else ("causal", AutoModelForCausalLM)
    )
    with (
        quiet(),
        patient_bars(),
        said(file, f"no {kind} language model can be made of it", CORRECT),
    ):
        hf, report = auto.from_pretrained(
            folder, config=config, dtype=dtype, use_safetensors=True, trust_remote_code=False,
            local_files_only=True, output_loading_info=True, ignore_mismatched_sizes=True,
        )  # fmt: skip
    _require_whole(folder, report)
    with (
        quiet(),
        patient_bars(),
        torch.no_grad(),
        said(file, "the network it describes cannot be run", CORRECT),
    ):
        # packed layers get their weights when the whole network is first called, not its parts
        first, other = hf(torch.tensor([[0, 0], [0, 1]])).logits[:, 0].float()
    if masked:
        _require_masked(file, first, other)
    else:
        _require_causal(file, first, other, 1e-3 if dtype == torch.float32 else 5e-2)
    return hf


def _tokenizer(folder: Path) -> Any:  # noqa: ANN401 - an untyped library object
    from transformers import AutoTokenizer

    from tasks.models.quiet import quiet

    remedy = "copy it again from where the model came from"
    with (
        quiet(),
        said(tokenizer_file(folder), "is no tokenizer that transformers can load", remedy),
    ):
        return AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )


def _require_room(folder: Path, tokenizer: Any, hf: Any) -> None:  # noqa: ANN401 - untyped library objects
    """Refuse a tokenizer whose tokens the network has no rows for."""
    rows = hf.get_input_embeddings().weight.shape[0]
    if tokenizer.vocab_size > rows:
        raise SpecError(
            f"{tokenizer_file(folder)}: has {tokenizer.vocab_size} tokens where the network "
            f"knows {rows}; give the tokenizer that the model was trained with"
        )


@contextmanager
def said(file: Path, what: str, remedy: str) -> Iterator[None]:
    """Say what a library could not make of a file in one sentence.

    A broken configuration ends in whatever its arithmetic raises (a division by zero, an
    index, a validation of another package), so every error here is the file's.
    """
    try:
        yield
    except (AssayError, MemoryError):
        raise
    except Exception as error:
        words = " ".join(str(error).split()) or "no reason given"
        kind = type(error).__name__
        raise SpecError(f"{file}: {what} ({kind}: {words:.200}); {remedy}") from error


def _require_whole(folder: Path, report: Mapping[str, Any]) -> None:
    """Refuse weights that do not fit the configuration; transformers would draw new ones."""
    odd = {
        "missing": sorted(map(str, report["missing_keys"])),
        "of another shape": sorted(str(key[0]) for key in report["mismatched_keys"]),
        "unexpected": sorted(map(str, report["unexpected_keys"])),
    }
    why = " and ".join(_counted(names, what) for what, names in odd.items() if names)
    if why:
        raise SpecError(
            f"{folder}: config.json and the weights are not of one model: {why}; copy the "
            "whole model again, config.json with its weights"
        )


def _counted(names: Sequence[str], what: str) -> str:
    more = ", …" if len(names) > SHOWN else ""
    verb = "is" if len(names) == 1 else "are"
    return f"{plural(len(names), 'tensor')} {verb} {what} ({', '.join(names[:SHOWN])}{more})"


def _require_causal(file: Path, first: Any, other: Any, tolerance: float) -> None:  # noqa: ANN401 - tensors
    """Refuse a network whose word on a position changes with what comes after it."""
    moved = float((first - other).abs().max())
    if moved > tolerance * max(1.0, float(first.abs().max())):
        raise SpecError(
            f"{file}: describes no causal language model: what it says of a word depends on "
            "the word after; give a decoder, saved with its ForCausalLM class"
        )


def _require_masked(file: Path, first: Any, other: Any) -> None:  # noqa: ANN401 - tensors
    """Refuse a network whose word on a position never changes with what comes after it."""
    if bool((first == other).all()):
        raise SpecError(
            f"{file}: describes no masked language model: what it says of a word does not "
            "depend on the word after; give an encoder, saved with its ForMaskedLM class"
        )
