"""A Q8_0 file scored by us and through lm-eval's `gguf` backend, A B A B, as JSON.

`python -m tests.bench.gguf`: a Llama of 135M parameters with random weights, multiple
choice without shots and with five, and what a file of 32-bit floats differs from
transformers. lm-eval's side talks to llama-cpp-python's own server on loopback, which needs
`pip install 'llama-cpp-python[server]'`; where that is absent, the report says so.

The numbers of the two are far apart, and lm-eval's are the wrong ones: see
`infra/decisions/2026-11-25-gguf-files-by-llama-cpp-in-process.md`.
"""

import argparse
import contextlib
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

Request = tuple[str, str]
Q8_0 = 7
"""`LLAMA_FTYPE_MOSTLY_Q8_0`."""
WORDS = [
    "the", "baker", "girl", "park", "bread", "town", "old", "little", "doctor", "sells",
    "lives", "likes", "plays", "in", "and", "of", "to", "a", "house", "river", "garden",
    "walks", "sees", "finds", "takes", "gives", "red", "blue", "small", "large", "every",
    "day", "morning", "evening", "friend", "mother", "brother", "stone", "tree", "bird",
]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=64)
    parser.add_argument("--asked-of-server", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--layers", type=int, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        print(json.dumps(report(Path(home), options), indent=1))
    return 0


def report(home: Path, options: argparse.Namespace) -> dict[str, object]:
    from tasks.models.gguf_write import write_gguf
    from tasks.models.testing import quantized

    source = llama(home / "source", options.layers)
    whole = write_gguf(source, home / "f32.gguf")
    agreement = differs(source, whole)
    small = quantized(whole, home / "q8_0.gguf", Q8_0)
    if odd := set(types(small)) - {"Q8_0", "F32"}:
        raise SystemExit(f"llama.cpp fell back to {sorted(odd)}")
    whole.unlink()
    return {
        "threads": threads(),
        "load_1min_before": round(os.getloadavg()[0], 2),
        "f32_against_transformers": agreement,
        "q8_0_types": types(small),
        **{
            name: beside(small, questions(options.questions, shots), options)
            for name, shots in (("no_shots", 0), ("five_shots", 5))
        },
    }


def llama(folder: Path, layers: int) -> Path:
    """The shape of SmolLM-135M, with random weights and a small vocabulary of our words."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tasks.models.testing import tiny_tokenizer

    texts = [" ".join(sentence(random.Random(i))) for i in range(500)]
    tokenizer = tiny_tokenizer().train_new_from_iterator(texts, 1000, show_progress=False)
    config = LlamaConfig(
        vocab_size=49_152, hidden_size=576, intermediate_size=1536, num_hidden_layers=layers,
        num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=2048,
        tie_word_embeddings=True, bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    folder.mkdir()
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def types(file: Path) -> dict[str, int]:
    """Number of tensors stored in each type."""
    from gguf import GGUFReader

    return dict(Counter(t.tensor_type.name for t in GGUFReader(file).tensors))


def differs(source: Path, whole: Path) -> dict[str, object]:
    """Largest difference in nats of a token's log-probability, over 16 requests."""
    from tasks.models.load import load

    asked = questions(4, 0)
    ours = [s.tokens for s in load(whole).score(asked, per_token=True)]
    theirs = [s.tokens for s in load(source, device="cpu").score(asked, per_token=True)]
    gaps = np.abs(np.concatenate(ours) - np.concatenate(theirs))
    return {"tokens": len(gaps), "largest_nats": float(f"{gaps.max():.3g}")}


def sentence(rng: random.Random) -> list[str]:
    return rng.choices(WORDS, k=rng.randint(8, 24))


def questions(n: int, shots: int) -> list[Request]:
    """Four choices of a few words behind each of `n` contexts of a sentence or two."""
    rng = random.Random(1)
    head = "".join(f"{' '.join(sentence(rng))}.\n\n" for _ in range(shots))
    return [
        (head + context, " " + " ".join(rng.choices(WORDS, k=rng.randint(1, 6))))
        for context in (" ".join(sentence(rng) + sentence(rng)) for _ in range(n))
        for _ in range(4)
    ]


def beside(file: Path, asked: Sequence[Request], options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds a request of both, and how far their sums of log-probabilities are apart."""
    from tasks.models.load import load

    model = load(file)
    few = asked[: 4 * options.asked_of_server]
    ours, theirs = Clock(psutil.Process()), Clock()
    found: dict[str, Any] = {"requests": len(asked), "requests_of_server": len(few)}
    with server(file) as running:
        for _ in range(options.repeats):
            with ours.time(len(asked)):
                scores = model.score(asked)
            if running is None:
                continue
            theirs.process, url = running
            with theirs.time(len(few)):
                answers = through_lm_eval(url, few)
            gaps = [abs(s.logprob - a) for s, (a, _) in zip(scores, answers, strict=False)]
            found["largest_gap_nats"] = float(f"{max(gaps):.3g}")
            found["median_gap_nats"] = float(f"{statistics.median(gaps):.3g}")
            found["greedy_differs"] = sum(
                s.greedy != g for s, (_, g) in zip(scores, answers, strict=False)
            )
    found["ours"] = ours.ms()
    if not theirs.wall:
        return found | {"lm_eval": "not run: pip install 'llama-cpp-python[server]'"}
    return found | {
        "lm_eval": theirs.ms(),
        "times_faster": round(statistics.median(theirs.wall) / statistics.median(ours.wall), 1),
        "times_less_cpu": round(statistics.median(theirs.cpu) / statistics.median(ours.cpu), 1),
    }


class Clock:
    """Wall and processor seconds a request, of the process that computes."""

    def __init__(self, process: psutil.Process | None = None) -> None:
        self.process = process
        self.wall: list[float] = []
        self.cpu: list[float] = []

    @contextlib.contextmanager
    def time(self, requests: int) -> Iterator[None]:
        began, busy = time.perf_counter(), self._busy()
        yield
        self.wall.append((time.perf_counter() - began) / requests)
        self.cpu.append((self._busy() - busy) / requests)

    def ms(self) -> dict[str, object]:
        return {"wall_ms": spread(self.wall), "cpu_ms": spread(self.cpu)}

    def _busy(self) -> float:
        assert self.process is not None
        times = self.process.cpu_times()
        return times.user + times.system


def through_lm_eval(url: str, asked: Sequence[Request]) -> list[tuple[float, bool]]:
    from lm_eval.api.instance import Instance
    from lm_eval.models.gguf import GGUFLM

    instances = [Instance("loglikelihood", {}, request, at) for at, request in enumerate(asked)]
    answers = GGUFLM(base_url=url, max_length=2048).loglikelihood(instances, True)
    if len(answers) != len(asked):
        raise SystemExit(f"lm-eval answered {len(answers)} of {len(asked)} requests")
    return answers


_SERVER = """
import llama_cpp.llama_cpp as llama_cpp
from llama_cpp.server.__main__ import main
if b"AMX_INT8 = 1" in llama_cpp.llama_print_system_info():
    given = llama_cpp.llama_model_default_params
    def plain():
        params = given()
        params.use_extra_bufts = False
        return params
    llama_cpp.llama_model_default_params = plain
main()
"""
"""The server; on AMX, where it would crash, with the switch that it does not offer."""


@contextlib.contextmanager
def server(file: Path) -> Iterator[tuple[psutil.Process, str] | None]:
    """llama-cpp-python's own server on loopback, or None where its extra is absent."""
    if subprocess.run(
        [sys.executable, "-c", "import llama_cpp.server.app"], capture_output=True
    ).returncode:
        yield None
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = psutil.Popen(
        [
            sys.executable, "-c", _SERVER, "--model", str(file), "--host",
            "127.0.0.1", "--port", str(port), "--logits_all", "true", "--n_ctx", "2048",
            "--n_threads", str(threads()), "--n_threads_batch", str(threads()),
            "--verbose", "false",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{url}/v1/models", timeout=2)
                break
            time.sleep(0.1)
        yield process, url
    finally:
        process.terminate()
        process.wait(20)


def threads() -> int:
    return int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))


def spread(seconds: list[float]) -> dict[str, float]:
    ms = [1000 * s for s in seconds]
    return {
        "median": round(statistics.median(ms), 2),
        "min": round(min(ms), 2),
        "max": round(max(ms), 2),
    }


if __name__ == "__main__":
    sys.exit(main())
