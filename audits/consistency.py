"""How unlike are several answers of one model to one question?

Consistency is not truth: a model that is always wrong in one way looks sure. What these
numbers are worth is how well they tell wrong answers from right ones (`audits.uncertainty`).
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

Same = Callable[[str, str], bool]
"""Whether two answers mean the same; asked in both directions."""

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_OTHER = re.compile(r"[^\w\s]")


def normalised(text: str) -> str:
    """An answer without case, punctuation, articles and spare blanks (as SQuAD compares).

    >>> normalised(" The  Castle, of Ulm.")
    'castle of ulm'
    """
    return " ".join(_ARTICLES.sub(" ", _OTHER.sub(" ", text.lower())).split())


def exactly(one: str, other: str) -> bool:
    """Equivalence by exact normalised match: the default, which needs no model."""
    return normalised(one) == normalised(other)


def clusters(answers: Sequence[str], same: Same = exactly) -> list[int]:
    """Number of each answer's meaning, in order of appearance.

    An answer joins the first cluster whose first answer means the same in both directions, and
    stays there. The code of Farquhar et al. (2024) lets a later cluster take answers from an
    earlier one where equivalence is not transitive; there the order of samples would decide
    twice.
    """
    heads: list[str] = []
    found: list[int] = []
    for answer in answers:
        at = next(
            (k for k, head in enumerate(heads) if same(head, answer) and same(answer, head)),
            len(heads),
        )
        if at == len(heads):
            heads.append(answer)
        found.append(at)
    return found


def discrete_entropy(meaning: Sequence[int]) -> float:
    """Entropy in nats of how often each meaning was given: -sum n_k/N ln(n_k/N).

    Biased down by about (K - 1) / 2N for K meanings.

    >>> round(discrete_entropy([0, 1, 0, 2, 0]), 6)
    0.950271
    """
    n = len(meaning)
    return -sum(c / n * math.log(c / n) for c in Counter(meaning).values()) or 0.0


def rao_entropy(meaning: Sequence[int], logprobs: Sequence[float]) -> float:
    """Entropy in nats of meanings weighed by likelihood.

    Each sample weighs exp(log-probability), normalised over the samples and summed by meaning
    (Farquhar et al. 2024, `predictive_entropy_rao`). They take the mean per token.
    """
    logs = np.asarray(logprobs, dtype=np.float64)
    weights = np.exp(logs - logs.max())
    share = np.bincount(np.asarray(meaning), weights=weights / weights.sum())
    share = share[share > 0]
    return max(0.0, float(-(share * np.log(share)).sum()))


def ngram_surprise(
    response: Sequence[Sequence[str]], samples: Sequence[Sequence[Sequence[str]]], n: int = 1
) -> tuple[list[float], list[float]]:
    """SelfCheck's n-gram score of each sentence of a response: mean and largest -ln p.

    p is the joint relative frequency count(n-gram) / all n-grams of response and samples
    together (arXiv:2303.08896; `modeling_ngram.py`): not conditional and never 0, for the
    response is counted too. Sentences are token lists, padded on the left with n - 1 signs.
    """
    counted: Counter[tuple[str, ...]] = Counter()
    for text in (response, *samples):
        for sentence in text:
            counted.update(_ngrams(sentence, n))
    total = sum(counted.values())
    surprise = [[-math.log(counted[g] / total) for g in _ngrams(s, n)] for s in response]
    return [float(np.mean(s)) for s in surprise], [max(s) for s in surprise]


def _ngrams(sentence: Sequence[str], n: int) -> list[tuple[str, ...]]:
    padded = [*["<s>"] * (n - 1), *sentence]
    return [tuple(padded[at : at + n]) for at in range(len(sentence))]
