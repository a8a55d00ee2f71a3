"""What do BBQ and WinoBias cost beside bare forward passes over their unique tokens?"""

import argparse
import csv
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from audits.audit import Tools
from audits.bbq import Bbq
from audits.crows_pairs import CrowsPairs
from audits.evidence import Part
from audits.model import Example, Score
from audits.winobias import WinoBias
from tasks.models.torch_model import TorchModel

from .scoring import llama135m, unique_work

ROW = 128
"""Tokens of each row of the bare passes: nothing padded, nothing shared."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=40, help="of each set, evenly spread")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    named = os.environ.get("ASSAY_DATA", "")
    if not (data := Path(named)).is_dir() or not named:
        print(json.dumps({"skipped": "ASSAY_DATA names no folder"}))
        return 0
    model = llama135m(data)
    report = {
        name: cost(model, audit, spread(examples, options.items), options.repeats)
        for name, audit, examples in (
            ("bbq", Bbq(), Bbq().examples(jsonl(data / "bbq" / "Age.jsonl"))),
            ("winobias", WinoBias(), WinoBias().examples(winobias(data / "winobias"))),
            ("crows_pairs", CrowsPairs(), CrowsPairs().examples(crows(data))),
        )
    }
    print(json.dumps({"threads": torch.get_num_threads(), **report}, indent=1))
    return 0


def jsonl(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def winobias(folder: Path) -> list[dict[str, object]]:
    files = {
        f"{side}{kind}": f"{side}_stereotyped_type{kind}.txt.dev"
        for side in ("pro", "anti")
        for kind in (1, 2)
    }
    files |= {gender: f"{gender}_occupations.txt" for gender in ("female", "male")}
    return [
        {"id": f"{role}/{at}", "role": role, "line": line}
        for role, name in files.items()
        for at, line in enumerate((folder / name).read_text("utf-8").splitlines())
        if line.strip()
    ]


def crows(data: Path) -> list[dict[str, str]]:
    with (data / "crows_pairs" / "crows_pairs_anonymized.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def spread(examples: Sequence[Example], items: int) -> list[Example]:
    """As many neighbouring pairs as asked for, evenly over the file: they share contexts."""
    step = max(2, len(examples) // max(1, items // 2))
    return [e for at in range(0, len(examples) - 1, step) for e in examples[at : at + 2]][
        :items
    ]


class Listening:
    """Keeps what is asked of a model."""

    def __init__(self, model: TorchModel) -> None:
        self.model, self.asked, self.digest = model, [], model.digest

    def score(self, requests: Sequence[tuple[str, str]], **more: Any) -> list[Score]:
        self.asked = list(requests)
        return self.model.score(requests, **more)


def cost(
    model: TorchModel, audit: Any, examples: Sequence[Example], repeats: int
) -> dict[str, object]:
    """CPU seconds of asking, and of bare passes, in turns; and of all measures after it."""
    heard = Listening(model)
    audit.run(heard, examples, Tools(), seed=0)
    work = unique_work(model, heard.asked)
    rows = max(1, work["tokens"] // ROW)
    ids = torch.randint(0, model.hf.config.vocab_size, (rows, ROW))
    ours, bare = [], []
    for _ in range(repeats):
        ours.append(spent(lambda: audit.run(model, examples, Tools(), seed=0)))
        bare.append(spent(lambda: passes(model, ids)) * work["tokens"] / (rows * ROW))
    records = audit.run(model, examples, Tools(), seed=0)
    part = Part(
        audit.kind,
        audit.kind,
        audit.declares(),
        tuple(e.id for e in examples),
        records,
        "bench",
    )
    estimating = spent(part.measures)
    return {
        "items": len(examples),
        "requests": len(heard.asked),
        "unique_tokens": work["tokens"],
        "audit_cpu_s": round(min(ours), 2),
        "bare_cpu_s": round(min(bare), 2),
        "ratio": round(min(ours) / min(bare), 3),
        "measures_cpu_s": round(estimating, 2),
    }


def passes(model: TorchModel, ids: torch.Tensor, batch: int = 8) -> None:
    """The whole network over every token once, its head included."""
    with torch.inference_mode():
        for at in range(0, len(ids), batch):
            model.hf(ids[at : at + batch], use_cache=False)


def spent(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    sys.exit(main())
