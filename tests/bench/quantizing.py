"""GPTQ to 4 bits by our stage and by llmcompressor called directly, A B A B, as JSON.

`python -m tests.bench.quantizing`: from a folder of a Llama with the shape of SmolLM2-135M and
random weights to a folder of packed ones, over 128 documents of 512 tokens. Ours also checks
the model before it begins, measures each layer's error on eight documents, and weighs the
file. `ratio` is ours over theirs; below 1 is faster. At full depth one side takes minutes.
"""

import argparse
import contextlib
import io
import json
import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from tasks.artifact import Artifact
from tasks.compress import Gptq, compress
from tasks.job import Job
from tasks.models.testing import CORPUS, tiny_tokenizer

BITS, GROUP = 4, 64
WORDS = " ".join(CORPUS).split()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--documents", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, contextlib.redirect_stderr(io.StringIO()):
        found = report(Path(home), options)
    print(json.dumps(found, indent=1))
    return 0


def report(home: Path, options: argparse.Namespace) -> dict[str, object]:
    source = llama(home / "source", options.layers)
    texts = [document(seed, options.tokens) for seed in range(options.documents)]
    data = dataset(home, texts)
    # both once on one document: what a first call imports and compiles is neither's
    for side in (ours, theirs):
        side(source, data, texts[:1], home / f"warm_{side.__name__}", options.tokens)
    wall: dict[str, list[float]] = {"ours": [], "theirs": []}
    cpu: dict[str, list[float]] = {"ours": [], "theirs": []}
    for at in range(options.repeats):
        for side in (ours, theirs):
            out = home / f"{side.__name__}{at}"
            began, busy = time.perf_counter(), time.process_time()
            side(source, data, texts, out, options.tokens)
            wall[side.__name__].append(time.perf_counter() - began)
            cpu[side.__name__].append(time.process_time() - busy)
    weights = [(home / f"{side}0/model.safetensors").read_bytes() for side in wall]
    return {
        "settings": vars(options),
        "threads": torch.get_num_threads(),
        "load_1min_after": os.getloadavg()[0],
        "seconds": wall,
        "seconds_cpu": cpu,
        "ratio": ratio(wall),
        "ratio_cpu": ratio(cpu),
        "same_file": weights[0] == weights[1],
    }


def ratio(seconds: dict[str, list[float]]) -> float:
    return statistics.median(seconds["ours"]) / statistics.median(seconds["theirs"])


def llama(folder: Path, layers: int) -> Path:
    """The shape of SmolLM2-135M, with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=49_152, hidden_size=576, intermediate_size=1536, num_hidden_layers=layers,
        num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=8192,
        tie_word_embeddings=True, bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def document(seed: int, tokens: int) -> str:
    """Words of which each is a token or more."""
    return " ".join(random.Random(seed).choices(WORDS, k=tokens))


def dataset(home: Path, texts: list[str]) -> Path:
    rows = [json.dumps({"id": str(at), "text": text}) for at, text in enumerate(texts)]
    (home / "calibration.jsonl").write_text("\n".join(rows), "utf-8")
    entry = {"file": "calibration.jsonl", "format": "jsonl", "rows": len(rows)}
    manifest = {"kind": "sets", "sets": {"calibration": entry}}
    (home / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    return home


def ours(source: Path, data: Path, texts: list[str], out: Path, tokens: int) -> None:
    out.mkdir()
    inputs = {
        "model": Artifact(kind="model", path=str(source), digest="m"),
        "dataset": Artifact(kind="dataset", path=str(data), digest="d"),
    }
    notes: dict[str, object] = {}
    job = Job(out, out.with_suffix(".scratch"), inputs, notes.__setitem__)
    method = Gptq(bits=BITS, group_size=GROUP, samples=len(texts), sequence_length=tokens)
    compress(method, job)


def theirs(source: Path, data: Path, texts: list[str], out: Path, tokens: int) -> None:
    from llmcompressor import oneshot
    from llmcompressor.modifiers.gptq import GPTQModifier
    from torch.utils.data import DataLoader
    from transformers import AutoModelForCausalLM, AutoTokenizer

    del data
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    tokenizer: Any = AutoTokenizer.from_pretrained(source)
    encoded = tokenizer(texts, truncation=True, max_length=tokens)["input_ids"]
    seen = [{"input_ids": torch.tensor([ids])} for ids in encoded]
    weights = {
        "num_bits": BITS, "type": "int", "symmetric": True, "strategy": "group",
        "group_size": GROUP,
    }  # fmt: skip
    recipe = GPTQModifier(
        config_groups={"group_0": {"targets": ["Linear"], "weights": weights}},
        ignore=["lm_head"], actorder="static", dampening_frac=0.01,
    )  # fmt: skip
    oneshot(
        model=model, tokenizer=tokenizer, recipe=recipe, output_dir=str(out), log_dir=None,
        dataset=DataLoader(seen, batch_size=None), num_calibration_samples=len(seen),
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
