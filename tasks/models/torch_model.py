"""A transformers model behind the seam that audits and benchmarks ask through."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from audits.errors import AuditError, MeasureError
from audits.model import Score
from tasks.models.encode import Encoder, Pair
from tasks.models.forward import SPARE, Answers, Forward
from tasks.models.generate import Sampling, continue_prompts
from tasks.models.predictions import Prediction
from tasks.models.rows import grow, truncate
from tasks.models.torch_predictions import predict
from tasks.models.windows import windows


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
        self, requests: Sequence[tuple[str, str]], *, per_token: bool = False
    ) -> list[Score]:
        """Score each (context, continuation) pair; see `LanguageModel.score`.

        A context that does not fit loses tokens on its left, as in lm-eval.

        Raises:
            AuditError: a continuation is empty or longer than the model's `max_length`.
            MeasureError: the network gave something that is not finite.
        """
        pairs = self.encoder.pairs(requests)
        return self._score(pairs, [c[-40:] + "|" + t[:40] for c, t in requests], per_token)

    def score_text(self, texts: Sequence[str], *, add_special: bool = False) -> list[Score]:
        """Score whole texts of any length given BOS (or EOS), window after window.

        Windows do not overlap, and each but the first sees the one token before it
        (lm-eval's `loglikelihood_rolling`). An empty text has log-probability 0.

        Args:
            texts: what to score.
            add_special: score also the BOS that the tokenizer adds, as lm-eval does.
        """
        lead = [self.encoder.prefix] if add_special and self.encoder.adds_bos else []
        tokens = [
            ([] if lead and t.startswith(self.encoder.prefix_text) else lead) + ids
            for t, ids in zip(texts, self.encoder.plain(texts), strict=True)
        ]
        cut = [windows(ids, self.encoder.prefix, self.max_length) for ids in tokens]
        pairs = [Pair(c, k, 0, True) for parts in cut for c, k in parts]
        names = [t[:60] for t, parts in zip(texts, cut, strict=True) for _ in parts]
        scores = iter(self._score(pairs, names, per_token=False))
        return [
            _total([next(scores) for _ in parts], len(text.encode()))
            for text, parts in zip(texts, cut, strict=True)
        ]

    def predictions(self, texts: Sequence[str]) -> Iterator[Prediction]:
        """Log-probabilities of the whole vocabulary along texts; see `Predicts`."""
        return predict(self, texts)

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

    def _score(
        self, pairs: Sequence[Pair], names: Sequence[str], per_token: bool
    ) -> list[Score]:
        for pair, name in zip(pairs, names, strict=True):
            if len(pair.continuation) > self.max_length:
                raise AuditError(
                    f"{name!r}: {len(pair.continuation)} tokens to score exceed the model's "
                    f"{self.max_length} positions; shorten the text or score it in windows"
                )
        cut = [truncate(pair, self.max_length) for pair in pairs]
        rows, places = grow(cut, shared=self.forward.trees, spare=SPARE)
        answers: dict[int, Answers] = {}
        with tqdm(total=len(rows), desc="scoring", unit="row", delay=3, leave=False) as bar:
            for answer in self.forward.answer(rows):
                answers[answer.row] = answer
                bar.update()
        scores = []
        for pair, place, name in zip(cut, places, names, strict=True):
            values = answers[place.row].logprobs[place.asks]
            if not np.isfinite(values).all():
                raise MeasureError(
                    f"{name!r}: the model gave a log-probability that is not finite; its "
                    "weights are damaged or its arithmetic overflowed"
                )
            scores.append(
                Score(
                    logprob=float(values.sum()),
                    n_tokens=len(values),
                    n_bytes=pair.n_bytes,
                    greedy=bool(answers[place.row].greedy[place.asks].all()),
                    boundary_stable=pair.stable,
                    tokens=tuple(values.tolist()) if per_token else (),
                )
            )
        return scores


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
