"""Decoding a Q4 file in llama.cpp beside transformers in 32-bit floats, A B A B, as JSON.

`python -m tests.bench.gguf_decode`: a Llama of SmolLM2-135M's shape with random weights,
written by the method `gguf` (q4_0, embedding and head q8_0, for 576 is no multiple of 256).
Each side decodes greedily in a process of its own; a turn's rate is that of its median token.
Budgets: the file at least 8 times as fast, and at least 60 % of what the memory gives: the
file's bytes, each read once a token, over the best rate at which as many threads read 2 GiB.
What lies in a cache is read faster: the rate for a buffer of the file's size stands beside it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

BUDGETS = {"times_faster": 8.0, "share_of_bandwidth": 0.6}
SHAPE = {
    "dtype": "float32", "device": "cpu", "new_tokens": 65, "prompt_tokens": 16, "seed": 0,
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.model:
        print(json.dumps(turn(options.model, options.threads)))
        return 0
    with tempfile.TemporaryDirectory() as home:
        print(json.dumps(report(Path(home), options), indent=1))
    return 0


def report(home: Path, options: argparse.Namespace) -> dict[str, object]:
    from tasks.models.gguf_file import runner_version

    from .gguf import llama, types

    load = round(os.getloadavg()[0], 2)
    source = llama(home / "source", options.layers)
    file = written(source, home)
    size = file.stat().st_size
    rates: dict[str, list[float]] = {"transformers_f32": [], "llama_cpp_q4_0": []}
    reads: dict[str, list[float]] = {"of_2_gib": [], "of_the_files_size": []}
    for _ in range(options.repeats):
        rates["transformers_f32"].append(apart(source, options.threads))
        rates["llama_cpp_q4_0"].append(apart(file, options.threads))
        reads["of_2_gib"].append(reading(2**31, options.threads))
        reads["of_the_files_size"].append(reading(size, options.threads))
    times = [b / a for a, b in zip(*rates.values(), strict=True)]
    slow, fast = (statistics.median(found) for found in rates.values())
    shares = {name: size * fast / statistics.median(found) for name, found in reads.items()}
    found = {"times_faster": fast / slow, "share_of_bandwidth": shares["of_2_gib"]}
    return {
        "load_1min_before": load,
        "threads": options.threads,
        "llama_cpp_python": runner_version(),
        "file_bytes": size,
        "types": types(file),
        "tokens_per_second": {name: spread(each) for name, each in rates.items()},
        "times_faster_by_pair": spread(times),
        "read_gb_per_second": {
            name: spread([r / 1e9 for r in each]) for name, each in reads.items()
        },
        "share_of_bandwidth": {name: round(share, 3) for name, share in shares.items()},
        "budgets": {
            name: {"found": round(found[name], 2), "at_least": least,
                   "kept": found[name] >= least}
            for name, least in BUDGETS.items()
        },
    }  # fmt: skip


def written(source: Path, home: Path) -> Path:
    """The file, as a variant of a run would be."""
    from tasks.compress import Gguf
    from tasks.compress.folder import Source

    out = home / "out"
    out.mkdir()
    Gguf(type="q4_0", embeddings="q8_0").apply(Source(source, [], out))
    return out / "model.gguf"


def apart(model: Path, threads: int) -> float:
    """Tokens per second of one turn, in a process that has done nothing else."""
    said = subprocess.run(
        [sys.executable, "-m", "tests.bench.gguf_decode", "--model", str(model),
         "--threads", str(threads)],
        capture_output=True, text=True, check=True,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
    )  # fmt: skip
    return float(json.loads(said.stdout.splitlines()[-1]))


def turn(model: Path, threads: int) -> float:
    """Decode twice and time the second."""
    settings: dict[str, Any] = SHAPE | {"threads": threads}
    if model.suffix == ".gguf":
        from tasks.profile.gguf_decoder import GgufDecoder as Decoder
    else:
        from tasks.profile.torch_decoder import (  # type: ignore[assignment]  # the other side
            TorchDecoder as Decoder,
        )
    decoder = Decoder(model, settings)
    decoder.decode()
    return 1000 / statistics.median(decoder.decode().next_ms)


def reading(size: int, threads: int) -> float:
    """Bytes per second at which all threads together read a buffer: the best of 12 rounds."""
    parts = np.array_split(np.ones(size // 4, np.float32), threads)
    rounds = max(1, 2**30 // size)
    ways: list[Callable[[Any], Any]] = [np.max, np.sum, lambda part: np.dot(part, part)]
    return max(timed(parts, way, rounds) * size for way in ways for _ in range(4))


def timed(parts: list[Any], way: Callable[[Any], Any], rounds: int) -> float:
    """Rounds per second of a thread for each part; numpy lets them run side by side."""
    ready = threading.Barrier(len(parts) + 1)

    def read(part: Any) -> None:
        ready.wait()
        for _ in range(rounds):
            way(part)

    workers = [threading.Thread(target=read, args=(part,)) for part in parts]
    for worker in workers:
        worker.start()
    ready.wait()
    began = time.perf_counter()
    for worker in workers:
        worker.join()
    return rounds / (time.perf_counter() - began)


def spread(found: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(found), 2),
        "min": round(min(found), 2),
        "max": round(max(found), 2),
    }


if __name__ == "__main__":
    sys.exit(main())
