"""An encoder behind the seam, scored by pseudo-log-likelihood.

Each token of a continuation is masked in turn and read from all the others (Salazar et al.,
arXiv 1910.14659); the sum is no probability of the text, but ranks texts like one.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from audits.errors import AuditError
from audits.model import Score
from tasks.models.answers import Answers
from tasks.models.encode import Encoder, Pair
from tasks.models.head import Head
from tasks.models.scorer import Scorer
from tasks.models.shape import max_length, n_parameters

_TOKENS = 4096
_LOGITS = 2**26


class MaskedModel:
    """Scores text with a masked language model of transformers; it cannot continue any."""

    def __init__(self, hf: Any, tokenizer: Any, *, digest: str) -> None:  # noqa: ANN401 - untyped libraries
        self.hf = hf
        self.tokenizer = tokenizer
        self.digest = digest
        self.encoder = _Around(tokenizer)
        network = _Masked(hf, self.encoder, max_length(hf.config, tokenizer))
        self.max_length = network.room
        self.scorer = Scorer(self.encoder, network)

    @property
    def n_parameters(self) -> int:
        """Number of weights, tied ones once."""
        return n_parameters(self.hf)

    @property
    def bos_policy(self) -> str:
        """What stands around a text; part of every basis."""
        return self.encoder.bos_policy

    @property
    def conditions(self) -> dict[str, str | int | float | bool]:
        """What the numbers were computed with, and that they are no log-likelihoods."""
        return {
            "backend": "transformers",
            "dtype": str(self.hf.dtype).removeprefix("torch."),
            "device": str(self.hf.device.type),
            "bos_policy": self.bos_policy,
            "scoring": "pseudo-log-likelihood",
        }

    def score(
        self,
        requests: Sequence[tuple[str, str]],
        *,
        per_token: bool = False,
        moments: bool = False,
    ) -> list[Score]:
        """Pseudo-log-likelihood of each continuation given its context; nats.

        A context that does not fit loses tokens on its left.

        Raises:
            AuditError: a continuation is empty or longer than the model's `max_length`.
            MeasureError: the network gave something that is not finite.
        """
        return self.scorer.score(requests, per_token=per_token, moments=moments)

    def truncated(self, prompts: Sequence[str], *, max_new_tokens: int) -> list[int | None]:
        """Refuse, as `generate` does."""
        raise self._no_continuation()

    def score_text(self, texts: Sequence[str], *, add_special: bool = False) -> list[Score]:
        """Pseudo-log-likelihood of whole texts, window after window.

        Args:
            texts: what to score.
            add_special: has no effect; the tokens around a text are never scored.
        """
        return self.scorer.score_text(texts, ())

    def recheck(self) -> float | None:
        """Largest difference in nats of a sample that is scored again one by one."""
        return self.scorer.recheck()

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
        """Refuse.

        Raises:
            AuditError: always; an encoder fills gaps and continues nothing.
        """
        raise self._no_continuation()

    def _no_continuation(self) -> AuditError:
        return AuditError(
            f"the model ({self.hf.config.model_type}) is an encoder with a masked language "
            "head: it scores text and cannot continue it; leave out what generates, or give "
            "a causal model"
        )


class _Around(Encoder):
    """Encodes requests for what stands between the tokenizer's own first and last token."""

    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401 - an untyped library object
        if tokenizer.mask_token_id is None:
            raise AuditError(
                "the tokenizer has no mask token, so an encoder cannot be asked for a word: "
                "name one in its special_tokens_map.json"
            )
        plain = tokenizer.encode("a", add_special_tokens=False)
        whole = tokenizer.encode("a")
        cuts = (i for i in range(len(whole)) if whole[i : i + len(plain)] == plain)
        at = next(cuts, 0)
        self.head, self.tail = tuple(whole[:at]), tuple(whole[at + len(plain) :])
        if len(self.head) != 1:
            raise AuditError(
                f"the tokenizer puts {len(self.head)} tokens before a text where an encoder's "
                "puts one ([CLS]); give the tokenizer that the model was trained with"
            )
        self.tokenizer = tokenizer
        [self.prefix] = self.head
        self.prefix_text = tokenizer.decode([self.prefix])
        self.adds_bos = True

    @property
    def bos_policy(self) -> str:
        """What stands around a text."""
        first, *last = self.tokenizer.convert_ids_to_tokens([*self.head, *self.tail])
        return f"empty:{first},context:{first},end:{''.join(last) or 'none'}"


class _Masked:
    """A masked language network as what answers pairs.

    Sequences of one length stand together, so nothing is padded.
    """

    def __init__(self, hf: Any, around: _Around, positions: int) -> None:  # noqa: ANN401 - untyped torch
        self.hf, self.around = hf, around
        vocab = int(hf.config.get_text_config().vocab_size)
        self.head = Head(None, vocab)
        self.room = positions - len(around.head) - len(around.tail)
        self.budget = min(_TOKENS, max(1, _LOGITS // vocab))

    def fit(self, pair: Pair) -> Pair:
        """Drop context from the left; the first token stays what it is."""
        room = self.room - len(pair.continuation)
        rest = pair.context[1:] if pair.context[:1] == self.around.head else pair.context
        kept = rest[max(0, len(rest) - room) :]
        return Pair(self.around.head + kept, pair.continuation, pair.n_bytes, pair.stable)

    def answer(
        self,
        pairs: Sequence[Pair],
        *,
        moments: bool,
        planned: Callable[[float], None],
        done: Callable[[float], None],
    ) -> Answers:
        """Answer every pair: one sequence for each token asked."""
        counts = np.array([len(p.continuation) for p in pairs], np.int64)
        starts = np.concatenate([[0], np.cumsum(counts)])
        found = Answers(
            starts,
            np.empty(starts[-1]),
            np.empty(starts[-1], np.bool_),
            np.empty((starts[-1], 2 if moments else 0)),
        )
        tasks = [(i, j) for i, n in enumerate(counts.tolist()) for j in range(n)]
        length = [len(p.context) + len(p.continuation) + len(self.around.tail) for p in pairs]
        planned(float(sum(length[i] for i, _ in tasks)))
        tasks.sort(key=lambda task: -length[task[0]])
        while tasks:
            width = length[tasks[0][0]]
            size = max(1, self.budget // width)
            batch = [task for task in tasks[:size] if length[task[0]] == width]
            tasks = tasks[len(batch) :]
            said = self._read(pairs, batch, moments)
            places = np.array([starts[i] + j for i, j in batch])
            found.logprobs[places], found.greedy[places] = said.logprobs, said.greedy
            found.moments[places] = said.moments
            done(float(width * len(batch)))
        return found

    def alone(self, pair: Pair) -> list[float]:
        """Log-probabilities with one sequence at a time."""
        return [
            float(self._read([pair], [(0, j)], moments=False).logprobs[0])
            for j in range(len(pair.continuation))
        ]

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch types are not followed
    def _read(
        self, pairs: Sequence[Pair], batch: Sequence[tuple[int, int]], moments: bool
    ) -> Any:  # noqa: ANN401 - torch's decorator hides it
        ids = np.array(
            [(*pairs[i].context, *pairs[i].continuation, *self.around.tail) for i, _ in batch]
        )
        at = np.array([len(pairs[i].context) + j for i, j in batch])
        rows = np.arange(len(batch))
        asked = ids[rows, at]
        ids[rows, at] = self.around.tokenizer.mask_token_id
        given = torch.from_numpy(ids).to(self.hf.device)
        logits = self.hf(given, attention_mask=torch.ones_like(given)).logits
        chosen = logits[torch.from_numpy(rows), torch.from_numpy(at)]
        return self.head.read(chosen, rows, asked, moments=moments)
