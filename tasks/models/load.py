"""From a folder or a hub id to a model that can be asked."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from audits.errors import SpecError
from tasks.models.folder import check_folder, is_folder, weights_digest
from tasks.models.hub import fetch

if TYPE_CHECKING:
    from tasks.models.torch_model import TorchModel

Dtype = Literal["float32", "bfloat16"]


def load(
    ref: str | Path,
    *,
    dtype: str = "float32",
    device: str | None = None,
    add_bos: bool | None = None,
) -> "TorchModel":
    """Load a model for scoring and generation, in eval mode.

    Packed weights that compressed-tensors wrote are loaded through transformers; code that
    comes with a model is never run.

    Args:
        ref: folder in Hugging Face layout, or a hub id where the hub can be reached.
        dtype: `float32` or `bfloat16`.
        device: torch device; None takes CUDA where there is one.
        add_bos: whether contexts begin with BOS; None leaves it to the tokenizer.

    Raises:
        SpecError: there is no such model, or it is not one we may load.
    """
    if dtype not in ("float32", "bfloat16"):
        raise SpecError(f"dtype {dtype!r} is not supported; choose float32 or bfloat16")
    import torch

    from tasks.models.quiet import patient_bars
    from tasks.models.torch_model import TorchModel

    folder = locate(ref)
    hf, tokenizer = _load_parts(folder, getattr(torch, dtype))
    # packed layers get their weights when the whole network is first called, not its parts
    with torch.no_grad(), patient_bars():
        hf(torch.zeros((1, 1), dtype=torch.long))
    where = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return TorchModel(
        hf.to(where).eval(), tokenizer, digest=weights_digest(folder), add_bos=add_bos
    )


def locate(ref: str | Path) -> Path:
    """Folder of a model: the path itself, or where its hub files were put; checked.

    Raises:
        SpecError: nothing is there, or it is not a model of safetensors weights.
    """
    if isinstance(ref, str):
        ref = Path(ref).expanduser() if is_folder(ref) else fetch(ref)
    check_folder(ref)
    return ref


def _load_parts(folder: Path, dtype: Any) -> tuple[Any, Any]:  # noqa: ANN401 - torch dtype, untyped
    """The network and its tokenizer; foreign errors become one sentence."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tasks.models.quiet import patient_bars, quiet

    try:
        with quiet(), patient_bars():
            tokenizer = AutoTokenizer.from_pretrained(
                folder, trust_remote_code=False, local_files_only=True
            )
            hf = AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype, use_safetensors=True, trust_remote_code=False,
                local_files_only=True,
            )  # fmt: skip
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        first = str(error).strip().partition("\n")[0]
        raise SpecError(
            f"{folder}: transformers cannot load it as a causal language model ({first}); "
            "check that config, weights and tokenizer belong together"
        ) from error
    return hf, tokenizer
