"""Is the engine several times faster than lm-eval's own backend, and what does it cost?

Ours and lm-eval's `HFLM` answer the same requests in turns, A B A B, in one process: HFLM at
the fastest of a few batch sizes. Run on a quiet machine; every option has a smaller value.
"""

import argparse
import csv
import json
import logging
import os
import random
import re
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from tasks.models.rows import Forest, truncate
from tasks.models.testing import bpe_tokenizer
from tasks.models.torch_model import TorchModel

Requests = list[tuple[str, str]]
WORDS = "girl boy dog cat park tree ball mom dad bird cake house sun day toy friend"
BATCHES = {"cpu": (1, 4, 16), "cuda": (16, 64, 256)}
SHAPES = {
    "cpu": ((1024, 1024, 1024), (2048, 2048, 2048), (1024, 576, 1536)),
    "cuda": ((8192, 8192, 8192), (131072, 576, 1536)),
}
"""Of the matrix products that a device's peak is taken from."""
SHOTS = 5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=16, help="questions of a task, 135M shape")
    parser.add_argument("--pairs", type=int, default=48, help="sentence pairs, 135M shape")
    parser.add_argument("--small", type=int, default=20, help="times as many for stories260K")
    parser.add_argument("--repeats", type=int, default=2, help="turns of each")
    parser.add_argument("--short", type=int, default=100_000, help="short requests")
    parser.add_argument("--models", default="llama135m,stories260K")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--dtype", default="float32", help="float32 or bfloat16")
    options = parser.parse_args()
    data = Path(os.environ.get("ASSAY_DATA", ""))
    if not (data / "hellaswag").is_dir():
        print(json.dumps({"skipped": "ASSAY_DATA names no folder with hellaswag, blimp, ..."}))
        return 0
    report: dict[str, object] = {
        "threads": torch.get_num_threads(), "dtype": options.dtype,
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
    }  # fmt: skip
    for name in options.models.split(","):
        model = MODELS[name](data, options.device, options.dtype)
        if model is None:
            report[name] = "skipped: no such model beside ASSAY_DATA"
            continue
        times = options.small if name == "stories260K" else 1
        items, pairs = options.items * times, options.pairs * times
        report[name] = {
            task: compare(model, requests, options.repeats)
            for task, requests in scenarios(model, data, items, pairs)
        }
        if name == "stories260K" and options.short:
            report["short_requests"] = short(model, options.short)
    print(json.dumps(report, indent=1))
    return 0


def llama135m(data: Path, device: str, dtype: str) -> TorchModel:
    """SmolLM-135M's shape with random weights, and a tokenizer trained on local text."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
        num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=2048,
        tie_word_embeddings=True, bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    files = ("tinystories/tiny_stories.txt", "wikitext2/valid.txt", "hellaswag/hellaswag.jsonl")
    texts = ((data / file).read_text("utf-8") for file in files)
    tokenizer = bpe_tokenizer(texts, 49152)
    network = LlamaForCausalLM(config).to(device, getattr(torch, dtype)).eval()
    return TorchModel(network, tokenizer, digest="bench")


def stories(data: Path, device: str, dtype: str) -> TorchModel | None:
    """The small trained model, where it lies beside the data."""
    from tasks.models.load import load

    home = data.parent / "models" / "stories260K"
    return load(home, device=device, dtype=dtype) if home.is_dir() else None


MODELS: dict[str, Callable[[Path, str, str], TorchModel | None]] = {
    "llama135m": llama135m, "stories260K": stories,
}  # fmt: skip


def scenarios(
    model: TorchModel, data: Path, items: int, pairs: int
) -> Iterator[tuple[str, Requests]]:
    """Requests as lm-eval's tasks make them, half of each kind of data.

    Where five shots are cut on the left, a task whose five shots fit the window is asked too.
    """
    swag, arc = list(hellaswag(data)), list(arc_easy(data))
    half = max(1, items // 2)
    yield "no_shots", [*ask(swag[SHOTS:][:half]), *ask(arc[SHOTS:][:half])]
    yield (
        "five_shots",
        [
            *ask(swag[SHOTS:][:half], shots=swag[:SHOTS]),
            *ask(arc[SHOTS:][:half], shots=arc[:SHOTS]),
        ],
    )
    if model.max_length < 1024:
        yield "five_shots_that_fit", fitting(model, arc, items)
    yield "pairs", [*blimp(data, max(1, pairs // 2)), *crows(data, max(1, pairs // 2))]


Question = tuple[str, list[str], int]


def fitting(model: TorchModel, questions: Sequence[Question], n: int) -> Requests:
    """Questions behind the five shortest of the first fifty, as many as the window holds."""
    shots = sorted(questions[:50], key=lambda q: len(q[0] + q[1][q[2]]))[:SHOTS]
    asked = [ask([question], shots) for question in questions[50:]]
    room = model.max_length
    whole = [model.encoder.pairs(requests) for requests in asked]
    kept = [
        requests
        for requests, pairs in zip(asked, whole, strict=True)
        if all(truncate(p, room) == p for p in pairs)
    ]
    return [request for requests in kept[:n] for request in requests]


def hellaswag(data: Path) -> Iterator[Question]:
    for row in rows(data / "hellaswag" / "hellaswag.jsonl"):
        text = f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}"
        yield clean(text), [clean(e) for e in row["endings"]], int(row["label"])


def clean(text: str) -> str:
    """What lm-eval's hellaswag does to brackets of WikiHow."""
    text = re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". "))
    return text.replace("  ", " ")


def arc_easy(data: Path) -> Iterator[Question]:
    for row in rows(data / "lm_eval" / "arc_easy.jsonl"):
        yield f"{row['query']}\nAnswer:", row["choices"], int(row["gold"])


def ask(questions: Sequence[Question], shots: Sequence[Question] = ()) -> Requests:
    """Every choice after its question; the same shots before each (`first_n`)."""
    before = "".join(f"{q} {choices[gold]}\n\n" for q, choices, gold in shots)
    return [(before + q, " " + choice) for q, choices, _ in questions for choice in choices]


def blimp(data: Path, n: int) -> Requests:
    found = list(rows(data / "blimp" / "blimp_head100.jsonl"))
    chosen = found[:: max(1, len(found) // n)][:n]
    return [("", row[f"sentence_{kind}"]) for row in chosen for kind in ("good", "bad")]


def crows(data: Path, n: int) -> Requests:
    with (data / "crows_pairs" / "crows_pairs_anonymized.csv").open(encoding="utf-8") as file:
        found = list(csv.DictReader(file))[:n]
    return [("", row[f"sent_{kind}"]) for row in found for kind in ("more", "less")]


def rows(file: Path) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in file.read_text("utf-8").splitlines())


def compare(model: TorchModel, requests: Requests, repeats: int) -> dict[str, object]:
    """Ours and HFLM in turns; seconds by the wall and of CPU, and their differences."""
    ours = lambda: [(s.logprob, s.greedy) for s in model.score(requests)]  # noqa: E731
    best, theirs = fastest(model, requests)
    if model.hf.device.type == "cuda":
        ours()  # a GPU's first call loads its kernels, as `fastest` did for theirs
    took: dict[str, list[tuple[float, float]]] = {"ours": [], "hflm": []}
    said: dict[str, list[tuple[float, bool]]] = {}
    for _ in range(repeats):
        for name, way in (("ours", ours), ("hflm", theirs)):
            said[name], seconds = timed(way)
            took[name].append(seconds)
    if model.hf.dtype != torch.float32:
        # by itself it sums the rounded values of a rounded softmax: a nat on a long answer
        said["hflm"] = theirs(softmax_dtype="float32")
    wall = {name: [w for w, _ in found] for name, found in took.items()}
    cpu = {name: [c for _, c in found] for name, found in took.items()}
    pairs = zip(said["ours"], said["hflm"], strict=True)
    apart = [(abs(a - b), g != h) for (a, g), (b, h) in pairs]
    work = unique_work(model, requests)
    gflops = work["flops"] / 1e9
    top = peak(model.hf)
    return {
        "requests": len(requests),
        "hflm_batch_size": best,
        "ours_s": summary(wall["ours"]), "hflm_s": summary(wall["hflm"]),
        "ratio": ratio(wall), "ratio_cpu": ratio(cpu),
        "largest_difference_nats": max(d for d, _ in apart),
        "greedy_flags_that_differ": sum(g for _, g in apart),
        "left_truncated": work["truncated"],
        "unique_tokens": work["tokens"], "asked_tokens": work["asked"],
        "gflops_of_unique_tokens": round(gflops, 1),
        "peak_gflops_wall_and_cpu": top,
        "share_of_peak": round(gflops / statistics.median(wall["ours"]) / top[0], 3),
        "share_of_peak_cpu": round(
            gflops * torch.get_num_threads() / statistics.median(cpu["ours"]) / top[1], 3
        ),
    }  # fmt: skip


def summary(values: list[float]) -> dict[str, float]:
    """Median and spread of seconds."""
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }


def ratio(took: dict[str, list[float]]) -> dict[str, float]:
    """Of the medians, and the least and most that any two turns give."""
    ours, theirs = took["ours"], took["hflm"]
    return {
        "of_medians": round(statistics.median(theirs) / statistics.median(ours), 2),
        "least": round(min(theirs) / max(ours), 2),
        "most": round(max(theirs) / min(ours), 2),
    }


def fastest(model: TorchModel, requests: Requests) -> tuple[int, Callable[[], Any]]:
    """lm-eval's backend at the batch size that answers a part of the requests soonest."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    logging.getLogger("lm_eval.models.huggingface").setLevel(logging.ERROR)

    def answers(size: int, asked: Requests, **more: Any) -> Any:
        theirs = HFLM(
            pretrained=model.hf, tokenizer=model.tokenizer, batch_size=size,
            max_length=model.max_length, **more,
        )  # fmt: skip
        instances = [
            Instance(request_type="loglikelihood", doc={}, arguments=a, idx=0) for a in asked
        ]
        return theirs.loglikelihood(instances, disable_tqdm=True)

    n = 24 if model.hf.device.type == "cpu" else 1024
    part = requests[:: max(1, len(requests) // n)][:n]
    sizes = BATCHES[model.hf.device.type]
    at = 1 if model.hf.device.type == "cpu" else 0  # seconds of CPU, or of the wall on a GPU
    took = {size: timed(lambda size=size: answers(size, part))[1][at] for size in sizes}
    best = min(took, key=took.__getitem__)
    return best, lambda **more: answers(best, requests, **more)


def timed(way: Callable[[], Any]) -> tuple[Any, tuple[float, float]]:
    """An answer, the seconds it took, and the seconds of CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = way()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return found, (time.perf_counter() - wall, time.process_time() - cpu)


def unique_work(model: TorchModel, requests: Requests) -> dict[str, int]:
    """Operations that the distinct tokens of all requests need, nothing padded.

    Two for each weight of the body, four for each channel and layer and token attended to,
    two for each weight of the head at each distinct asked position. `truncated` requests
    did not fit: cut on the left, contexts with the same shots begin differently.
    """
    hf = model.hf
    whole = model.encoder.pairs(requests)
    pairs = [truncate(p, model.max_length) for p in whole]
    truncated = sum(a != b for a, b in zip(whole, pairs, strict=True))
    forest = Forest(pairs)
    first = np.minimum(forest.context - 1, forest.fed)
    fresh = forest.fed - forest.shared
    asked = int((forest.fed - np.maximum(first, forest.shared)).clip(min=0).sum())
    attended = (fresh * (forest.shared + 1 + forest.fed) / 2).sum()
    head = hf.get_output_embeddings().weight.numel()
    tied = hf.get_input_embeddings().weight is hf.get_output_embeddings().weight
    body = sum(p.numel() for p in hf.parameters()) - head * (1 if tied else 2)
    layers, width = hf.config.num_hidden_layers, hf.config.hidden_size
    flops = 2 * body * fresh.sum() + 4 * width * layers * attended + 2 * head * asked
    return {
        "tokens": int(fresh.sum()), "asked": asked, "flops": int(flops), "truncated": truncated,
    }  # fmt: skip


_peak: dict[str, tuple[float, float]] = {}


def peak(network: Any) -> tuple[float, float]:
    """Billions of operations a second in matrix products, the best of a few shapes.

    Of the network's type of numbers, where it runs.

    By the wall, and by CPU time with all threads counted, which other processes disturb less.
    """
    key = f"{network.device.type} {network.dtype}"
    if key not in _peak:
        walls, cpus = [], []
        for m, k, n in SHAPES[network.device.type]:
            one, two = (
                torch.randn(shape, device=network.device, dtype=network.dtype)
                for shape in ((m, k), (k, n))
            )
            one @ two
            times = [timed(lambda a=one, b=two: a @ b)[1] for _ in range(20)]
            walls.append(2 * m * k * n / min(wall for wall, _ in times) / 1e9)
            cpus.append(2 * m * k * n / min(cpu for _, cpu in times) / 1e9)
        _peak[key] = (round(max(walls), 1), round(max(cpus) * torch.get_num_threads(), 1))
    return _peak[key]


def short(model: TorchModel, n: int) -> dict[str, object]:
    """Resident memory while many short requests are scored, and whose time it is.

    "Own Python" is what is spent neither inside the network, nor in the sums over the
    vocabulary, nor in the tokenizer. A tenth of the requests warm up first.
    """
    requests = phrases(n)
    warm = model.score(requests[: n // 10])
    del warm
    watch = {
        "network": Watch(model.forward, "_run"),
        "head": Watch(model.forward.head, "_part"),
        "tokenizer": Watch(model.encoder, "plain"),
    }
    process = psutil.Process()
    before, samples, stop = process.memory_info().rss, [], threading.Event()

    def look() -> None:
        while not stop.wait(0.25):
            samples.append(process.memory_info().rss)

    thread = threading.Thread(target=look)
    thread.start()
    scores, (wall, cpu) = timed(lambda: model.score(requests))
    stop.set()
    thread.join()
    spent = {name: round(w.end(), 2) for name, w in watch.items()}
    own = cpu - sum(spent.values()) if torch.get_num_threads() == 1 else None
    after = process.memory_info().rss
    mib = 2**20
    return {
        "requests": n, "wall_s": round(wall, 2), "cpu_s": round(cpu, 2), "spent_cpu_s": spent,
        "own_python_share": round((wall - sum(w.wall for w in watch.values())) / wall, 3),
        "own_python_share_cpu": own and round(own / cpu, 3),
        "rss_warm_mib": round(before / mib), "rss_end_mib": round(after / mib),
        "rss_at_tenths_mib": [round(samples[len(samples) * i // 10] / mib) for i in range(10)]
        if samples else [],
        "scores": len(scores),
        "scores_mib": round(sum(map(sys.getsizeof, scores)) / mib, 1),
    }  # fmt: skip


class Watch:
    """Counts the seconds inside one method of one object, until its end."""

    def __init__(self, owner: Any, name: str) -> None:
        self.owner, self.name, self.cpu, self.wall = owner, name, 0.0, 0.0
        method = getattr(owner, name)

        def counted(*args: Any, **more: Any) -> Any:
            found, (wall, cpu) = timed(lambda: method(*args, **more))
            self.cpu += cpu
            self.wall += wall
            return found

        setattr(owner, name, counted)

    def end(self) -> float:
        delattr(self.owner, self.name)
        return self.cpu


def phrases(n: int) -> Requests:
    """Short contexts of children's words, each with two continuations."""
    words = WORDS.split()
    luck = random.Random(0)
    found: Requests = []
    while len(found) < n:
        a, b, c, d = (luck.choice(words) for _ in range(4))
        context = f"The {a} and the {b} saw a {c}{luck.randrange(100)}"
        found += [(context, f" with a {d}."), (context, f" near the {d}.")]
    return found[:n]


if __name__ == "__main__":
    sys.exit(main())
