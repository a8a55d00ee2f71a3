"""Where a block's heads and neurons lie: which rows write them, which columns read them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from audits.errors import SpecError
from tasks.compress.blocks import blocks_of, linears_of, weight_of

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
WIDTHS = ("intermediate_size", "n_inner", "ffn_dim")
"""What configs call the width of the feed-forward network."""


@dataclass(frozen=True, slots=True)
class Units:
    """Parts of one layer's input that can go, `n` of them of which `keep` stay.

    The reader's input is `n` units of `heads` vectors of `size` numbers: a neuron is one
    vector of one number. `writers` are the layers that make it, with the rows each unit has.
    """

    reader: str
    writers: Mapping[str, int]
    n: int
    heads: int
    size: int
    keep: int


def neurons(model: "PreTrainedModel", keep: int) -> tuple[list[Units], dict[str, object]]:
    """The neurons of every block, and what the config says once `keep` are left.

    Raises:
        SpecError: Fewer are there, or the blocks have no plain feed-forward network.
    """
    layers = linears_of(model)
    found = []
    for prefix in blocks_of(model):
        inside = [name for name in layers if name.startswith(f"{prefix}.mlp.")]
        *up, down = inside or [""]
        n = weight_of(layers[down]).shape[1] if down else 0
        if not up or any(weight_of(layers[name]).shape[0] != n for name in up):
            raise SpecError(_none(model, "feed-forward neurons"))
        _require_there(keep, n, f"feed_forward of {prefix}")
        found.append(Units(down, dict.fromkeys(up, 1), n, 1, 1, keep))
    field = next((name for name in WIDTHS if hasattr(model.config, name)), "")
    if not field:
        raise SpecError(_none(model, "feed-forward neurons"))
    return found, {field: keep}


def groups(model: "PreTrainedModel", keep: int) -> tuple[list[Units], dict[str, object]]:
    """The heads of every block, those that share keys and values as one unit.

    Raises:
        SpecError: Fewer are there, `keep` tears a group, or queries, keys and values are not
            layers of their own.
    """
    layers = linears_of(model)
    queries, shared = _heads(model)
    _require_there(keep, queries, "heads")
    together = queries // shared
    if keep % together:
        raise SpecError(
            f"heads {keep}: {together} query heads share their keys and values; keep a "
            f"multiple of {together}"
        )
    found, size = [], 0
    for prefix in blocks_of(model):
        names = _attention(layers, prefix)
        if len(names) < len(ATTENTION):
            raise SpecError(_none(model, "attention heads"))
        q, k, v, o = names
        size = weight_of(layers[q]).shape[0] // queries
        writers = {q: size * together, k: size, v: size}
        found.append(Units(o, writers, shared, together, size, keep // together))
    counts: dict[str, object] = {"head_dim": size, "num_key_value_heads": keep // together}
    return found, {"num_attention_heads": keep, **counts}


def _heads(model: "PreTrainedModel") -> tuple[int, int]:
    """Query heads, and key-value heads."""
    queries = getattr(model.config, "num_attention_heads", None)
    shared = getattr(model.config, "num_key_value_heads", None) or queries
    if not isinstance(queries, int) or not isinstance(shared, int):
        raise SpecError(_none(model, "attention heads"))
    return queries, shared


def _attention(layers: "Mapping[str, torch.nn.Module]", prefix: str) -> list[str]:
    return [
        name
        for part in ATTENTION
        for name in layers
        if name.startswith(prefix + ".") and name.endswith("." + part)
    ]


def _require_there(keep: int, n: int, what: str) -> None:
    if keep > n:
        raise SpecError(f"{what}: {keep} are to be kept where {n} are; keep at most {n}")


def _none(model: "PreTrainedModel", what: str) -> str:
    return (
        f"model type {model.config.model_type!r} has no {what} that can be told apart: that "
        "takes queries, keys, values and output, or up and down, as layers of their own; "
        "shrink something else, or choose another model"
    )
