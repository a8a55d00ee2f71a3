"""A causal network of transformers behind the seam that audits and benchmarks ask through."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

from audits.errors import AuditError
from audits.model import Score, require_generation
from tasks.models.answers import Answers, answer
from tasks.models.decode import Decoder, decoder, most_positions
from tasks.models.encode import Encoder, Pair, beyond
from tasks.models.forward import Forward
from tasks.models.generate import Sampling, continue_prompts
from tasks.models.luck import named_lots
from tasks.models.predictions import Prediction
from tasks.models.rows import truncate
from tasks.models.scorer import Scorer
from tasks.models.shape import max_length, n_parameters
from tasks.models.torch_predictions import predict


class TorchModel:
    """Scores and continues text with a causal network of transformers, on one device.

    The same requests give the same numbers; among other requests they differ by less than
    1e-3 nats in float32, for company changes the order of sums.
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
        self.max_length = max_length(hf.config, tokenizer)
        self.forward = Forward(hf)
        self.scorer = Scorer(self.encoder, _Causal(self.forward, self.max_length))

    @property
    def n_parameters(self) -> int:
        """Number of weights, tied ones once; scales of quantized ones do not count."""
        return n_parameters(self.hf)

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
            **rounded(self.hf.config),
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
        return self.scorer.score(requests, per_token=per_token, moments=moments)

    def truncated(self, prompts: Sequence[str], *, max_new_tokens: int) -> list[int | None]:
        """Tokens that each prompt loses in `generate`; see `LanguageModel.truncated`."""
        return beyond(self.encoder, prompts, self.max_length - max_new_tokens)

    def score_text(self, texts: Sequence[str], *, add_special: bool = False) -> list[Score]:
        """Score whole texts of any length given BOS (or EOS), window after window.

        Windows do not overlap, and each but the first sees the one token before it
        (lm-eval's `loglikelihood_rolling`). An empty text has log-probability 0.

        Args:
            texts: what to score.
            add_special: score also the BOS that the tokenizer adds, as lm-eval does.
        """
        lead = [self.encoder.prefix] if add_special and self.encoder.adds_bos else []
        return self.scorer.score_text(texts, lead)

    def recheck(self) -> float | None:
        """Largest difference in nats of a sample that is scored again one by one."""
        return self.scorer.recheck()

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
        lots: Sequence[str] = (),
    ) -> list[list[str]]:
        """Continue each prompt `n` times; see `LanguageModel.generate`.

        Generation ends at the model's end tokens, before a stop string, or after
        `max_new_tokens`. A prompt that leaves no room loses tokens on its left.
        """
        require_generation(
            prompts, max_new_tokens=max_new_tokens, seed=seed, temperature=temperature, n=n,
            stop=stop,
        )  # fmt: skip
        if max_new_tokens >= self.max_length:
            raise AuditError(
                f"cannot generate {max_new_tokens} tokens with a model of {self.max_length} "
                "positions; ask for fewer"
            )
        room = self.max_length - max_new_tokens
        ids = [tokens[-room:] for tokens in self.encoder.contexts(prompts)]
        how = Sampling(max_new_tokens, seed, temperature, n, tuple(stop), self._ends())
        most = most_positions(self.hf)
        named = named_lots(lots, prompts)
        return continue_prompts(self._decoder, most, self.tokenizer, named, ids, how)

    @cached_property
    def _decoder(self) -> Decoder:
        return decoder(self.forward)

    def _ends(self) -> frozenset[int]:
        defaults = getattr(self.hf, "generation_config", None)
        listed = getattr(defaults, "eos_token_id", None)
        ends = listed if isinstance(listed, list) else [listed]
        return frozenset(e for e in (*ends, self.tokenizer.eos_token_id) if e is not None)


class _Causal:
    """A causal network as what answers pairs: what they share is computed once."""

    def __init__(self, forward: Forward, room: int) -> None:
        self.forward, self.room = forward, room

    def fit(self, pair: Pair) -> Pair:
        """Drop context from the left until the tokens that are fed fit."""
        return truncate(pair, self.room)

    def answer(
        self,
        pairs: Sequence[Pair],
        *,
        moments: bool,
        planned: Callable[[float], None],
        done: Callable[[float], None],
    ) -> Answers:
        """Answer every pair."""
        return answer(self.forward, pairs, moments=moments, planned=planned, done=done)

    def alone(self, pair: Pair) -> list[float]:
        """Log-probabilities by one sequence in one plain run."""
        found: list[float] = self.forward.alone(pair)
        return found


def rounded(config: Any) -> dict[str, str]:  # noqa: ANN401 - transformers' own
    """To what a packed model rounds as it runs: inputs of layers, keys and values."""
    held = getattr(config, "quantization_config", None)
    said = held if isinstance(held, dict) else held.to_dict() if held is not None else {}
    groups = (said.get("config_groups") or {}).values()
    found = {
        "inputs_dtype": next(filter(None, (g.get("input_activations") for g in groups)), None),
        "kv_dtype": said.get("kv_cache_scheme"),
    }
    return {
        name: f"{scheme['type']}{scheme['num_bits']}"
        for name, scheme in found.items()
        if scheme
    }
