"""Does the model's confidence in an answer match how often that answer is right?"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from audits import candidates
from audits.audit import Tools
from audits.estimand import (
    Better,
    Binned,
    CalibrationError,
    Consistency,
    Declared,
    Ratio,
)
from audits.evidence import records_frame
from audits.model import Example, LanguageModel
from audits.settings import AuditSettings

if TYPE_CHECKING:
    import pandas as pd

POPULATIONS: Mapping[str, Mapping[str, str]] = {"K": {"answerable": "yes"}, "all": {}}


TERMS: Mapping[str, tuple[Better, str, Binned | Consistency]] = {
    "ce2_debiased": (
        "lower",
        "squared calibration error in bins of equal mass, without its plug-in bias",
        Binned(term="debiased", mass=True, confidence="confidence", correct="correct"),
    ),
    "reliability": (
        "lower",
        "Murphy's reliability: squared distance of confidence from accuracy in bins",
        Binned(term="reliability", confidence="confidence", correct="correct"),
    ),
    "resolution": (
        "higher",
        "Murphy's resolution: how far accuracies in bins lie from the overall one",
        Binned(term="resolution", confidence="confidence", correct="correct"),
    ),
    "consistency_p": (
        "higher",
        "chance that a calibrated model shows this calibration error or more",
        Consistency(confidence="confidence", correct="correct"),
    ),
}
"""By name: its direction, what it says, and the statistic, whose bins the settings give."""


class Calibration(AuditSettings):
    """Confidence against truth, for known facts alone and with unknown ones among them.

    The confidence is that of the best candidate, normalised over all candidates and the
    word for not knowing; an answer to an unknown fact is never right. A model can be
    calibrated on what it knows and wholly overconfident on what it does not.

    `gap/over` is mean confidence minus accuracy and `gap/under` its negative: a rule on
    each bounds the gap from both sides. It is unbiased at every sample size, and the
    Brier score is proper; plug-in calibration error is neither, so `ece_excess` is given
    above its null. Beside them stand the debiased squared error, Murphy's terms of the Brier
    score, and the p-value of a test of calibration.
    """

    kind: Literal["calibration"] = "calibration"
    version: ClassVar[int] = 3
    source: str = "facts"
    bins: Annotated[int, Field(ge=2)] = 15

    def declares(self) -> tuple[Declared, ...]:
        """Gaps, Brier score and excess calibration error, on K and on all questions."""
        found: list[Declared] = []
        for name, where in POPULATIONS.items():
            found += _scores(name, {**candidates.TEST, **where})
            found += self._binned(name, {**candidates.TEST, **where})
            found.append(
                Declared(
                    name=f"ece_excess/{name}",
                    better="lower",
                    where={**candidates.TEST, **where},
                    about="expected calibration error above that of a calibrated model",
                    of=CalibrationError(
                        bins=self.bins, confidence="confidence", correct="correct"
                    ),
                )
            )
        for name in candidates.PREVALENCES:
            found += _scores(f"pi_{name}", candidates.TEST, weight=f"weight_{name}")
        return tuple(found)

    def _binned(self, name: str, where: Mapping[str, str]) -> list[Declared]:
        return [
            Declared(
                name=f"{term}/{name}", better=better, unit="score", where=where, about=about,
                of=of.model_copy(update={"bins": self.bins}),
            )
            for term, (better, about, of) in TERMS.items()
        ]  # fmt: skip

    def examples(self, rows: Sequence[Mapping[str, object]]) -> tuple[Example, ...]:
        """One example per row of `facts`; clusters are entities."""
        return candidates.examples(self.kind, rows)

    def strata(self, examples: Sequence[Example]) -> tuple[Mapping[str, str], ...]:
        """Stratum, form and scope of each fact."""
        return tuple(candidates.strata(e) for e in examples)

    def run(
        self, model: LanguageModel, examples: Sequence[Example], tools: Tools, *, seed: int
    ) -> "pd.DataFrame":
        """Score every candidate of every example; nothing is sampled."""
        found = candidates.records(self.kind, model, examples, tools.exposures)
        for record in found:
            if record["why"] == "":
                confidence, correct = float(str(record["confidence"])), record["correct"] == 1
                record |= {
                    "over": confidence - correct,
                    "under": correct - confidence,
                    "brier": (confidence - correct) ** 2,
                }
        return records_frame(found)


def _scores(name: str, where: Mapping[str, str], weight: str = "") -> list[Declared]:
    among = {"K": "known facts", "all": "all questions of the set"}.get(
        name, f"questions of which {name.removeprefix('pi_')} % are unanswerable"
    )
    return [
        Declared(
            name=f"gap/{side}/{name}",
            better="lower",
            where=where,
            about=f"{about}, {among}",
            of=Ratio(value=side, weight=weight, proportion=False),
        )
        for side, about in (
            ("over", "mean confidence minus accuracy"),
            ("under", "accuracy minus mean confidence"),
        )
    ] + [
        Declared(
            name=f"brier/{name}",
            better="lower",
            where=where,
            unit="score",
            about=f"mean squared distance of confidence from truth, {among}",
            of=Ratio(value="brier", weight=weight),
        )
    ]
