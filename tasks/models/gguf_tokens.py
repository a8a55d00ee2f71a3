"""A tokenizer in the header of a GGUF file, where llama.cpp cuts texts alike.

llama.cpp knows ways to split a text into words by name. A tokenizer whose way has no name
here is refused: under another name its texts would be cut elsewhere, without a word. What is
looked at is the tokenizer as transformers loads it, not its file: of some families it
replaces what the file says of splitting and normalizing.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from audits.errors import SpecError

BYTE = re.compile(r"<0x[0-9A-F]{2}>")
GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
SPLITS: Mapping[tuple[str, bool], str] = {
    (GPT2, False): "gpt-2",
    (QWEN2, False): "qwen2",
    (LLAMA3, True): "llama-bpe",
}
"""llama.cpp's name of a way to split, by its expression and whether whole words in the
vocabulary are taken before any merge."""
BYTES = {"type": "ByteLevel", "add_prefix_space": False}
DIGITS = {"type": "Digits", "individual_digits": True}


def write_vocabulary(writer: Any, tokenizer: Any, rows: int, place: object) -> None:  # noqa: ANN401 - untyped libraries
    """Write tokens in the order of their ids; rows that no token has are marked unused.

    Args:
        writer: gguf's writer.
        tokenizer: transformers' tokenizer.
        rows: tokens that the network knows.
        place: the folder it was loaded from.

    Raises:
        SpecError: the tokenizer cannot be written as GGUF.
    """
    import gguf

    stored = described(tokenizer, place)
    model, added = stored["model"], stored["added_tokens"]
    if model["type"] != "BPE":
        raise SpecError(f"{place}: has a {model['type']} tokenizer; {_KNOWN}")
    text = {at: token for token, at in model["vocab"].items()}
    text |= {token["id"]: token["content"] for token in added}
    if max(text) >= rows:
        raise SpecError(
            f"{place}: token {text[max(text)]!r} is number {max(text)} where the network knows "
            f"{rows}; give the tokenizer that the model was trained with"
        )
    kind = dict.fromkeys(range(rows), gguf.TokenType.UNUSED)
    kind |= dict.fromkeys(text, gguf.TokenType.NORMAL)
    if _is_sentencepiece(stored):
        writer.add_tokenizer_model("llama")
        writer.add_add_space_prefix(True)
        ranks = _ranks(place, model)
        writer.add_token_scores([-float(ranks.get(text.get(at), 0)) for at in range(rows)])
        kind |= {at: gguf.TokenType.BYTE for at, said in text.items() if BYTE.fullmatch(said)}
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(_pretokenizer(place, stored))
        writer.add_token_merges([" ".join(pair) for pair in _merges(model)])
    for token in added:
        special = gguf.TokenType.CONTROL if token["special"] else gguf.TokenType.USER_DEFINED
        kind[token["id"]] = special
    writer.add_token_list([text.get(at, f"[unused {at}]") for at in range(rows)])
    writer.add_token_types([kind[at] for at in range(rows)])
    _write_special(writer, tokenizer, stored, place)


_KNOWN = (
    "only byte-level BPE that splits words as GPT-2, SmolLM, Qwen2 or Llama 3 do, and "
    "SentencePiece's BPE, can be written as GGUF"
)


def described(tokenizer: Any, place: object) -> dict[str, Any]:  # noqa: ANN401 - an untyped library
    """A tokenizer's own description: its model, and what is done before and after.

    Raises:
        SpecError: it is none of the `tokenizers` library.
    """
    core = getattr(tokenizer, "backend_tokenizer", None)
    if core is None:
        kind = type(tokenizer).__name__
        raise SpecError(f"{place}: has a {kind} that cannot say how it works; {_KNOWN}")
    found: dict[str, Any] = json.loads(core.to_str())
    return found


def normalizer(tokenizer: Any) -> str:  # noqa: ANN401 - an untyped library
    """The Unicode form that a tokenizer makes of texts and llama.cpp does not: NFC, or ''."""
    form = described(tokenizer, "tokenizer")["normalizer"] or {}
    return "NFC" if form.get("type") == "NFC" else ""


def special_tokens(tokenizer: Any) -> tuple[str, ...]:  # noqa: ANN401 - an untyped library
    """Tokens that stand for themselves wherever they are written."""
    added = described(tokenizer, "tokenizer")["added_tokens"]
    return tuple(token["content"] for token in added)


def _merges(model: dict[str, Any]) -> list[tuple[str, str]]:
    """Pairs in the order they are merged in; older files hold them as one string."""
    split = (pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"])
    return [(left, right) for left, right in split]


def _pretokenizer(place: object, stored: dict[str, Any]) -> str:
    """llama.cpp's name of how byte-level BPE splits texts into words.

    Raises:
        SpecError: it has none, or more happens to texts than splitting.
    """
    model = stored["model"]
    odd = [
        f"{name} {model[name]!r}"
        for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
        if model.get(name)
    ]
    form = stored["normalizer"]
    if form is not None and form["type"] != "NFC":
        odd.append(f"normalizer {form['type']}")
    name = None if odd else _named(stored["pre_tokenizer"], model)
    if name is None:
        what = ", ".join(odd) or f"pre_tokenizer {json.dumps(stored['pre_tokenizer'])}"
        raise SpecError(f"{place}: its tokenizer has {what:.300}; {_KNOWN}")
    return name


def _named(pre: dict[str, Any] | None, model: dict[str, Any]) -> str | None:
    steps = _steps(pre)
    whole = bool(model.get("ignore_merges"))
    if _are(steps, [BYTES | {"use_regex": True}]) and not whole:
        return "gpt-2"
    if _are(steps, [DIGITS, BYTES | {"use_regex": True}]) and not whole:
        return "smollm"
    if _are(steps, [BYTES | {"use_regex": True}, DIGITS]) and not whole:
        # digits are split off after words; where no merge has one, it changes nothing
        figures = any(sign.isnumeric() for pair in _merges(model) for sign in "".join(pair))
        return None if figures else "gpt-2"
    if _are(steps, [{"type": "Split", "behavior": "Isolated", "invert": False},
                    BYTES | {"use_regex": False}]):  # fmt: skip
        return SPLITS.get((steps[0]["pattern"].get("Regex", ""), whole))
    return None


def _steps(pre: dict[str, Any] | None) -> list[dict[str, Any]]:
    if pre is None:
        return []
    return list(pre["pretokenizers"]) if pre["type"] == "Sequence" else [pre]


def _are(steps: Sequence[dict[str, Any]], wanted: Sequence[dict[str, Any]]) -> bool:
    return len(steps) == len(wanted) and all(
        want.items() <= step.items() for step, want in zip(steps, wanted, strict=True)
    )


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


def _ranks(place: object, model: dict[str, Any]) -> dict[str | None, int]:
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
            f"{place}: its tokenizer merges pairs in an order that is not one of pieces, as "
            "SentencePiece's is; llama.cpp would cut words elsewhere, so it is not written as "
            "GGUF"
        )
    return ranks


def _write_special(
    writer: Any,  # noqa: ANN401 - an untyped library
    tokenizer: Any,  # noqa: ANN401 - an untyped library
    stored: dict[str, Any],
    place: object,
) -> None:
    """Which tokens begin, end and fill a text, whether the first is added, and how to chat."""
    for role in ("bos", "eos", "pad"):
        token = getattr(tokenizer, f"{role}_token_id", None)
        if token is not None:
            getattr(writer, f"add_{role}_token_id")(token)
    before, after = _around(stored.get("post_processor"))
    if before not in ([], [tokenizer.bos_token]) or after:
        raise SpecError(
            f"{place}: its tokenizer puts {' '.join([*before, '…', *after])} around a text; "
            "llama.cpp adds the token that begins texts and no other, so it is not written "
            "as GGUF"
        )
    writer.add_add_bos_token(bool(before))
    writer.add_add_eos_token(False)
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)


def _around(processor: dict[str, Any] | None) -> tuple[list[str], list[str]]:
    """Special tokens that are put before and behind a text."""
    before: list[str] = []
    after: list[str] = []
    for part in _processors(processor):
        side = before
        for step in part.get("single", ()):
            if "SpecialToken" in step:
                side.append(str(step["SpecialToken"]["id"]))
            else:
                side = after
    return before, after


def _processors(processor: dict[str, Any] | None) -> list[dict[str, Any]]:
    if processor is None:
        return []
    return list(processor["processors"]) if processor["type"] == "Sequence" else [processor]
