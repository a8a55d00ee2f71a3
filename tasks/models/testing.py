"""Tiny models with random weights, saved as folders: what tests of any room run on."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

CORPUS = (
    "The baker of Ulvara lives in the old town and sells bread to everyone.",
    "Once upon a time there was a little girl who liked to play in the park.",
    "Who should Derek hug after shocking Richard? She was the doctor of Mirebo.",
    "Numbers: 0 1 2 3 4 5 6 7 8 9; a café, naïve coöperation — and «quotes».",
)
"""What the tiny tokenizer is trained on; any text can be encoded, byte by byte."""


REQUESTS = [
    ("Once upon a time", " there was a girl"),
    ("Once upon a time", " there were two"),
    ("Once upon a time", " bread"),
    ("", "She was the doctor"),
    ("Who should Derek hug", " after shocking Richard?"),
    ("The park." + " The park." * 20, " bread"),
]
"""Requests that share contexts and beginnings, have none, or are longer than a tiny model."""


def by_hand(model: Any, context: str, continuation: str) -> list[float]:  # noqa: ANN401 - any model of ours
    """Log-probabilities by one sequence, one forward pass and one log-softmax."""
    import torch

    [pair] = model.encoder.pairs([(context, continuation)])
    ids = (pair.context + pair.continuation)[-(model.max_length + 1) :]
    with torch.inference_mode():
        fed = torch.tensor([ids[:-1]], device=model.hf.device)
        logits = model.hf(fed).logits[0].float().log_softmax(-1)
    n = len(pair.continuation)
    return [float(logits[len(ids) - 1 - n + i, ids[len(ids) - n + i]]) for i in range(n)]


def tiny_tokenizer(vocab: int = 300, *, add_bos: bool = False) -> Any:  # noqa: ANN401 - untyped library
    """`bpe_tokenizer` of a few sentences.

    Args:
        vocab: at least 259 (256 bytes and three special tokens).
        add_bos: whether encoding with special tokens puts `<bos>` first.
    """
    return bpe_tokenizer(CORPUS * 4, vocab, add_bos=add_bos)


def bpe_tokenizer(texts: Iterable[str], vocab: int, *, add_bos: bool = False) -> Any:  # noqa: ANN401 - untyped library
    """Byte-level BPE of at most `vocab` tokens with `<bos>`, `<eos>` and `<pad>` as 0, 1, 2."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=["<bos>", "<eos>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    if add_bos:
        core.post_processor = processors.TemplateProcessing(
            single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", 0)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
    )


def sentencepiece_tokenizer(vocab: int = 400, *, add_bos: bool = False) -> Any:  # noqa: ANN401 - untyped library
    """A tokenizer as transformers makes one of Llama's SentencePiece model.

    `<unk>`, `<bos>` and `<eos>` are 0, 1, 2, then the 256 bytes, single characters, and pieces
    in the order in which they are made, from whatever two pieces stand side by side.
    """
    from tokenizers import (
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
        trainers,
    )
    from transformers import PreTrainedTokenizerFast

    special = ["<unk>", "<bos>", "<eos>"]
    bare = [*special, *(f"<0x{byte:02X}>" for byte in range(256))]
    taught = Tokenizer(models.BPE())
    taught.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab - len(bare), min_frequency=1, show_progress=False
    )
    taught.train_from_iterator(CORPUS * 4, trainer)
    learnt = taught.get_vocab()
    ids = {
        token: at for at, token in enumerate([*bare, *sorted(learnt, key=learnt.__getitem__)])
    }
    merges = [
        (piece[:at], piece[at:])
        for piece in list(ids)[len(bare) :]
        for at in range(1, len(piece))
        if piece[:at] in ids and piece[at:] in ids
    ]
    core = Tokenizer(
        models.BPE(ids, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    core.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
         decoders.Strip(" ", 1, 0)]
    )  # fmt: skip
    if add_bos:
        core.post_processor = processors.TemplateProcessing(
            single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", 1)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<bos>", eos_token="<eos>"
    )


CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content"
    " + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""The chat template that Qwen and SmolLM have, without their default system prompts."""


def split_tokenizer(split: str, vocab: int = 300) -> Any:  # noqa: ANN401 - untyped library
    """Byte-level BPE that splits words as Qwen2, Llama 3 or SmolLM do, with ChatML.

    Args:
        split: `qwen2`, `llama-bpe` or `smollm`, as llama.cpp names them.
        vocab: at least 259 (256 bytes and three special tokens).
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, trainers
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence, Split
    from transformers import PreTrainedTokenizerFast

    from tasks.models.gguf_tokens import SPLITS

    core = Tokenizer(models.BPE(ignore_merges=split == "llama-bpe"))
    if split == "smollm":
        steps = [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    else:
        [words] = [words for (words, _), name in SPLITS.items() if name == split]
        steps = [
            Split(Regex(words), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False),
        ]  # fmt: skip
    if split == "qwen2":
        core.normalizer = normalizers.NFC()
    core.pre_tokenizer = Sequence(steps)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(CORPUS * 4, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>",
        chat_template=CHATML,
    )  # fmt: skip


def tiny_llama(
    folder: Path,
    vocab: int = 300,
    layers: int = 2,
    width: int = 64,
    seed: int = 0,
    *,
    add_bos: bool = False,
    max_length: int = 128,
    tokenizer: Any = None,  # noqa: ANN401 - untyped library
) -> Path:
    """Save a random Llama and its tokenizer under `folder`; equal arguments, equal weights.

    Two heads per key-value head and untied embeddings, so that both paths are walked. Where
    no `tokenizer` is given it is `tiny_tokenizer`'s.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    own = tokenizer or tiny_tokenizer(vocab, add_bos=add_bos)
    config = LlamaConfig(
        vocab_size=vocab, hidden_size=width, intermediate_size=2 * width,
        num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=max_length, initializer_range=0.3,
        bos_token_id=own.bos_token_id, eos_token_id=own.eos_token_id,
        pad_token_id=own.pad_token_id, tie_word_embeddings=False,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    return _save(model, own, folder)


def tiny_gpt2(
    folder: Path,
    vocab: int = 300,
    layers: int = 2,
    width: int = 64,
    seed: int = 0,
    *,
    add_bos: bool = False,
    max_length: int = 128,
) -> Path:
    """Save a random GPT-2 (learned positions, tied embeddings) and its tokenizer."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=vocab, n_embd=width, n_layer=layers, n_head=4, n_positions=max_length,
        initializer_range=0.3, bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = GPT2LMHeadModel(config)
    return _save(model, tiny_tokenizer(vocab, add_bos=add_bos), folder)


def tiny_neox(
    folder: Path,
    vocab: int = 300,
    layers: int = 2,
    width: int = 64,
    seed: int = 0,
    *,
    add_bos: bool = False,
    max_length: int = 128,
) -> Path:
    """Save a random GPT-NeoX (partly rotated heads, parallel residual) and its tokenizer."""
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    config = GPTNeoXConfig(
        vocab_size=vocab, hidden_size=width, intermediate_size=2 * width,
        num_hidden_layers=layers, num_attention_heads=4, max_position_embeddings=max_length,
        initializer_range=0.3, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = GPTNeoXForCausalLM(config)
    return _save(model, tiny_tokenizer(vocab, add_bos=add_bos), folder)


def tiny_qwen(
    folder: Path,
    vocab: int = 300,
    layers: int = 2,
    width: int = 64,
    seed: int = 0,
    *,
    family: str = "qwen2",
    tokenizer: Any = None,  # noqa: ANN401 - untyped library
) -> Path:
    """Save a random Qwen2 (biased queries, keys and values) or Qwen3 (normed, wider heads)."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    own = tokenizer or split_tokenizer("qwen2", vocab)
    shape = {"head_dim": width // 2} if family == "qwen3" else {}
    config = AutoConfig.for_model(
        family, vocab_size=vocab, hidden_size=width, intermediate_size=2 * width,
        num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=128, initializer_range=0.3, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=own.eos_token_id, **shape,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
        for name, weight in model.named_parameters():
            if name.endswith("bias") or "_norm" in name:  # or they would be 0 and 1
                weight.data += 0.3 * torch.randn_like(weight)
    return _save(model, own, folder)


def tiny_mamba2(folder: Path, *, add_bos: bool = False) -> Path:
    """Save a random Mamba-2 (a state instead of keys and values) and its tokenizer."""
    import torch
    from transformers import Mamba2Config, Mamba2ForCausalLM

    config = Mamba2Config(
        vocab_size=300, hidden_size=32, num_hidden_layers=2, state_size=8, num_heads=4,
        head_dim=16, n_groups=1, expand=2, chunk_size=8, bos_token_id=0, eos_token_id=1,
        pad_token_id=2, initializer_range=0.3, tie_word_embeddings=False,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Mamba2ForCausalLM(config)
    return _save(model, tiny_tokenizer(add_bos=add_bos), folder)


def tiny_rwkv(folder: Path, *, add_bos: bool = False) -> Path:
    """Save a random RWKV-4 (the RWKV that transformers has) and its tokenizer."""
    import torch
    from transformers import RwkvConfig, RwkvForCausalLM

    config = RwkvConfig(
        vocab_size=300, context_length=128, hidden_size=32, num_hidden_layers=2,
        attention_hidden_size=32, intermediate_size=64, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = RwkvForCausalLM(config)
        for weight in model.parameters():
            weight.data += 0.3 * torch.randn_like(weight)
    return _save(model, tiny_tokenizer(add_bos=add_bos), folder)


def tiny_mobilebert(folder: Path) -> Path:
    """Save a random MobileBERT with its masked language head and a tokenizer of words."""
    import torch
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizerFast, MobileBertConfig, MobileBertForMaskedLM

    core = BertWordPieceTokenizer(lowercase=True)
    core.train_from_iterator(CORPUS * 4, vocab_size=300, min_frequency=1, show_progress=False)
    tokenizer = BertTokenizerFast(tokenizer_object=core._tokenizer)
    config = MobileBertConfig(
        vocab_size=300, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, embedding_size=16, intra_bottleneck_size=16,
        max_position_embeddings=64, initializer_range=0.3, num_feedforward_networks=1,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MobileBertForMaskedLM(config)
    return _save(model, tokenizer, folder)


def _save(model: Any, tokenizer: Any, folder: Path) -> Path:  # noqa: ANN401 - untyped libraries
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def quantized(whole: Path, out: Path, kind: int) -> Path:
    """A GGUF file of 32-bit floats quantized by llama.cpp to a `LLAMA_FTYPE`."""
    import ctypes

    from tasks.models.gguf_runtime import library

    lib = library()
    params = lib.llama_model_quantize_default_params()
    params.ftype = kind
    if lib.llama_model_quantize(str(whole).encode(), str(out).encode(), ctypes.byref(params)):
        raise ValueError(f"{whole}: llama.cpp could not quantize it")
    return out
