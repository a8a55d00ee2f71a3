"""What the closed-world audit measures, as declarations over its records."""

from collections.abc import Mapping
from typing import Literal

from audits.candidates import PREVALENCES, STRATA
from audits.estimand import Auroc, Declared, Ratio, RiskCoverage

BINS = {"1": 1, "2-4": 4, "5-16": 16, "17-64": 64, "65-up": None}
"""Exposures by the name of their bin, with its last count."""
TEST = {"scope": "test"}
TARGETS = {"50": 0.5, "75": 0.75, "90": 0.9}
"""Confidence from which on answering is worth it, by its name in percent."""


def measures(confident: float) -> tuple[Declared, ...]:
    """Recall, hallucination, abstention, confidence, and what stands behind them."""
    return (*_recall(), *_hallucination(confident), *_confidence())


def _share(
    name: str,
    value: str,
    better: Literal["higher", "lower"],
    about: str,
    *,
    over: str = "",
    weight: str = "",
    proportion: bool = True,
    where: Mapping[str, str] | None = None,
    unit: str = "share",
) -> Declared:
    return Declared(
        name=name,
        unit=unit,
        better=better,
        about=about,
        where={**TEST, **(where or {})},
        of=Ratio(value=value, over=over, weight=weight, proportion=proportion),
    )


def _recall() -> list[Declared]:
    often = {"stratum": "K", "often": "yes"}
    found = [
        _share(
            "recall/known",
            "recalled",
            "higher",
            "often stated facts answered rightly, as training put them",
            where={**often, "form": "seen"},
        ),
        _share(
            "recall/known_held",
            "recalled",
            "higher",
            "often stated facts answered rightly in the held-out template",
            where={**often, "form": "held"},
        ),
    ]
    found += [
        _share(
            f"recall/{form}/{name}",
            "recalled",
            "higher",
            f"facts seen {name} times answered rightly, {form} template",
            where={"form": form, "stratum": "K", "bin": name},
        )
        for form in ("seen", "held")
        for name in BINS
    ]
    return [*found, *_known()]


def _known() -> list[Declared]:
    reversed_only = {"scope": "reversed_test", "stratum": "K"}
    often = {"stratum": "K", "often": "yes"}
    return [
        _share(
            "accuracy/raw",
            "correct",
            "higher",
            "known facts whose best candidate is right, never abstaining",
            where={"stratum": "K"},
        ),
        _share(
            "accuracy/reversed",
            "correct",
            "higher",
            "the same asked the other way round; expected to fail",
            where=reversed_only,
        ),
        _share(
            "accuracy/above_prior",
            "above_prior",
            "higher",
            "accuracy above always giving the relation's most common object",
            proportion=False,
            where={"stratum": "K"},
        ),
        _share(
            "discrimination",
            "discrimination",
            "higher",
            "share of false candidates that the true one outscores",
            where={"stratum": "K"},
        ),
        _share(
            "discrimination/matched",
            "beaten_matched",
            "higher",
            "the same among false candidates of as many tokens",
            over="matched",
            where={"stratum": "K"},
        ),
        _share(
            "accuracy/prior_corrected",
            "corrected",
            "higher",
            "known facts whose object gains most over its mean probability for the relation",
            where={"stratum": "K"},
        ),
        _share(
            "over_abstention",
            "abstained",
            "lower",
            "often stated facts that the model would not answer",
            where=often,
        ),
    ]


def _hallucination(confident: float) -> list[Declared]:
    found = [
        _share(
            f"hallucination/pi_{name}",
            "wrong",
            "lower",
            f"share of answers that are wrong or to nothing, {share:.0%} unanswerable",
            over="answered",
            weight=f"weight_{name}",
        )
        for name, share in PREVALENCES.items()
    ]
    found += [
        _share(
            f"answered/{stratum}",
            "answered",
            "lower",
            f"questions of stratum {stratum} answered although nothing was ever stated",
            where={"stratum": stratum},
        )
        for stratum in STRATA[1:]
    ]
    sure = f"false with a confidence of {confident:g} or more"
    found += [
        _share(
            f"confident_wrong/{stratum}",
            "confident_wrong",
            "lower",
            f"{sure}, stratum {stratum}",
            where={"stratum": stratum},
        )
        for stratum in STRATA
    ]
    return [
        *found,
        _share(
            "wrong/K",
            "wrong",
            "lower",
            "wrong among answers to known facts",
            over="answered",
            where={"stratum": "K"},
        ),
        _share("confident_wrong", "confident_wrong", "lower", sure),
    ]


def _confidence() -> list[Declared]:
    return [
        Declared(
            name="auroc",
            better="higher",
            where=TEST,
            of=Auroc(score="confidence", label="hit"),
            about="does confidence separate right answers to known facts from all else",
        ),
        *(
            Declared(
                name=area,
                better="lower",
                unit="score",
                where=TEST,
                of=RiskCoverage(area=area, confidence="confidence", correct="hit"),
                about=about,
            )
            for area, about in _AREAS.items()
        ),
        *_certified(),
        _share("residual", "residual", "lower", "probability of none of the candidates"),
        Declared(
            name="entropy/K",
            better="lower",
            unit="nats",
            where={**TEST, "stratum": "K"},
            of=Ratio(value="entropy", proportion=False),
            about="entropy over the candidates, known facts",
        ),
    ]


_AREAS: dict[Literal["augrc", "aurc"], str] = {
    "augrc": "average risk of a wrong answer that no threshold withholds, all questions",
    "aurc": "mean share wrong among the surest answers, over every coverage, all questions",
}


def _certified() -> list[Declared]:
    found = [
        _share(
            "coverage/certified",
            "certified",
            "higher",
            "answered above the threshold that the calibration split certifies, 30 % "
            "unanswerable",
            weight="weight_30",
        ),
        _share(
            "risk/certified",
            "certified_wrong",
            "lower",
            "wrong or to nothing among those answers",
            over="certified",
            weight="weight_30",
        ),
    ]
    found += [
        _share(
            f"score/t_{name}",
            f"score_{name}",
            "higher",
            f"1 a right answer, {-target / (1 - target):.3g} a wrong one, 0 none; answering "
            f"from confidence {target:g} on, 30 % unanswerable",
            weight="weight_30",
            proportion=False,
            unit="score",
        )
        for name, target in TARGETS.items()
    ]
    return found
