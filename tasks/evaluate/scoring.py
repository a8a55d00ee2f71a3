"""Scores of our tasks where lm-eval's own would come to no number."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def mc2(doc: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """Share of the answers' total probability that goes to the true ones.

    lm-eval exponentiates each log-probability first: where all of them lie below -745 nats
    every term is zero and the share is no number. Relative to the largest they cannot be.
    """
    logprobs = np.array([logprob for logprob, _ in results])
    weights = np.exp(logprobs - logprobs.max())
    true = np.array(doc["mc2_targets"]["labels"]) == 1
    return {"acc": float(weights[true].sum() / weights.sum())}
