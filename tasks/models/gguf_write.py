"""A Llama in Hugging Face layout as a GGUF file of 32-bit floats, tensor for tensor.

What llama.cpp's own converter writes for the same folder: its names (`gguf`'s tensor name
map) and its order of rotary pairs. llama.cpp turns neighbouring dimensions, transformers
turns each with the one half a head away, so rows of the query and key matrices change
places.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audits.errors import SpecError

BYTE = re.compile(r"<0x[0-9A-F]{2}>")

Array = npt.NDArray[np.float32]


def write_gguf(folder: Path, out: Path) -> Path:
    """Write the model and the tokenizer of `folder` into the file `out`.

    Args:
        folder: a Llama with `model.safetensors` and a `tokenizer.json`: byte-level BPE that
            splits words as GPT-2 does, or the BPE of SentencePiece with bytes to fall back on.
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
    text = {at: token for token, at in model["vocab"].items()}
    text |= {token["id"]: token["content"] for token in added}
    kind = dict.fromkeys(range(rows), gguf.TokenType.UNUSED)
    kind |= dict.fromkeys(text, gguf.TokenType.NORMAL)
    if model["type"] == "BPE" and _splits_as_gpt2(stored["pre_tokenizer"]):
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_merges([" ".join(pair) for pair in _merges(model)])
    elif model["type"] == "BPE" and _is_sentencepiece(stored):
        writer.add_tokenizer_model("llama")
        writer.add_add_space_prefix(True)
        ranks = _ranks(file, model)
        writer.add_token_scores([-float(ranks.get(text.get(at), 0)) for at in range(rows)])
        kind |= {at: gguf.TokenType.BYTE for at, said in text.items() if BYTE.fullmatch(said)}
    else:
        raise SpecError(
            f"{file}: only byte-level BPE that splits words as GPT-2 does, and SentencePiece's "
            "BPE, can be written as GGUF"
        )
    for token in added:
        special = gguf.TokenType.CONTROL if token["special"] else gguf.TokenType.USER_DEFINED
        kind[token["id"]] = special
    writer.add_token_list([text.get(at, f"[unused {at}]") for at in range(rows)])
    writer.add_token_types([kind[at] for at in range(rows)])
    _write_special(writer, folder, stored, {t["content"]: t["id"] for t in added})


def _merges(model: dict[str, Any]) -> list[tuple[str, str]]:
    """Pairs in the order they are merged in; older files hold them as one string."""
    split = (pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"])
    return [(left, right) for left, right in split]


def _is_sentencepiece(stored: dict[str, Any]) -> bool:
    """Blanks become ▁, one stands before each text, and what is unknown becomes bytes."""
    prepend = {"type": "Prepend", "prepend": "▁"}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    return (
        stored["pre_tokenizer"] is None
        and bool(stored["model"].get("byte_fallback"))
        and stored["normalizer"] == {"type": "Sequence", "normalizers": [prepend, replace]}
        and all(f"<0x{byte:02X}>" in stored["model"]["vocab"] for byte in range(256))
    )


def _ranks(file: Path, model: dict[str, Any]) -> dict[str | None, int]:
    """When each piece is made, first 0: llama.cpp knows the order of pieces, not of pairs.

    Raises:
        SpecError: no order of pieces merges as this tokenizer does.
    """
    pairs = _merges(model)
    ranks: dict[str | None, int] = {}
    for left, right in pairs:
        ranks.setdefault(left + right, len(ranks))
    vocab, known = model["vocab"], set(pairs)
    order = [ranks[left + right] for left, right in pairs]
    ways = (
        (piece[:at], piece[at:]) for piece in vocab for at in range(1, len(piece))
        if not BYTE.fullmatch(piece)
    )  # fmt: skip
    odd = [way for way in ways if way[0] in vocab and way[1] in vocab and way not in known]
    if order != sorted(order) or odd:
        raise SpecError(
            f"{file}: merges pairs in an order that is not one of pieces, as SentencePiece's "
            "is; llama.cpp would cut words elsewhere, so it is not written as GGUF"
        )
    return ranks


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
