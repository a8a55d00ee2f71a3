"""A twin of a model that learned nothing: the same shape and tokenizer, random weights."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from audits.errors import SpecError
from tasks.models.borrowing import settled
from tasks.models.folder import gguf_file, tokenizer_file
from tasks.models.load import described

if TYPE_CHECKING:
    from tasks.models.masked import MaskedModel
    from tasks.models.torch_model import TorchModel

_TRACES = frozenset(
    {"_name_or_path", "transformers_version", "torch_dtype", "dtype", "quantization_config"}
)
"""What a configuration says of its weights, of which a twin has none."""


def untrained(folder: Path, seed: int) -> "TorchModel | MaskedModel":
    """A network drawn anew from a folder's configuration, in float32, with its tokenizer.

    Equal configurations and seeds give equal weights, whatever was trained or compressed: a
    packed variant has the same twin as its parent.

    Raises:
        SpecError: the model is no folder of transformers', so nothing says how to draw another.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    from tasks.models.masked import MaskedModel
    from tasks.models.torch_model import TorchModel

    if settled(folder) is not None or gguf_file(folder) is not None:
        raise SpecError(
            f"{folder}: no untrained twin can be drawn of it, for it has no configuration of "
            "transformers'; ask the model folder it was made from"
        )
    config, tokenizer, masked = described(folder)
    for name in ("quantization_config", "compression_config"):
        if hasattr(config, name):
            delattr(config, name)
    auto = AutoModelForMaskedLM if masked else AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        hf = auto.from_config(config, dtype=torch.float32)
    hf = hf.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    digest = _digest(folder, seed)
    if masked:
        return MaskedModel(hf, tokenizer, digest=digest)
    return TorchModel(hf, tokenizer, digest=digest)


def _digest(folder: Path, seed: int) -> str:
    """Identity of a twin: what it is drawn from, and the seed."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    shape = {k: v for k, v in config.items() if k not in _TRACES}
    drawn = hashlib.sha256(json.dumps([seed, shape], sort_keys=True).encode())
    drawn.update(tokenizer_file(folder).read_bytes())
    return f"untrained-{drawn.hexdigest()}"
