"""What can be told of a model by its shapes alone? A network without weights, and its folder.

An outline lies on torch's meta device: its layers have names and shapes, it takes no memory
and nothing can be computed with it. Its folder is one of transformers' whose weight file is
a header and a hole: whatever reads shapes takes it for the model's own.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.models.load import CORRECT, configured, said

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def outline(folder: Path) -> "PreTrainedModel":
    """The network that a folder's configuration describes, in eval mode; reads no weight.

    Raises:
        SpecError: the configuration describes no language model.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    from tasks.models.quiet import quiet

    config, masked = configured(folder)
    auto = AutoModelForMaskedLM if masked else AutoModelForCausalLM
    what = f"no {'masked' if masked else 'causal'} language model can be made of it"
    with quiet(), said(folder / "config.json", what, CORRECT), torch.device("meta"):
        made: PreTrainedModel = auto.from_config(config, dtype=torch.float32).eval()
    return made


def write_outline(model: "PreTrainedModel", folder: Path) -> None:
    """Write configuration and shapes of an outline as a folder that `outline` reads again.

    The file of weights has its full length and takes no room where the disk knows holes.
    """
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    table: dict[str, object] = {}
    end = 0
    for name, tensor in _stored(model).items():
        begin, end = end, end + 4 * tensor.numel()
        table[name] = {
            "dtype": "F32", "shape": list(tensor.shape), "data_offsets": [begin, end],
        }  # fmt: skip
    header = json.dumps(table).encode()
    with (folder / "model.safetensors").open("wb") as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        stream.truncate(8 + len(header) + end)


def probe(model: "PreTrainedModel") -> "Mapping[str, torch.Tensor] | None":
    """Two tokens that a model can be run on; None for an outline whose family cannot be.

    An outline is run with its mask of attention given: to make one, values are looked at.
    """
    import torch

    if is_outline(model):
        return _probe(model)
    return {"input_ids": torch.zeros(1, 2, dtype=torch.long, device=model.device)}


def is_outline(model: "PreTrainedModel") -> bool:
    """Whether a model has shapes and no weights."""
    return bool(model.device.type == "meta")


@lru_cache(maxsize=8)  # of outlines, which hold no weights
def _probe(model: "PreTrainedModel") -> "Mapping[str, torch.Tensor] | None":
    import torch

    ids = torch.zeros(1, 2, dtype=torch.long, device=model.device)
    mask = torch.zeros(1, 1, 2, 2, device=model.device)
    for batch in ({"input_ids": ids, "attention_mask": mask}, {"input_ids": ids}):
        if _runs(model, batch):
            return batch
    return None


def _runs(model: "PreTrainedModel", batch: "Mapping[str, torch.Tensor]") -> bool:
    import torch

    with torch.no_grad():
        try:
            model(**batch, use_cache=False)
        except Exception:  # noqa: BLE001 - families look at values in ways of their own
            return False
    return True


def _stored(model: "PreTrainedModel") -> "Mapping[str, torch.Tensor]":
    """The tensors that a file of weights holds, tied ones once, by their names in the file."""
    from transformers.core_model_loading import revert_weight_conversion

    kept = model.state_dict().keys()
    buffers = {name: tensor for name, tensor in model.named_buffers() if name in kept}
    found: dict[str, torch.Tensor] = revert_weight_conversion(
        model, dict(model.named_parameters()) | buffers
    )
    return found
