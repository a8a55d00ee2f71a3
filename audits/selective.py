"""How well does a confidence tell answers to keep from answers to withhold?

Everything here takes one confidence per row (any scale, higher is surer) and whether the answer
was wrong. Rows of equal confidence come in every order equally often: a curve inside a tie is
the expectation over those orders, so the order of a file decides nothing.

References and where they differ (AUDITS 4.3): lm-polygraph breaks ties by input order and
min-max normalises the target, so it gives 0.5 where all answers are right and where all are
wrong; torch-uncertainty integrates by trapezoids from coverage 1/n, in single precision, and
sorts ties unstably; fd-shifts collapses ties, adds coverage 0 and multiplies by 1000. Without
ties and with both outcomes present ours is lm-polygraph's; the others are within 2/n of it.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from audits.intervals import Floats, Ints, cluster_sums
from audits.resample import Statistic
from audits.unseen import Clusters

Area = Literal["aurc", "augrc", "eaurc"]
COVERAGES = 20
"""Candidate thresholds: the confidences at 1/20, 2/20, … of the calibration rows."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Selective risk over coverage, one point for each distinct confidence, surest first.

    `coverage` is the share answered at a threshold; `risk` the share wrong among the answered.
    """

    threshold: Floats
    coverage: Floats
    risk: Floats


def curve(confidence: Floats, wrong: Floats) -> Curve:
    """The points that a threshold can reach: inside a tie there is none.

    >>> c = curve(np.array([0.9, 0.5, 0.5]), np.array([0.0, 1.0, 0.0]))
    >>> c.coverage.round(3).tolist(), c.risk.round(3).tolist()
    ([0.333, 1.0], [0.0, 0.333])
    """
    order, starts = _blocks(confidence)
    answered, bad = (
        np.add.reduceat(each[order], starts).cumsum() for each in (np.ones_like(wrong), wrong)
    )
    return Curve(confidence[order][starts], answered / len(confidence), bad / answered)


def area(confidence: Floats, wrong: Floats, kind: Area) -> float:
    """The area of `kind` under these rows; see `areas`.

    >>> confidence, wrong = np.array([0.9, 0.8, 0.7]), np.array([0.0, 1.0, 0.0])
    >>> round(area(confidence, wrong, "aurc"), 4)  # (0 + 1/2 + 1/3) / 3
    0.2778
    >>> round(area(confidence, wrong, "augrc"), 4)  # (0 + 1 + 1) / 3 / 3
    0.2222
    """
    return float(areas(confidence, wrong, kind)(np.ones((len(wrong), 1)))[0])


def areas(confidence: Floats, wrong: Floats, kind: Area) -> Statistic:
    """An area under the risk-coverage curve as a function of whole row weights.

    Over k = 1 … n, with e_k the errors among the k surest (their expectation inside a tie):

    * `aurc`: mean of e_k / k (Geifman and El-Yaniv 2017). It weighs the few surest most.
    * `augrc`: mean of e_k / n, the average risk of an undetected failure (Traub et al.,
      arXiv:2407.01032); a row counts alike wherever it stands.
    * `eaurc`: AURC above that of the best order of answers with this error rate,
      err + (1 - err) ln(1 - err) (Geifman et al., arXiv:1805.08206); an expansion for many
      rows, so a perfect order of few may lie a little below 0.

    Lower is better for all. A row of weight 2 is two rows of one confidence: a tie.
    """
    order, starts = _blocks(confidence)
    sorted_already, wrong_at = bool((np.diff(order) == 1).all()), wrong[order][:, None]
    distinct = len(starts) == len(order)

    def statistic(weights: Floats) -> Floats:
        rows = weights if sorted_already else weights[order]
        size, bad = rows, rows * wrong_at
        if not distinct:
            size, bad = (np.add.reduceat(each, starts, axis=0) for each in (size, bad))
        n, fell = size.sum(axis=0), np.cumsum(bad, axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            if kind == "augrc":
                # of size * (fell before) + bad * (size + 1) / 2, summed over the blocks
                inside = np.einsum("br,br->r", size, bad)
                whole = np.einsum("br,br->r", size, fell)
                return np.asarray((whole + (fell[-1] - inside) / 2) / n**2)
            found = _mean_risk(size, bad, fell) / n
            return np.asarray(found if kind == "aurc" else found - _best(fell[-1] / n))

    return statistic


def _mean_risk(size: Floats, bad: Floats, fell: Floats) -> Floats:
    """Sum over ranks of expected errors / rank.

    In a block of m rows with e errors, after N rows with E errors, rank N + j holds
    (E + j e / m) / (N + j): together e + (E - N e / m) (H(N + m) - H(N)). `fell` counts the
    errors to the end of each block.
    """
    after = np.cumsum(size, axis=0)
    harmonic = np.concatenate(([0.0], np.cumsum(1 / np.arange(1, int(after[-1].max()) + 1))))
    steps = harmonic[after.astype(np.intp)]
    steps[1:] -= steps[:-1].copy()
    rate = np.divide(bad, size, out=np.zeros_like(bad), where=size > 0)
    # E - N e / m is fell - after * rate at the end of the block too
    rate *= after
    return np.asarray(fell[-1] + np.einsum("br,br->r", fell - rate, steps))


def _best(error: Floats) -> Floats:
    right = 1 - error
    logs = np.log(right, out=np.zeros_like(right), where=right > 0)
    return np.asarray(error + right * logs)


def _blocks(confidence: Floats) -> tuple[Ints, Ints]:
    """The order from surest to least sure, and where in it each distinct value begins."""
    order = np.argsort(-confidence, kind="stable")
    starts = np.flatnonzero(np.diff(confidence[order], prepend=np.inf))
    return order, starts


def certified_threshold(
    confidence: Floats,
    wrong: Floats,
    *,
    risk: float,
    delta: float = 0.05,
    weight: Floats | None = None,
    cluster: Ints | None = None,
) -> float:
    """The lowest threshold above which at most `risk` of the answers are surely wrong.

    Selection with guaranteed risk (SGR, Geifman and El-Yaniv, arXiv:1705.08500, algorithm 1):
    the upper limit of the risk among answers of confidence >= threshold, at `delta` shared
    between all candidates (a union bound), must lie within `risk`. Chosen on a calibration
    split, it holds on other rows of the same kind with probability 1 - `delta`. SGR halves
    its way through thresholds that its data pick; here the candidates are fixed beforehand
    (`COVERAGES` equal steps), so that the union bound holds to the letter. The limit is
    Clopper and Pearson's for independent rows, and Gaffke's (`audits.unseen`) for clusters
    or weights.

    Args:
        confidence: of each calibration row.
        wrong: 1 where its answer is wrong, else 0.
        risk: the share of wrong answers that is allowed, in (0, 1).
        delta: the chance that the promise fails.
        weight: of each row, for a declared mix of strata; all alike where None.
        cluster: number of each row's cluster, from 0; each its own where None.

    Returns:
        The threshold; infinity where none will do (answer nothing).
    """
    n = len(confidence)
    weight = np.ones(n) if weight is None else weight
    _, owner = np.unique(np.arange(n) if cluster is None else cluster, return_inverse=True)
    heaviest = float(cluster_sums(weight, owner).max())
    ranked = np.sort(confidence)[::-1]
    ranks = {math.ceil(n * step / COVERAGES) - 1 for step in range(1, COVERAGES + 1)}
    for rank in sorted(ranks, reverse=True):
        kept = confidence >= ranked[rank]
        mass = np.where(kept, weight, 0.0)
        num, den = cluster_sums(mass * wrong, owner), cluster_sums(mass, owner)
        asked = Clusters(num[den > 0], den[den > 0], heaviest, heaviest)
        limit = asked.upper(delta / COVERAGES)
        if limit <= risk:
            return float(ranked[rank])
    return math.inf


def penalised(answered: float, correct: float, target: float) -> float:
    """Score of a row where a wrong answer costs `target` / (1 - `target`).

    1 for a right answer, 0 for none: at this price answering pays where the chance of being
    right exceeds `target`, so a model that says so of itself is rewarded for silence and
    plain accuracy would reward its guess (Kalai et al., arXiv:2509.04664).

    >>> [penalised(*row, 0.75) for row in ((1, 1), (1, 0), (0, 1))]
    [1.0, -3.0, 0.0]
    """
    return float(answered * (correct - target / (1 - target) * (1 - correct)))
