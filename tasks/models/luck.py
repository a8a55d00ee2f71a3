"""Which random numbers does a sample get, and may they decide?"""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from audits.errors import AuditError, MeasureError


def named_lots(lots: Sequence[str], prompts: Sequence[str]) -> Sequence[str]:
    """By what each prompt gets its luck: its lot, or itself where none are given.

    Raises:
        AuditError: there are lots, and not one for each prompt.
    """
    if lots and len(lots) != len(prompts):
        raise AuditError(f"{len(lots)} lots for {len(prompts)} prompts; give each prompt one")
    return lots or prompts


def luck(seed: int, prompts: Sequence[str], samples: int, n: int) -> npt.NDArray[np.float64]:
    """Uniform numbers in [0, 1), a row for each sample of each prompt, `n` in each.

    They depend on seed, prompt and number of the sample alone: not on the model, so that
    models asked alike share their randomness, nor on what else is asked. A longer row
    begins like a shorter one.
    """
    rows = []
    for prompt in prompts:
        digest = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).digest()
        key = np.frombuffer(digest[:16], np.uint32).tolist()
        rows += [np.random.default_rng([seed, k, *key]).random(n) for k in range(samples)]
    return np.array(rows).reshape(len(prompts) * samples, n)


def require_finite(likeliest: bool) -> None:
    """Refuse a next token by a network that gave what is no number.

    Args:
        likeliest: whether the largest logit is finite (one NaN makes the largest a NaN).

    Raises:
        MeasureError: it is not.
    """
    if not likeliest:
        raise MeasureError(
            "the model gave a log-probability that is not finite while it generated; its "
            "weights are damaged or its arithmetic overflowed"
        )
