"""Do the numbers of a stage hold when each is computed alone?

Batches, trees and kept beginnings change the order of sums and must change nothing else. A
model keeps a sample of what it really computed (what a cache answered was computed
elsewhere); a stage ends by computing that sample again, one sequence at a time.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from audits.errors import MeasureError
from tasks.models.encode import Pair

ITEMS = 64
MOST_NATS = 1e-3
"""Largest difference of a log-probability in float32."""
FLOAT32 = frozenset({"float32", "f32"})


class Reservoir:
    """A random sample of all pairs offered so far, each as likely as any other, by seed."""

    def __init__(self, seed: int = 0, size: int = ITEMS) -> None:
        self._seed, self._size = seed, size
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self._luck = np.random.default_rng(self._seed)
        self._seen = 0
        self.items: list[tuple[Pair, float]] = []

    def offer(self, pairs: list[Pair], logprobs: list[float]) -> None:
        """Let computed pairs into the sample, each with its log-probability in nats."""
        first = max(0, min(self._size - self._seen, len(pairs)))
        self.items += zip(pairs[:first], logprobs[:first], strict=True)
        numbers = np.arange(self._seen + first, self._seen + len(pairs))
        places = (self._luck.random(len(numbers)) * (numbers + 1)).astype(np.int64)
        for at in (places < self._size).nonzero()[0].tolist():
            self.items[int(places[at])] = (pairs[first + at], logprobs[first + at])
        self._seen += len(pairs)


@runtime_checkable
class Rechecks(Protocol):
    """A model that can compute again what it computed."""

    @property
    def conditions(self) -> dict[str, str | int | float | bool]:
        """What the numbers were computed with."""
        ...

    def recheck(self) -> float | None:
        """Largest difference in nats since the last call; None where nothing was computed."""
        ...


def selfcheck(model: Any) -> dict[str, float]:  # noqa: ANN401 - any model, or a wrapper of one
    """Conditions to record: `rescored_max_diff` in nats, or nothing to record.

    Raises:
        MeasureError: a log-probability of a float32 model is another when computed alone.
    """
    if not isinstance(model, Rechecks):
        return {}
    found = model.recheck()
    if found is None:
        return {}
    if _in_float32(model.conditions) and not found <= MOST_NATS:
        raise MeasureError(
            f"INCONCLUSIVE(numeric): a log-probability differs by {found:.2g} nats when its "
            f"sequence is scored alone, more than the {MOST_NATS:g} allowed in float32; the "
            "weights may be near overflow, or this network does not bear batching"
        )
    return {"rescored_max_diff": found}


def _in_float32(conditions: Mapping[str, object]) -> bool:
    """Whether weights, what enters a layer, and what is kept of a context have all 32 bits.

    A GGUF file says its type in llama.cpp's words, and that of its cache beside it. Whatever
    is rounded as a network runs turns the last digit of a sum into a whole step.
    """
    asked = ("dtype", "inputs_dtype", "kv_dtype")
    said = [conditions.get(asked[0]), *(conditions.get(k, "float32") for k in asked[1:])]
    return all(str(dtype).lower() in FLOAT32 for dtype in said)
