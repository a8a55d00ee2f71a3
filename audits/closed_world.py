"""Does the model know what it was taught, and say so when it was not?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from audits import candidates, selective
from audits.audit import Tools
from audits.errors import AuditError
from audits.estimand import Declared
from audits.evidence import records_frame
from audits.intervals import Floats, Ints
from audits.model import Example, LanguageModel
from audits.settings import AuditSettings
from audits.world_measures import BINS, TARGETS, measures

if TYPE_CHECKING:
    import pandas as pd

Share = Annotated[float, Field(ge=0, le=1)]


class ClosedWorld(AuditSettings):
    """Recall of stated facts, and answers where there is nothing to know.

    The model answers with its most probable candidate unless the word for not knowing is
    at least as probable or its confidence lies below a threshold. The threshold is fixed
    on the calibration split, whose entities are others: the smallest one at which at most
    `target` of the answers are hallucinated when a share `prevalence` of the questions is
    unanswerable; or it is given as `threshold`. A second threshold promises it: with 95 %
    confidence at most `risk` of the answers above it are wrong
    (`selective.certified_threshold`); `coverage/certified` is what it leaves answered.

    Measures rest on the test split and on the `seen` and `held` forms; reversed questions
    are reported beside them. `recall/known` is of facts with 17 exposures or more in a
    template training stated them in; `recall/known_held` is of the same facts in their
    relation's held-out template.
    """

    kind: Literal["closed_world"] = "closed_world"
    version: ClassVar[int] = 4
    source: str = "facts"
    target: Share = 0.05
    risk: Annotated[float, Field(gt=0, lt=1)] = 0.05
    prevalence: Share = 0.3
    threshold: Share | None = None
    confident: Share = 0.9

    def declares(self) -> tuple[Declared, ...]:
        """Recall, hallucination, abstention, confidence, and what stands behind them."""
        return measures(self.confident)

    def examples(self, rows: Sequence[Mapping[str, object]]) -> tuple[Example, ...]:
        """One example per row of `facts`; clusters are entities."""
        return candidates.examples(self.kind, rows)

    def strata(self, examples: Sequence[Example]) -> tuple[Mapping[str, str], ...]:
        """Stratum, form, scope and bin of each fact, by the copies its row states."""
        return tuple(
            {**known, **_often(known["answerable"] == "yes", e.facts["copies"])}
            for e, known in ((e, candidates.strata(e)) for e in examples)
        )

    def run(
        self, model: LanguageModel, examples: Sequence[Example], tools: Tools, *, seed: int
    ) -> "pd.DataFrame":
        """Score every candidate of every example; nothing is sampled.

        `tools.exposures` counts by example id or fact id; where it counts anything, a fact
        it does not name was never seen. Without it, exposure is the row's `copies`.
        """
        found = candidates.records(self.kind, model, examples, tools.exposures)
        split = _Split.of(found, self.prevalence)
        threshold = self._threshold(split)
        certified = math.inf if split is None else split.certified(self.risk)
        for record in found:
            _place(record, tools.exposures)
            if record["why"] == "":
                self._judge(record, threshold, certified)
        return records_frame(found)

    def _judge(self, record: dict[str, object], threshold: float, certified: float) -> None:
        confidence, correct = float(str(record["confidence"])), record["correct"] == 1
        known = record["answerable"] == "yes"
        answered = record["silent"] == 0 and confidence >= threshold
        record |= {
            "threshold": threshold,
            "answered": float(answered),
            "abstained": float(not answered),
            "recalled": float(answered and correct),
            "wrong": float(answered and not correct),
            "confident_wrong": float(confidence >= self.confident and not correct),
            "hit": float(known and correct),
            "certified": float(record["silent"] == 0 and confidence >= certified),
        }
        record["certified_wrong"] = float(record["certified"] == 1 and not correct)
        for name, target in TARGETS.items():
            worth = record["silent"] == 0 and confidence >= target
            record[f"score_{name}"] = selective.penalised(worth, correct, target)

    def _threshold(self, split: "_Split | None") -> float:
        if self.threshold is not None:
            return self.threshold
        if split is None:
            raise AuditError(
                f"{self.title}: the calibration split needs known and unknown facts to choose"
                " a threshold on; give `threshold` or other rows"
            )
        weight = split.weight * split.spoke
        return smallest_threshold(split.confidence, weight, weight * split.wrong, self.target)


@dataclass(frozen=True, eq=False)
class _Split:
    """Usable rows of the calibration split; `weight` mixes known and unknown as declared."""

    confidence: Floats
    wrong: Floats
    spoke: Floats
    weight: Floats
    cluster: Ints

    @classmethod
    def of(cls, found: Sequence[Mapping[str, object]], prevalence: float) -> "_Split | None":
        """None where it lacks known or unknown facts."""
        usable = [r for r in found if r["scope"] == "calibration" and r["why"] == ""]
        known = np.array([r["answerable"] == "yes" for r in usable], dtype=bool)
        if known.all() or not known.any():
            return None
        _, cluster = np.unique([str(r["cluster"]) for r in usable], return_inverse=True)
        return cls(
            confidence=np.array([r["confidence"] for r in usable], dtype=np.float64),
            wrong=np.array([float(r["correct"] == 0) for r in usable]),
            spoke=np.array([float(r["silent"] == 0) for r in usable]),
            weight=np.where(known, (1 - prevalence) / known.sum(), prevalence / (~known).sum()),
            cluster=cluster,
        )

    def certified(self, risk: float) -> float:
        """The lowest threshold that surely keeps the risk; infinity where none does."""
        kept = self.spoke == 1
        if not kept.any():
            return math.inf
        return selective.certified_threshold(
            self.confidence[kept],
            self.wrong[kept],
            risk=risk,
            weight=self.weight[kept],
            cluster=self.cluster[kept],
        )


def smallest_threshold(
    confidence: "np.ndarray[tuple[int], np.dtype[np.float64]]",
    answered: "np.ndarray[tuple[int], np.dtype[np.float64]]",
    wrong: "np.ndarray[tuple[int], np.dtype[np.float64]]",
    target: float,
) -> float:
    """Smallest confidence from which on at most `target` of the answered weight is wrong.

    Where no confidence will do, the next number above the largest: abstain always.
    """
    order = np.argsort(-confidence, kind="stable")
    ordered = confidence[order]
    last = np.flatnonzero(np.diff(ordered, append=-np.inf) < 0)
    total, bad = np.cumsum(answered[order])[last], np.cumsum(wrong[order])[last]
    met = np.flatnonzero(bad <= target * total + 1e-12)
    if len(met):
        return float(ordered[last[met[-1]]])
    return float(np.nextafter(ordered[0], 2.0))


def bin_of(exposure: float) -> str:
    """Name of the bin an exposure falls in; `0` where the fact was never seen."""
    if exposure < 1:
        return "0"
    return next(name for name, end in BINS.items() if end is None or exposure <= end)


def _place(record: dict[str, object], exposures: Mapping[str, int]) -> None:
    copies = float(str(record.pop("copies")))
    if exposures:
        copies = candidates.exposure(str(record["example"]), str(record["fact"]), exposures)
    record |= {
        "exposure": float(copies),
        **_often(record["answerable"] == "yes", copies),
    }


def _often(known: bool, copies: float) -> dict[str, str]:
    often = known and copies >= candidates.KNOWN_FROM
    return {"bin": bin_of(copies), "often": "yes" if often else "no"}
