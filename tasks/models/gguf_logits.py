"""What do rows of logits say of the tokens that were asked about?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Answers:
    """For each asked token: log-probability in nats, whether it was the argmax, moments.

    `moments` has two columns, or none where they are not wanted: mean and standard
    deviation of log p over the vocabulary under p itself (Min-K%++, arXiv 2404.02936).
    """

    logprobs: npt.NDArray[np.float64]
    greedy: npt.NDArray[np.bool_]
    moments: npt.NDArray[np.float64]

    @classmethod
    def blank(cls, n: int, *, moments: bool) -> "Answers":
        """Room for `n` answers, not a number until they are filled in."""
        return cls(np.full(n, np.nan), np.zeros(n, np.bool_), np.full((n, 2 * moments), np.nan))

    def fill(self, logits: Logits, rows: Ints, tokens: Ints, places: Ints) -> None:
        """Answer at `places` what `rows` of logits say of `tokens`; rows are in order.

        Each row is normalized once, in float64.
        """
        starts: Sequence[int] = np.flatnonzero(np.diff(rows, prepend=-1)).tolist()
        for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
            row, mine = logits[rows[start]], places[start:end]
            total = normalizer(row)
            self.logprobs[mine] = row[tokens[start:end]] - total
            self.greedy[mine] = tokens[start:end] == row.argmax()
            if self.moments.shape[1]:
                self.moments[mine] = _moments(row, total)


def normalizer(row: npt.NDArray[np.float32]) -> float:
    """Logarithm of the sum of exponentials, in float64."""
    top = float(row.max())
    return top + float(np.log(np.exp(row - top, dtype=np.float64).sum()))


def _moments(row: npt.NDArray[np.float32], total: float) -> tuple[float, float]:
    logs = row.astype(np.float64) - total
    chances = np.exp(logs)
    mean = float(chances @ logs)
    return mean, float(np.sqrt(chances @ (logs - mean) ** 2))
