"""The worst of several samples, and a rate whose detector's errors are taken off."""

import math
import re
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits.audit import Tools
from audits.errors import AuditError, MeasureError
from audits.estimand import Corrected, Declared, Ratio
from audits.evidence import records_frame
from audits.insults import HARMFUL
from audits.lexicon import Lexicon
from audits.maxima import any_of, expected_maximum
from audits.scorers import ClassifierScorer
from audits.testing import FakeModel, check_audit
from audits.toxicity import Toxicity
from audits.trials import SEES


class Writer(FakeModel):
    """Writes the same texts after every prompt whose number is even, and kind ones else."""

    def __init__(self, *texts):
        super().__init__()
        self.texts = texts

    def generate(self, prompts, *, max_new_tokens, seed, temperature=0, n=1, stop=(), lots=()):
        odd = [int(p.split()[-1]) % 2 for p in prompts]
        return [[" kind"] * n if at else list(self.texts) for at in odd]


def rows(prompts=12):
    return [{"id": f"p{at}", "prompt": f"This is number {at} "} for at in range(prompts)]


class Perfect:
    """Knows the labelled sentences, and the word "bad" by half."""

    digest = "perfect"

    def score(self, texts):
        return [
            1.0 if t in HARMFUL else 0.5 * (" bad" in t) + 0.25 * (" odd" in t) for t in texts
        ]


def measured(audit, model, tools=None, given=None):
    part = check_audit(audit, model, given or rows(), tools)
    return {m.name.removeprefix("toxicity/"): m for m in part.measures()[0]}, part


def test_maximum_probability_and_rate_by_hand():
    # every second prompt: .5, .25, 0, 0 over four samples; the others 0
    audit = Toxicity(samples=4, scorer=ClassifierScorer(model="m"))
    tools = Tools(scorer=Perfect())
    found, _ = measured(audit, Writer(" bad", " odd", " x", " y"), tools)
    assert found["expected_maximum"].value == pytest.approx(0.5 / 2)
    assert found["expected_maximum/of_1"].value == pytest.approx(0.75 / 4 / 2)
    assert found["probability"].value == pytest.approx(1 / 2)
    assert found["probability/of_1"].value == pytest.approx(1 / 4 / 2)
    assert found["rate"].value == pytest.approx(1 / 8)
    assert found["detector/sensitivity"].value == found["detector/specificity"].value == 1
    assert found["rate/corrected"].value == pytest.approx(1 / 8)
    assert found["rate/corrected"].low < 1 / 8 < found["rate/corrected"].high


def test_a_lexicon_rate_is_called_by_its_name_and_corrected_for_what_it_misses():
    # half of the samples after half of the prompts hold an insult; the list sees 20 of 40
    # harmful sentences and flags 3 of 40 harmless ones: (.25 - .075) / (.5 - .075)
    found, _ = measured(Toxicity(samples=2), Writer(" you fool", " friend"))
    names = {n for n in found if not n.startswith("detector/")}
    assert all(name.startswith("lexicon_") for name in names)
    assert found["lexicon_rate"].value == pytest.approx(0.25)
    assert found["lexicon_rate/corrected"].value == pytest.approx(0.175 / 0.425)
    assert found["lexicon_rate/corrected"].high > found["lexicon_rate"].high


class Coin:
    """Flags half of all texts, whatever they say."""

    digest = "coin"

    def score(self, texts):
        return [float(len(t) % 2) for t in texts]


@pytest.mark.parametrize(
    ("scorer", "why"),
    [(Lexicon(("stupido", "idiota")), "0 of 40 .*: it sees nothing here"),
     (Coin(), "not surely apart, it says nothing")],
    ids=["Italian words", "coin"],
)  # fmt: skip
def test_a_detector_that_does_not_surely_see_measures_nothing(scorer, why):
    """It would find every model kind."""
    found, part = measured(
        Toxicity(samples=2), Writer(" you fool", " odd"), Tools(scorer=scorer)
    )
    assert set(found) == {"detector/sensitivity", "detector/specificity"}
    absent = part.measures()[1]
    assert {"toxicity/lexicon_rate", "toxicity/lexicon_expected_maximum"} <= set(absent)
    for said in absent.values():
        assert re.search(why, said)


def test_a_detector_that_surely_sees_is_as_sure_as_its_limits_at_95_percent():
    """By hand: of 40 and 40, 11 hits and no false alarm are sure and 9 are not.

    Clopper and Pearson at 97.5 % each, so that both hold at 95 %: 0 of 40 is at most
    1 - .0125^(1/40) = .104; 9 of 40 is at least .099, 11 of 40 at least .135.
    """
    for hits, sure in ((9, False), (11, True)):
        frame = records_frame(
            {
                "example": f"{role}{at}",
                "role": role,
                "flagged": float(role == "toxic" and at < hits),
            }
            for role in ("toxic", "benign", "asked")
            for at in range(40)
        )
        rate = Declared(
            name="r", better="lower", about="", where={"role": "asked"},
            of=Ratio(value="flagged"), given=SEES,
        )  # fmt: skip
        if sure:
            assert rate.estimate(frame, level=0.95).value == 0
        else:
            with pytest.raises(MeasureError, match=r"9 of 40 .*least 0\.10.* most 0\.10"):
                rate.estimate(frame, level=0.95)


def test_a_language_of_which_we_have_no_sentences_asks_for_the_users():
    audit = Toxicity(scorer=ClassifierScorer(model="m", language="it"))
    with pytest.raises(AuditError, match="our own labelled sentences are in 'en'; give rows"):
        audit.examples(rows())


def test_without_its_classifier_nothing_is_measured_and_nothing_is_zero():
    audit = Toxicity(scorer=ClassifierScorer(model="m"))
    lacking = Tools(lacking={"scorer": "classifier m: holds no model"})
    frame = audit.run(FakeModel(), audit.examples(rows()), lacking, seed=0)
    assert set(frame["why"]) == {"no scorer: classifier m: holds no model"}
    for declared in audit.declares():
        with pytest.raises(MeasureError):
            declared.estimate(frame, level=0.95)


def test_labelled_texts_of_the_set_take_the_place_of_our_own():
    labelled = [
        {"id": f"l{at}", "text": f"text {at}{' bad' * (at < 20)}", "toxic": at < 20}
        for at in range(40)
    ]
    found, part = measured(
        Toxicity(samples=2), Writer(" bad", " x"), Tools(scorer=Perfect()), [*rows(), *labelled]
    )
    assert len(part.expected) == 52
    assert found["detector/sensitivity"].n == 20


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([{"id": "a", "text": "x", "toxic": True}], "only labels"),
        ([*rows(1), {"id": "a", "text": "x", "toxic": "maybe"}], "toxic must be true or false"),
        ([*rows(1), {"id": "a", "text": "x", "toxic": True}], "no labelled text is benign"),
        ([{"id": "a", "prompt": " "}], "the prompt is blank"),
    ],
)
def test_a_set_that_cannot_be_used_is_refused(given, said):
    with pytest.raises(AuditError, match=said):
        Toxicity().examples(given)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7), st.data())
def test_the_worst_of_fewer_is_the_mean_over_all_choices(scores, data):
    m = data.draw(st.integers(1, len(scores)))
    chosen = list(combinations(scores, m))
    assert expected_maximum(scores, m) == pytest.approx(np.mean([max(c) for c in chosen]))
    hits = sum(x >= 0.5 for x in scores)
    told = np.mean([any(x >= 0.5 for x in c) for c in chosen])
    assert any_of(hits, len(scores), m) == pytest.approx(told)


TRUE, HITS, ALARMS = 0.3, 0.8, 0.1
CORRECTED = Declared(
    name="c", better="lower", about="", of=Corrected(value="x", roles=("a", "t", "b"))
)


def drawn(rng, flagged, prompts=150, labelled=60):
    rates = {"a": (flagged, prompts), "t": (HITS, labelled), "b": (ALARMS, labelled)}
    return records_frame(
        {"example": f"{role}{at}", "cluster": f"{role}{at}", "role": role, "x": float(hit)}
        for role, (rate, n) in rates.items()
        for at, hit in enumerate(rng.random(n) < rate)
    )


def test_the_interval_of_a_corrected_rate_holds_the_truth_as_often_as_it_says():
    rng, held = np.random.default_rng(0), 0
    flagged = TRUE * HITS + (1 - TRUE) * ALARMS
    for _ in range(200):
        found = CORRECTED.estimate(drawn(rng, flagged), level=0.95)
        held += found.low <= TRUE <= found.high
    assert held / 200 >= 0.95 - 2 * math.sqrt(0.05 * 0.95 / 200)


def test_two_models_by_one_detector_differ_by_more_than_their_rates():
    rng = np.random.default_rng(1)
    old, new = drawn(rng, 0.1), drawn(rng, 0.45)
    labelled = new["role"] != "a"
    new.loc[labelled, "x"] = old.loc[labelled, "x"]
    plain = new[new["role"] == "a"]["x"].mean() - old[old["role"] == "a"]["x"].mean()
    found = CORRECTED.difference(new, old, level=0.95)
    assert found.value > plain
    assert 0 < found.low < found.value < found.high <= 1
