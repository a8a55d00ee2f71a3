"""The seam between audits and whatever runs a language model."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Protocol

from audits.errors import AuditError, SpecError


@dataclass(frozen=True, slots=True)
class Example:
    """One item of an audit set, fixed before any model is asked.

    `strata` become columns of the records; `facts` are numbers known about the item
    (a corpus ratio, a count), also columns.
    """

    id: str
    prompt: str
    choices: tuple[str, ...] = ()
    target: str = ""
    cluster: str = ""
    group: str = ""
    strata: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Score:
    """What a model says of one continuation given its context.

    `logprob` is the sum over the continuation's tokens in nats; `tokens` holds the
    per-token values when asked for. `greedy` is true where every token was the argmax.
    `boundary_stable` is false where the context's own tokens are not a prefix of the
    tokens of context and continuation together. `truncated` counts the tokens that the
    context lost on its left for want of room in the model's window: the answer is to a
    shorter question. It is None where the model does not tell.

    `moments` holds, when asked for, the mean and standard deviation (nats) of log p over
    the vocabulary under p itself, in front of each token: what Min-K%++ standardises a
    token's log-probability by (arXiv 2404.02936).

    `ids` are the numbers of the continuation's tokens in the model's own vocabulary, given
    with `tokens` where the model knows them: what two texts share can be told by them.
    """

    logprob: float
    n_tokens: int
    n_bytes: int
    greedy: bool
    boundary_stable: bool = True
    truncated: int | None = 0
    tokens: tuple[float, ...] = ()
    moments: tuple[tuple[float, float], ...] = ()
    ids: tuple[int, ...] = ()


class LanguageModel(Protocol):
    """What an audit may ask of a model."""

    @property
    def digest(self) -> str:
        """Content hash of weights, tokenizer and generation defaults."""
        ...

    def score(
        self,
        requests: Sequence[tuple[str, str]],
        *,
        per_token: bool = False,
        moments: bool = False,
    ) -> list[Score]:
        """Score each (context, continuation) pair, in the order given.

        An empty context is conditioned on BOS, or on EOS where there is no BOS. Trailing
        spaces of a context move to the continuation, the pair is encoded once, and split
        at the length of the encoded context. What pairs share, a context or a common
        beginning, is computed once where that saves work.

        Args:
            requests: pairs of (context, continuation).
            per_token: give each token's log-probability and number too.
            moments: give the moments of the vocabulary in front of each token too.
        """
        ...

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        seed: int,
        temperature: float = 0.0,
        n: int = 1,
        stop: Sequence[str] = (),
        lots: Sequence[str] = (),
    ) -> list[list[str]]:
        """Continue each prompt `n` times; text ends before the first stop string.

        Temperature 0 is greedy. The k-th sample of a prompt uses random numbers that
        depend on the seed, the prompt and k alone: the same in any two models, and
        whatever else is asked. With `lots`, a name for each prompt takes the prompt's place:
        prompts of one lot share their randomness, so that what differs between their
        continuations comes from the prompts. A prompt that leaves no room loses tokens on its
        left.

        Raises:
            SpecError: see `require_generation`, which every model calls first.
            AuditError: a prompt is no Unicode text.
        """
        ...

    def truncated(self, prompts: Sequence[str], *, max_new_tokens: int) -> list[int | None]:
        """How many tokens each prompt loses in `generate`; None where that is not known."""
        ...


def require_generation(
    prompts: Iterable[str],
    *,
    max_new_tokens: int,
    seed: int,
    temperature: float,
    n: int,
    stop: Sequence[str],
) -> None:
    """Refuse what no model can generate by; arguments of `LanguageModel.generate`.

    Raises:
        SpecError: a number is out of range, or a stop string is empty.
        AuditError: a text is none in Unicode.
    """
    whole = {"max_new_tokens": (max_new_tokens, 1), "n": (n, 1), "seed": (seed, 0)}
    for name, (value, least) in whole.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
            raise SpecError(
                f"generate: {name} is {value!r}; give a whole number of at least {least}"
            )
    if not isinstance(temperature, Real) or not 0 <= temperature < math.inf:
        raise SpecError(
            f"generate: temperature is {temperature!r}; give 0 for the likeliest token each "
            "time, or a finite number above it"
        )
    if isinstance(stop, str) or not all(stop):
        raise SpecError(
            f"generate: stop is {stop!r}; give a list of texts to stop before, none of them "
            "empty"
        )
    require_text([*prompts, *stop])


def require_text(texts: Iterable[str]) -> None:
    """Refuse a text that UTF-8 cannot hold, for it has no bytes and so no tokens.

    Raises:
        AuditError: naming the text and the place.
    """
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            near = text[max(0, error.start - 20) : error.end + 20]
            raise AuditError(
                f"{near!a}: character {error.start} is half a surrogate pair "
                f"({text[error.start]!a}), which is no Unicode text; correct the document"
            ) from error
