"""Which of several answers does a model choose, by whole log-probability and per byte?"""

from collections.abc import Sequence

from audits.model import Score


def credits(scores: Sequence[float]) -> tuple[float, ...]:
    """What each choice gets of one answer: all of it for the best, alike among equals.

    >>> credits([-2.0, -1.0, -3.0]), credits([-1.0, -1.0])
    ((0.0, 1.0, 0.0), (0.5, 0.5))
    """
    best = max(scores)
    equal = sum(score == best for score in scores)
    return tuple((score == best) / equal for score in scores)


def by_sum(scores: Sequence[Score]) -> tuple[float, ...]:
    """Log-probability of each whole choice, nats: favours short ones."""
    return tuple(score.logprob for score in scores)


def by_byte(scores: Sequence[Score]) -> tuple[float, ...]:
    """Nats per byte of each choice: does not, and compares across tokenizers."""
    return tuple(score.logprob / score.n_bytes for score in scores)
