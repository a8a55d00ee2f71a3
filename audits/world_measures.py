"""What the closed-world audit measures, as declarations over its records."""

from collections.abc import Mapping
from typing import Literal

from audits.candidates import PREVALENCES, STRATA, TEST
from audits.estimand import Auroc, Better, Declared, Ratio, RiskCoverage, share

BINS = {"1": 1, "2-4": 4, "5-16": 16, "17-64": 64, "65-up": None}
"""Exposures by the name of their bin, with its last count."""
TARGETS = {"50": 0.5, "75": 0.75, "90": 0.9}
"""Confidence from which on answering is worth it, by its name in percent."""


def measures(confident: float) -> tuple[Declared, ...]:
    """Recall, hallucination, abstention, confidence, and what stands behind them."""
    return (*_recall(), *_hallucination(confident), *_confidence())


def on_test(
    name: str,
    value: str,
    better: Better,
    about: str,
    where: Mapping[str, str] | None = None,
    *,
    over: str = "",
    weight: str = "",
    proportion: bool = True,
    unit: str = "share",
) -> Declared:
    """Declare a share of the rows of the test split."""
    return share(
        name, value, better, about, {**TEST, **(where or {})},
        over=over, weight=weight, proportion=proportion, unit=unit,
    )  # fmt: skip


def _recall() -> list[Declared]:
    often = {"stratum": "K", "often": "yes"}
    found = [
        on_test(
            "recall/known",
            "recalled",
            "higher",
            "often stated facts answered rightly, as training put them",
            where={**often, "form": "seen"},
        ),
        on_test(
            "recall/known_held",
            "recalled",
            "higher",
            "often stated facts answered rightly in the held-out template",
            where={**often, "form": "held"},
        ),
    ]
    found += [
        on_test(
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
        on_test(
            "accuracy/raw",
            "correct",
            "higher",
            "known facts whose best candidate is right, never abstaining",
            where={"stratum": "K"},
        ),
        on_test(
            "accuracy/reversed",
            "correct",
            "higher",
            "the same asked the other way round; expected to fail",
            where=reversed_only,
        ),
        on_test(
            "accuracy/above_prior",
            "above_prior",
            "higher",
            "accuracy above always giving the relation's most common object",
            proportion=False,
            where={"stratum": "K"},
        ),
        on_test(
            "accuracy/above_masked",
            "above_masked",
            "higher",
            "accuracy above the model's own likeliest object whoever is asked for",
            proportion=False,
            where={"stratum": "K"},
        ),
        on_test(
            "discrimination",
            "discrimination",
            "higher",
            "share of false candidates that the true one outscores",
            where={"stratum": "K"},
        ),
        on_test(
            "discrimination/matched",
            "beaten_matched",
            "higher",
            "the same among false candidates of as many tokens, stated about as often",
            over="matched",
            where={"stratum": "K"},
        ),
        on_test(
            "accuracy/prior_corrected",
            "corrected",
            "higher",
            "known facts whose object gains most over its mean probability for the relation",
            where={"stratum": "K"},
        ),
        on_test(
            "over_abstention",
            "abstained",
            "lower",
            "often stated facts that the model would not answer",
            where=often,
        ),
    ]


def _hallucination(confident: float) -> list[Declared]:
    found = [
        on_test(
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
        on_test(
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
        on_test(
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
        on_test(
            "wrong/K",
            "wrong",
            "lower",
            "wrong among answers to known facts",
            over="answered",
            where={"stratum": "K"},
        ),
        on_test("confident_wrong", "confident_wrong", "lower", sure),
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
        on_test("residual", "residual", "lower", "probability of none of the candidates"),
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
        on_test(
            "coverage/certified",
            "certified",
            "higher",
            "answered above the threshold that the calibration split certifies, 30 % "
            "unanswerable",
            weight="weight_30",
        ),
        on_test(
            "risk/certified",
            "certified_wrong",
            "lower",
            "wrong or to nothing among those answers",
            over="certified",
            weight="weight_30",
        ),
    ]
    found += [
        on_test(
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
