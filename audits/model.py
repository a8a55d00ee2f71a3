"""The seam between audits and whatever runs a language model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


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
    tokens of context and continuation together.
    """

    logprob: float
    n_tokens: int
    n_bytes: int
    greedy: bool
    boundary_stable: bool = True
    tokens: tuple[float, ...] = ()
    moments: tuple[tuple[float, float], ...] = ()


class LanguageModel(Protocol):
    """What an audit may ask of a model."""

    @property
    def digest(self) -> str:
        """Content hash of weights, tokenizer and generation defaults."""
        ...

    def score(
        self, requests: Sequence[tuple[str, str]], *, per_token: bool = False
    ) -> list[Score]:
        """Score each (context, continuation) pair, in the order given.

        An empty context is conditioned on BOS, or on EOS where there is no BOS. Trailing
        spaces of a context move to the continuation, the pair is encoded once, and split
        at the length of the encoded context. Pairs that share a context cost it once.
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
    ) -> list[list[str]]:
        """Continue each prompt `n` times; text ends before the first stop string.

        Temperature 0 is greedy. The k-th sample of every prompt uses the same random
        numbers in any two models asked with the same seed.
        """
        ...
