"""A Llama in Hugging Face layout as a GGUF file of 32-bit floats, tensor for tensor.

What llama.cpp's own converter writes for the same folder: its names (`gguf`'s tensor name
map) and its order of rotary pairs. llama.cpp turns neighbouring dimensions, transformers
turns each with the one half a head away, so rows of the query and key matrices change
places.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audits.errors import SpecError

Array = npt.NDArray[np.float32]


def write_gguf(folder: Path, out: Path) -> Path:
    """Write the model and the tokenizer of `folder` into the file `out`.

    Args:
        folder: a Llama with `model.safetensors` and a byte-level BPE `tokenizer.json` that
            splits words as GPT-2 does.
        out: the file to write.

    Raises:
        SpecError: another architecture or tokenizer.
    """
    import gguf

    config = json.loads((folder / "config.json").read_text("utf-8"))
    if config["model_type"] != "llama":
        raise SpecError(
            f"{folder / 'config.json'}: model_type is {config['model_type']!r}; only 'llama' "
            "can be written as GGUF"
        )
    writer = gguf.GGUFWriter(out, "llama")
    _write_shape(writer, config)
    _write_vocabulary(writer, folder, int(config["vocab_size"]))
    _write_tensors(writer, folder / "model.safetensors", config)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def _write_shape(writer: Any, config: dict[str, Any]) -> None:  # noqa: ANN401 - an untyped library
    import gguf

    heads, width = config["num_attention_heads"], config["hidden_size"]
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(width)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config.get("head_dim") or width // heads)
    writer.add_rope_freq_base(_rope_base(config))
    writer.add_vocab_size(config["vocab_size"])


def _rope_base(config: dict[str, Any]) -> float:
    rope = config.get("rope_parameters") or {}
    if rope.get("rope_type", "default") != "default":
        raise SpecError(
            f"rope_type is {rope['rope_type']!r}; only 'default' can be written as GGUF"
        )
    return float(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0)


def _write_vocabulary(writer: Any, folder: Path, rows: int) -> None:  # noqa: ANN401
    """Tokens in the order of their ids; rows that no token has are marked unused."""
    import gguf

    file = folder / "tokenizer.json"
    stored = json.loads(file.read_text("utf-8"))
    model, added = stored["model"], stored["added_tokens"]
    if model["type"] != "BPE" or not _splits_as_gpt2(stored["pre_tokenizer"]):
        raise SpecError(
            f"{file}: only byte-level BPE that splits words as GPT-2 does can be written as "
            "GGUF"
        )
    text = {at: token for token, at in model["vocab"].items()}
    text |= {token["id"]: token["content"] for token in added}
    kind = {
        token["id"]: gguf.TokenType.CONTROL if token["special"] else gguf.TokenType.USER_DEFINED
        for token in added
    }
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([text.get(at, f"[unused {at}]") for at in range(rows)])
    absent = gguf.TokenType.UNUSED
    writer.add_token_types(
        [kind.get(at, gguf.TokenType.NORMAL if at in text else absent) for at in range(rows)]
    )
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in model["merges"]])
    _write_special(writer, folder, stored, {t["content"]: t["id"] for t in added})


def _splits_as_gpt2(pre: dict[str, Any] | None) -> bool:
    wanted = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    return pre is not None and wanted.items() <= pre.items()


def _write_special(
    writer: Any,  # noqa: ANN401 - an untyped library
    folder: Path,
    stored: dict[str, Any],
    ids: dict[str, int],
) -> None:
    settings = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    named = {role: _content(settings.get(f"{role}_token")) for role in ("bos", "eos", "pad")}
    for role, token in named.items():
        if token in ids:
            getattr(writer, f"add_{role}_token_id")(ids[token])
    leads = (stored.get("post_processor") or {}).get("single") or [{}]
    first = leads[0].get("SpecialToken", {}).get("id")
    writer.add_add_bos_token(first is not None and first == named["bos"])


def _content(token: object) -> str | None:
    found = token.get("content") if isinstance(token, dict) else token
    return None if found is None else str(found)


def _write_tensors(writer: Any, weights: Path, config: dict[str, Any]) -> None:  # noqa: ANN401
    import gguf
    from safetensors import safe_open

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    heads = config["num_attention_heads"]
    shared = config.get("num_key_value_heads") or heads
    with safe_open(weights, "numpy") as stored:
        for name in stored.keys():  # noqa: SIM118 - the handle is no mapping
            tensor = stored.get_tensor(name).astype(np.float32)
            if name.endswith("q_proj.weight"):
                tensor = _neighbours(tensor, heads)
            elif name.endswith("k_proj.weight"):
                tensor = _neighbours(tensor, shared)
            writer.add_tensor(names.get_name(name, (".weight", ".bias")), tensor)


def _neighbours(weight: Array, heads: int) -> Array:
    """Reorder the rows of each head, so that rotary pairs (i, i + d/2) stand side by side."""
    size = weight.shape[0] // heads // 2
    split = weight.reshape(heads, 2, size, weight.shape[1])
    return np.ascontiguousarray(split.swapaxes(1, 2).reshape(weight.shape))
