"""How is a text longer than the model cut into pieces that are each scored once?"""

from collections.abc import Sequence

from audits.model import Score

Piece = tuple[tuple[int, ...], tuple[int, ...]]


def windows(tokens: Sequence[int], prefix: int, max_length: int) -> list[Piece]:
    """Cut tokens into (context, continuation) pieces; together they hold every token once.

    The first piece follows `prefix`; each later one follows as much of the text before it
    as makes its input `max_length` long, and at least one token. Same pieces as lm-eval
    0.4.13 (`get_rolling_token_windows` with a context of 1, made disjoint).
    """
    first = min(max_length, len(tokens))
    pieces: list[Piece] = [((prefix,), tuple(tokens[:first]))] if first else []
    for start in range(first, len(tokens), max_length):
        end = min(start + max_length, len(tokens))
        before = tokens[max(0, end - max_length - 1) : start]
        pieces.append((tuple(before), tuple(tokens[start:end])))
    return pieces


def total(parts: Sequence[Score], n_bytes: int) -> Score:
    """The score of a text from those of its windows; nothing of it was cut off."""
    return Score(
        logprob=sum(p.logprob for p in parts),
        n_tokens=sum(p.n_tokens for p in parts),
        n_bytes=n_bytes,
        greedy=all(p.greedy for p in parts),
    )
