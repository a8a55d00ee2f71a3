"""A model that knows how often each token stands in a text, and nothing else."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from audits.errors import AuditError
from audits.model import Score

if TYPE_CHECKING:
    from tasks.models.encode import Encoder


class UnigramModel:
    """Scores each token by its share in a text, whatever stands before it.

    What such a model prefers follows from the frequencies of words alone. Every token counts
    once more than it was seen, so that none is impossible (Laplace).
    """

    def __init__(self, encoder: "Encoder", texts: Sequence[str], vocab: int) -> None:
        self._encoder = encoder
        counts = np.ones(vocab)
        ids = [np.array(one, np.int64) for one in encoder.plain(texts)]
        if not ids:
            raise AuditError("unigram: there is no text to count; name a set with documents")
        seen = np.bincount(np.concatenate(ids), minlength=vocab)
        counts += seen[:vocab]
        self._logprobs = np.log(counts / counts.sum())
        self.digest = f"unigram-{hashlib.sha256(seen.tobytes()).hexdigest()}"

    def score(
        self,
        requests: Sequence[tuple[str, str]],
        *,
        per_token: bool = False,
        moments: bool = False,
    ) -> list[Score]:
        """Score each continuation, encoded with its context as the model's own are.

        Raises:
            AuditError: moments are asked for, which nobody needs of it.
        """
        if moments:
            raise AuditError("unigram: it gives no moments of the vocabulary")
        return [self._scored(pair, per_token) for pair in self._encoder.pairs(requests)]

    def generate(self, prompts: Sequence[str], **how: Any) -> list[list[str]]:  # noqa: ANN401 - nothing is read
        """Refuse: a bag of words continues nothing."""
        raise AuditError("unigram: it scores text and cannot continue it")

    def truncated(self, prompts: Sequence[str], *, max_new_tokens: int) -> list[int | None]:
        """None: it has no window, and continues nothing."""
        return [None] * len(prompts)

    def _scored(self, pair: Any, per_token: bool) -> Score:  # noqa: ANN401 - a pair of tokens
        each = self._logprobs[list(pair.continuation)]
        return Score(
            float(each.sum()), len(each), pair.n_bytes, greedy=False,
            boundary_stable=pair.stable, tokens=tuple(each.tolist()) if per_token else (),
            ids=tuple(pair.continuation) if per_token else (),
        )  # fmt: skip
