"""How does llama.cpp lay out what transformers calls a Llama, a GPT-2, a GPT-NeoX or a Qwen?

What llama.cpp's own converter writes: its keys and its order of rows. A Llama's rotary pairs
stand side by side there and half a head apart in transformers, so rows of its query and key
matrices change places; GPT-2's layers lie transposed; GPT-NeoX's fused queries, keys and
values go by head there and by kind here. Columns (what a layer reads) never move, so what is
measured of a layer's inputs holds for the file too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from audits.errors import SpecError

Array = npt.NDArray[np.float32]

BUFFERS = (".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias",
           ".rotary_emb.inv_freq")  # fmt: skip
"""What older folders store beside the weights: masks and angles that follow from the shape."""
HEADS = ("lm_head.weight", "embed_out.weight")


@dataclass(frozen=True, slots=True)
class Family:
    """One architecture: llama.cpp's name for it, and how its description and weights go over.

    `needs` are values of the configuration that llama.cpp takes for granted; one of several
    stand in a tuple. `transposed` ends the names of weights that are stored (in, out).
    """

    name: str
    describe: Callable[[Any, Any], None]
    reorder: Callable[[str, Array, Any], Array]
    needs: Mapping[str, tuple[object, ...]]
    transposed: tuple[str, ...] = field(default=())
    tolerance: float = 1e-4
    """Largest difference of a log-probability from transformers', per largest one."""


def family_of(config: Any, place: object) -> Family:  # noqa: ANN401 - transformers' configuration
    """The family of a configuration.

    Args:
        config: transformers' configuration of a model.
        place: the file it was read from.

    Raises:
        SpecError: how llama.cpp has it is not known here, or it asks for something that
            llama.cpp would compute otherwise.
    """
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise SpecError(
            f"{place}: model_type {config.model_type!r} cannot be written as GGUF; those that "
            f"can are {', '.join(FAMILIES)}"
        )
    for name, accepted in family.needs.items():
        found = _value(config, name)
        if found not in accepted:
            known = " or ".join(repr(one) for one in accepted)
            raise SpecError(
                f"{place}: {name} is {found!r}; llama.cpp computes {config.model_type} with "
                f"{known} alone, so this model cannot be written as GGUF"
            )
    return family


def _value(config: Any, name: str) -> object:  # noqa: ANN401 - transformers' configuration
    """A field of a configuration, by dots a field of a field; None where there is none."""
    outer, _, inner = name.partition(".")
    found = getattr(config, outer, None)
    return (found or {}).get(inner) if inner else found


def _describe(writer: Any, config: Any) -> None:  # noqa: ANN401 - untyped libraries
    """What every architecture says of itself."""
    width, heads = config.hidden_size, config.num_attention_heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(width)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(getattr(config, "intermediate_size", None) or _inner(config))
    writer.add_head_count(heads)
    writer.add_head_count_kv(_shared(config))
    writer.add_vocab_size(config.vocab_size)


def _inner(config: Any) -> int:  # noqa: ANN401
    return int(getattr(config, "n_inner", None) or 4 * config.hidden_size)


def _shared(config: Any) -> int:  # noqa: ANN401
    return int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)


def _head_size(config: Any) -> int:  # noqa: ANN401
    own = getattr(config, "head_dim", None)
    return int(own or config.hidden_size // config.num_attention_heads)


def _describe_llama(writer: Any, config: Any) -> None:  # noqa: ANN401
    """A Llama or a Qwen: heads are rotated whole and may have a size of their own."""
    _describe(writer, config)
    size = _head_size(config)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_dimension_count(size)
    writer.add_rope_freq_base(float(config.rope_parameters["rope_theta"]))


def _describe_gpt2(writer: Any, config: Any) -> None:  # noqa: ANN401
    _describe(writer, config)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)


def _describe_neox(writer: Any, config: Any) -> None:  # noqa: ANN401
    _describe(writer, config)
    rope = config.rope_parameters
    writer.add_layer_norm_eps(config.layer_norm_eps)
    writer.add_parallel_residual(config.use_parallel_residual)
    writer.add_rope_dimension_count(int(rope["partial_rotary_factor"] * _head_size(config)))
    writer.add_rope_freq_base(float(rope["rope_theta"]))


def _as_it_is(_name: str, tensor: Array, _config: Any) -> Array:  # noqa: ANN401
    return tensor


def _neighbours(name: str, tensor: Array, config: Any) -> Array:  # noqa: ANN401
    """Reorder queries and keys, so that rotary pairs (i, i + d/2) stand side by side."""
    if ".q_proj." in name:
        heads = config.num_attention_heads
    elif ".k_proj." in name:
        heads = _shared(config)
    else:
        return tensor
    size = tensor.shape[0] // heads // 2
    split = tensor.reshape(heads, 2, size, *tensor.shape[1:])
    return np.ascontiguousarray(split.swapaxes(1, 2).reshape(tensor.shape))


def _by_kind(name: str, tensor: Array, config: Any) -> Array:  # noqa: ANN401
    """Reorder fused rows from (head, kind) to (kind, head)."""
    if ".query_key_value." not in name:
        return tensor
    split = tensor.reshape(config.num_attention_heads, 3, _head_size(config), -1)
    return np.ascontiguousarray(split.swapaxes(0, 1).reshape(tensor.shape))


GELU = 1e-2
"""llama.cpp looks GELU up in a table of 16-bit floats; SiLU it computes in 32 bits."""
ROPE: Mapping[str, tuple[object, ...]] = {"rope_parameters.rope_type": ("default",)}
QWEN: Mapping[str, tuple[object, ...]] = {
    **ROPE, "hidden_act": ("silu",), "use_sliding_window": (False,),
}  # fmt: skip
FAMILIES: Mapping[str, Family] = {
    "llama": Family("llama", _describe_llama, _neighbours, {**ROPE, "hidden_act": ("silu",)}),
    "gpt2": Family(
        "gpt2",
        _describe_gpt2,
        _as_it_is,
        {
            "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
            "add_cross_attention": (False,),
        },
        transposed=(".c_attn.weight", ".c_proj.weight", ".c_fc.weight"),
        tolerance=GELU,
    ),
    "gpt_neox": Family(
        "gptneox",
        _describe_neox,
        _by_kind,
        {
            **ROPE,
            # llama.cpp has the tanh form alone, which is within 5e-4 of the exact one
            "hidden_act": ("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh"),
            "attention_bias": (True,),
            "tie_word_embeddings": (False,),
        },
        tolerance=GELU,
    ),
    "qwen2": Family("qwen2", _describe_llama, _as_it_is, QWEN),
    "qwen3": Family("qwen3", _describe_llama, _as_it_is, QWEN),
}
"""By transformers' `model_type`. SmolLM is a Llama whose head is its embedding."""
