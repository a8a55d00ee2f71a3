"""A transformers model behind the seam that audits and benchmarks ask through."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from audits.errors import AuditError, MeasureError
from audits.model import Score
from tasks.models.answers import Answers, answer
from tasks.models.encode import Encoder, Pair
from tasks.models.forward import Forward
from tasks.models.generate import Sampling, continue_prompts
from tasks.models.progress import Progress
from tasks.models.rows import truncate
from tasks.models.selfcheck import Reservoir
from tasks.models.windows import windows

ITEMS_AT_ONCE = 4096
"""Requests that are planned together, so that memory does not grow with their number."""
CHARACTERS_AT_ONCE = 2**22


class TorchModel:
    """Scores and continues text with a causal network of transformers, on one device.

    The same requests give the same numbers; among other requests they differ by less than
    1e-3 nats in float32, for padding changes the order of sums.
    """

    def __init__(
        self,
        hf: Any,  # noqa: ANN401 - an untyped torch module
        tokenizer: Any,  # noqa: ANN401 - an untyped library object
        *,
        digest: str,
        add_bos: bool | None = None,
    ) -> None:
        self.hf = hf
        self.tokenizer = tokenizer
        self.digest = digest
        self.encoder = Encoder(tokenizer, add_bos=add_bos)
        self.max_length = _max_length(hf.config, tokenizer)
        self.forward = Forward(hf)
        self.sample = Reservoir()

    @property
    def n_parameters(self) -> int:
        """Number of weights, tied ones once; scales of quantized ones do not count."""
        extra = ("_scale", "_zero_point", "_g_idx", "_global_scale")
        named = self.hf.named_parameters()
        return sum(p.numel() for name, p in named if not name.endswith(extra))

    @property
    def bos_policy(self) -> str:
        """What stands before empty and other contexts; part of every basis."""
        return self.encoder.bos_policy

    @property
    def conditions(self) -> dict[str, str | int | float | bool]:
        """What the numbers were computed with."""
        return {
            "backend": "transformers",
            "dtype": str(self.hf.dtype).removeprefix("torch."),
            "device": str(self.hf.device.type),
            "bos_policy": self.bos_policy,
        }

    def score(
        self,
        requests: Sequence[tuple[str, str]],
        *,
        per_token: bool = False,
        moments: bool = False,
    ) -> list[Score]:
        """Score each (context, continuation) pair; see `LanguageModel.score`.

        A context that does not fit loses tokens on its left, as in lm-eval.

        Raises:
            AuditError: a continuation is empty or longer than the model's `max_length`.
            MeasureError: the network gave something that is not finite.
        """
        unique = list(dict.fromkeys(requests))
        sizes = [len(context) + len(text) for context, text in unique]
        found: dict[tuple[str, str], Score] = {}
        with Progress("scoring", sum(sizes)) as bar:
            for low, high in _portions(sizes):
                asked = unique[low:high]
                pairs, said = self._answer(
                    self.encoder.pairs(asked), [_name(*r) for r in asked],
                    sum(sizes[low:high]), bar, moments=moments,
                )  # fmt: skip
                found.update(zip(asked, _scores(pairs, said, per_token), strict=True))
        return [found[request] for request in requests]

    def score_text(self, texts: Sequence[str], *, add_special: bool = False) -> list[Score]:
        """Score whole texts of any length given BOS (or EOS), window after window.

        Windows do not overlap, and each but the first sees the one token before it
        (lm-eval's `loglikelihood_rolling`). An empty text has log-probability 0.

        Args:
            texts: what to score.
            add_special: score also the BOS that the tokenizer adds, as lm-eval does.
        """
        sizes = [len(text) for text in texts]
        scores: list[Score] = []
        with Progress("scoring", sum(sizes)) as bar:
            for low, high in _portions(sizes):
                scores += self._texts(texts[low:high], add_special, bar)
        return scores

    def recheck(self) -> float | None:
        """Compute a sample of what was scored since the last call again, one by one.

        Returns:
            The largest difference in nats, or None where nothing was scored.
        """
        items = list(self.sample.items)
        self.sample.clear()
        again = [sum(self.forward.alone(pair)) for pair, _ in items]
        return max((abs(a - b) for a, (_, b) in zip(again, items, strict=True)), default=None)

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
        """Continue each prompt `n` times; see `LanguageModel.generate`.

        Generation ends at the model's end tokens, before a stop string, or after
        `max_new_tokens`. A prompt that leaves no room loses tokens on its left.
        """
        if max_new_tokens >= self.max_length:
            raise AuditError(
                f"cannot generate {max_new_tokens} tokens with a model of {self.max_length} "
                "positions; ask for fewer"
            )
        room = self.max_length - max_new_tokens
        ids = [tokens[-room:] for tokens in self.encoder.contexts(prompts)]
        how = Sampling(max_new_tokens, seed, temperature, n, tuple(stop), self._ends())
        return continue_prompts(self.hf, self.tokenizer, ids, how)

    def _ends(self) -> frozenset[int]:
        defaults = getattr(self.hf, "generation_config", None)
        listed = getattr(defaults, "eos_token_id", None)
        ends = listed if isinstance(listed, list) else [listed]
        return frozenset(e for e in (*ends, self.tokenizer.eos_token_id) if e is not None)

    def _texts(self, texts: Sequence[str], add_special: bool, bar: Progress) -> list[Score]:
        lead = [self.encoder.prefix] if add_special and self.encoder.adds_bos else []
        tokens = [
            ([] if lead and t.startswith(self.encoder.prefix_text) else lead) + ids
            for t, ids in zip(texts, self.encoder.plain(texts), strict=True)
        ]
        cut = [windows(ids, self.encoder.prefix, self.max_length) for ids in tokens]
        pairs = [Pair(c, k, 0, True) for parts in cut for c, k in parts]
        names = [t[:60] for t, parts in zip(texts, cut, strict=True) for _ in parts]
        scores: Iterator[Score] = iter(())
        if pairs:
            scores = iter(
                _scores(*self._answer(pairs, names, sum(map(len, texts)), bar), False)
            )
        return [
            _total([next(scores) for _ in parts], len(text.encode()))
            for text, parts in zip(texts, cut, strict=True)
        ]

    def _answer(
        self,
        pairs: Sequence[Pair],
        names: Sequence[str],
        characters: int,
        bar: Progress,
        *,
        moments: bool = False,
    ) -> tuple[list[Pair], Answers]:
        """The pairs as far as they fit, and what the network says of them."""
        for pair, name in zip(pairs, names, strict=True):
            if len(pair.continuation) > self.max_length:
                raise AuditError(
                    f"{name!r}: {len(pair.continuation)} tokens to score exceed the model's "
                    f"{self.max_length} positions; shorten the text or score it in windows"
                )
        cut = [truncate(pair, self.max_length) for pair in pairs]
        said = answer(
            self.forward, cut, moments=moments, done=bar.done,
            planned=lambda work: bar.plan(characters, work),
        )  # fmt: skip
        bad = ~np.isfinite(said.logprobs)
        if bad.any():
            first = int(np.searchsorted(said.starts, bad.argmax(), side="right")) - 1
            raise MeasureError(
                f"{names[first]!r}: the model gave a log-probability that is not finite; its "
                "weights are damaged or its arithmetic overflowed"
            )
        self.sample.offer(cut, said.sums())
        return cut, said


def _name(context: str, continuation: str) -> str:
    return f"{context[-40:]}|{continuation[:40]}"


def _portions(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Cut items into runs of limited number and size: from, to below."""
    low, held = 0, 0
    for at, size in enumerate(sizes):
        full = at - low == ITEMS_AT_ONCE or held + size > CHARACTERS_AT_ONCE
        if full and at > low:
            yield low, at
            low, held = at, 0
        held += size
    if low < len(sizes):
        yield low, len(sizes)


def _scores(pairs: Sequence[Pair], said: Answers, per_token: bool) -> list[Score]:
    bounds = said.starts.tolist()
    each = said.logprobs.tolist() if per_token else []
    moments = [tuple(pair) for pair in said.moments.tolist()] if said.moments.size else []
    return [
        Score(total, b - a, pair.n_bytes, top, pair.stable, tuple(each[a:b]), tuple(moments[a:b]))
        for pair, total, top, a, b in zip(
            pairs, said.sums(), said.argmax(), bounds[:-1], bounds[1:], strict=True
        )
    ]


def _total(parts: Sequence[Score], n_bytes: int) -> Score:
    return Score(
        logprob=sum(p.logprob for p in parts),
        n_tokens=sum(p.n_tokens for p in parts),
        n_bytes=n_bytes,
        greedy=all(p.greedy for p in parts),
    )


def _max_length(config: Any, tokenizer: Any) -> int:  # noqa: ANN401 - untyped library objects
    """Positions the model has, where lm-eval looks for them too."""
    text = config.get_text_config()
    for name in ("n_positions", "max_position_embeddings", "n_ctx"):
        if value := getattr(text, name, None):
            return int(value)
    stated = int(tokenizer.model_max_length)
    return stated if stated < 10**9 else 2048
