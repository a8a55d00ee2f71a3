"""What does the score cache cost beside the scoring it saves?"""

import json
import resource
import tempfile
import time
from pathlib import Path

from audits.model import Score
from tasks.models.load import load
from tasks.models.memory import remembering
from tasks.models.scorecache import ScoreCache
from tasks.models.testing import tiny_llama


class Instant:
    """Answers at once, so that all the time spent is the cache's."""

    digest = "instant"

    def score(self, requests, *, per_token=False):
        return [Score(-0.1 * len(t), 1 + len(t), len(t), False) for _, t in requests]


def scorecache(requests: int = 100_000, scored: int = 4_000) -> dict[str, object]:
    """CPU seconds of 100,000 short requests: first asked, then known, then without a cache.

    Beside them the time that a model of two layers and width 64 takes for as many, measured
    on a few thousand: no model that people use is smaller.
    """
    asked = [(f"Question {i // 4} of the list is", f" answer {i % 4}") for i in range(requests)]
    with tempfile.TemporaryDirectory() as folder:
        cache = ScoreCache(Path(folder) / "scores")
        with_it, without = remembering(Instant(), cache), remembering(Instant())
        rounds = [
            {"first": _cpu(with_it, asked), "bare": _cpu(without, asked)},
            *({"known": _cpu(with_it, asked), "bare": _cpu(without, asked)} for _ in range(3)),
        ]
        assert with_it.counts["computed"] == requests
        size = sum(f.stat().st_size for f in (Path(folder) / "scores").iterdir())
        before = _peak()
        _cpu(with_it, asked)
        grown = _peak() - before
        model = load(tiny_llama(Path(folder) / "model"), device="cpu")
        some = asked[:scored]
        scoring = _cpu(model, some) * requests / scored
    return {
        "requests": requests,
        "first_asked_cpu_s": round(rounds[0]["first"], 2),
        "known_cpu_s": round(min(r["known"] for r in rounds[1:]), 2),
        "without_cache_cpu_s": round(min(r["bare"] for r in rounds), 2),
        "smallest_model_cpu_s": round(scoring, 1),
        "share_of_scoring": round((rounds[0]["first"] - rounds[0]["bare"]) / scoring, 3),
        "bytes_per_answer": round(size / requests),
        "peak_growth_mib": round(grown, 1),
    }


def _cpu(model: object, asked: list[tuple[str, str]]) -> float:
    began = time.process_time()
    model.score(asked)
    return time.process_time() - began


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    print(json.dumps(scorecache(), indent=1))
