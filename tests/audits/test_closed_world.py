import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits.audit import Tools
from audits.calibration import Calibration
from audits.closed_world import ClosedWorld, bin_of, smallest_threshold
from audits.errors import AuditError
from audits.open_answers import OpenAnswers
from audits.testing import FakeModel, check_audit

TOWNS = ("Ara", "Bor", "Cim", "Dun")


def row(at, stratum="K", split="test", form="seen", copies=20, target="Ara"):
    return {
        "id": f"{stratum}{at}{form}", "fact": f"f{at}", "stratum": stratum, "form": form,
        "type": "person", "relation": "home", "subject": "s",
        "object": target if stratum == "K" else "", "prompt": f"{stratum}{at} lives in",
        "candidates": list(TOWNS), "abstain": "unknown", "copies": copies,
        "entity": f"{stratum}{at}", "split": split, "renderings": [],
    }  # fmt: skip


def saying(answers, sure=0.9):
    """A model that gives `sure` to one answer per prompt and shares .98 - sure equally."""

    def score(prompt, text):
        name = prompt.split()[0]
        chosen = text == f" {answers.get(name, 'unknown')}."
        return math.log(sure if chosen else (0.98 - sure) / 4)

    return FakeModel(score)


def measured(audit, model, rows, tools=None):
    return {m.name: m for m in check_audit(audit, model, rows, tools).measures()[0]}


def test_one_question_by_hand():
    rows = [row(1), row(2, target="Bor")]
    audit, model = ClosedWorld(threshold=0.5), saying({"K1": "Ara", "K2": "Ara"}, sure=0.5)
    frame = audit.run(model, audit.examples(rows), Tools(), seed=0)
    right, wrong = (frame.iloc[at] for at in range(2))
    # candidates and "unknown": .5 and four times .12, .98 in all
    assert right["confidence"] == pytest.approx(0.5 / 0.98)
    assert right["residual"] == pytest.approx(0.02)
    shares = [0.5 / 0.98] + [0.12 / 0.98] * 4
    assert right["entropy"] == pytest.approx(-sum(p * math.log(p) for p in shares))
    judged = ["best", "answered", "recalled", "wrong"]
    assert right[judged].tolist() == ["Ara", 1, 1, 0]
    assert wrong[judged].tolist() == ["Ara", 1, 0, 1]
    # Bor beats neither Ara nor anyone else clearly: two ties count half, of three rivals
    assert wrong["discrimination"] == pytest.approx(1 / 3)


def test_what_is_likely_of_everybody_is_no_knowledge_of_anybody():
    # Cim is said of all; against its mean over both subjects Ara gains in the one question
    # (.3 over .2) and Bor in the other (.2 over .15)
    said = {
        "K1": {"Ara": 0.3, "Bor": 0.1, "Cim": 0.5, "Dun": 0.05, "unknown": 0.01},
        "K2": {"Ara": 0.1, "Bor": 0.2, "Cim": 0.5, "Dun": 0.05, "unknown": 0.01},
    }
    model = FakeModel(lambda prompt, text: math.log(said[prompt.split()[0]][text[1:-1]]))
    audit = ClosedWorld(threshold=0.5)
    rows = [row(1, target="Ara"), row(2, target="Bor")]
    frame = audit.run(model, audit.examples(rows), Tools(), seed=0)
    assert frame["correct"].tolist() == [0, 0]
    assert frame["corrected"].tolist() == [1, 1]
    # of Ara and Bor alike 20 sentences speak, of Cim and Dun none: each has one rival like it
    assert frame["matched"].tolist() == [1, 1]
    assert frame["beaten_matched"].tolist() == [1, 1]
    # masked, Cim is the answer to both, and wrong, as the model's own answers are
    assert frame["above_masked"].tolist() == [0, 0]


def test_what_is_stated_much_more_often_is_no_rival_like_the_true_object():
    # statements: Ara 20, Bor 40, Cim 43, Dun 0; (n + 1) / 21 is 1.95 for Bor and 2.1 for Cim
    rows = [row(1), row(2, target="Bor", copies=40), row(3, target="Cim", copies=43)]
    rows.append(row(1, form="held"))  # the same fact asked again is no further statement
    audit, model = ClosedWorld(threshold=0.5), saying({"K1": "Ara", "K2": "Bor", "K3": "Bor"})
    frame = audit.run(model, audit.examples(rows), Tools(), seed=0).set_index("example")
    assert frame.loc["K1seen", ["matched", "beaten_matched"]].tolist() == [1, 1]
    assert frame.loc["K2seen", "matched"] == 2
    # whoever is asked for, Bor is likeliest: right of K2 alone, where answering is no better
    assert frame["above_masked"].to_dict() == {
        "K1seen": 1, "K2seen": 0, "K3seen": 0, "K1held": 0,
    }  # fmt: skip


def test_an_honest_model_recalls_and_abstains():
    rows = [row(at, target=TOWNS[at % 4]) for at in range(40)]
    rows += [row(at, stratum, copies=0) for at in range(40) for stratum in ("U_ent", "U_rel")]
    knows = {f"K{at}": TOWNS[at % 4] for at in range(38)}
    found = measured(ClosedWorld(threshold=0.5), saying(knows), rows)
    assert found["closed_world/recall/known"].value == pytest.approx(38 / 40)
    assert found["closed_world/over_abstention"].value == pytest.approx(2 / 40)
    assert found["closed_world/answered/U_ent"].value == 0
    assert found["closed_world/hallucination/pi_30"].value == 0
    assert found["closed_world/hallucination/pi_30"].high > 0.01
    assert found["closed_world/confident_wrong"].value == 0


def test_hallucination_at_a_declared_share_of_unanswerable_questions():
    # K: 8 of 10 answered, 2 of those wrong; U: 5 of 20 answered
    rows = [row(at, target="Ara") for at in range(10)]
    rows += [row(at, "U_ent", copies=0) for at in range(20)]
    says = {f"K{at}": "Bor" if at < 2 else "Ara" for at in range(8)}
    says |= {f"U_ent{at}": "Ara" for at in range(5)}
    found = measured(ClosedWorld(threshold=0.5), saying(says), rows)
    for name, pi in (("10", 0.1), ("30", 0.3), ("50", 0.5)):
        expected = ((1 - pi) * 0.2 + pi * 0.25) / ((1 - pi) * 0.8 + pi * 0.25)
        measure = found[f"closed_world/hallucination/pi_{name}"]
        assert measure.value == pytest.approx(expected)
    assert found["closed_world/wrong/K"].value == pytest.approx(2 / 8)
    # confidence is .9 / .98 where something is said
    assert found["closed_world/confident_wrong"].value == pytest.approx(7 / 30)


def test_the_threshold_is_set_on_other_entities():
    tests = [row(at, target="Ara") for at in range(10)]
    tests += [row(at, "U_ent", copies=0) for at in range(10)]
    calibration = [row(100 + at, split="calibration", target="Ara") for at in range(10)]
    calibration += [row(100 + at, "U_ent", "calibration", copies=0) for at in range(10)]

    def score(prompt, text):
        sure = 0.9 if prompt.startswith("K") else 0.4
        return math.log(sure if text == " Ara." else (0.98 - sure) / 4)

    audit = ClosedWorld(target=0.05)
    frame = audit.run(FakeModel(score), audit.examples([*tests, *calibration]), Tools(), seed=0)
    assert frame["threshold"].tolist() == pytest.approx([0.9 / 0.98] * 40)
    test = frame[frame["scope"] == "test"]
    assert test.groupby("stratum")["answered"].mean().to_dict() == {"K": 1, "U_ent": 0}


def test_without_calibration_rows_the_remedy_is_named():
    audit = ClosedWorld()
    with pytest.raises(AuditError, match="give `threshold`"):
        audit.run(FakeModel(), audit.examples([row(1)]), Tools(), seed=0)


def test_exposure_is_counted_where_a_stream_was_read():
    rows = [row(1, copies=1), row(2, copies=1)]
    audit = ClosedWorld(threshold=0.5)
    examples = audit.examples(rows)
    plain = audit.run(FakeModel(), examples, Tools(), seed=0)
    assert plain["bin"].tolist() == ["1", "1"]
    counted = audit.run(FakeModel(), examples, Tools(exposures={"f1": 20}), seed=0)
    assert counted["bin"].tolist() == ["17-64", "0"]
    assert counted["often"].tolist() == ["yes", "no"]


@pytest.mark.parametrize("audit", [ClosedWorld(threshold=0.5), Calibration(), OpenAnswers()])
def test_what_training_spoke_of_is_no_unanswerable_question(audit):
    rows = [row(1), row(2, "U_ent", copies=0), row(3, "U_rel", copies=0)]
    tools = Tools(exposures={"K1seen": 20, "U_ent2seen": 3})
    frame = audit.run(saying({}), audit.examples(rows), tools, seed=0)
    why = dict(zip(frame["example"], frame["why"], strict=True))
    assert "(U_ent), but the training stream speaks of it 3 times" in why["U_ent2seen"]
    if not isinstance(audit, OpenAnswers):
        assert why["K1seen"] == why["U_rel3seen"] == ""


@pytest.mark.parametrize("audit", [ClosedWorld(threshold=0.5), Calibration()])
def test_every_candidate_is_scored_once(audit):
    asked = Counter()

    class Counting(FakeModel):
        def score(self, requests, **more):
            asked.update(requests)
            return super().score(requests, **more)

    rows = [row(at) for at in range(9)] + [row(at, "U_ent", copies=0) for at in range(9)]
    # two questions about others may be worded alike, as reversed ones of one object are
    rows.append(row(9) | {"prompt": "K8 lives in"})
    audit.run(Counting(saying({})._score), audit.examples(rows), Tools(), seed=0)
    assert set(asked.values()) == {1}
    assert len(asked) == 18 * (len(TOWNS) + 1)


def test_reversed_questions_are_kept_apart():
    rows = [row(at) for at in range(4)] + [row(9, form="reversed")]
    found = measured(ClosedWorld(threshold=0.1), saying({"K9": "Ara"}), rows)
    assert found["closed_world/accuracy/raw"].n == 4
    # below two clusters only an exact Wilson interval is possible: one row, right
    assert found["closed_world/accuracy/reversed"].value == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"object": "Eld"}, "not among its candidates"),
        ({"abstain": "Ara"}, "the word to abstain"),
        ({"stratum": "X"}, "not one of K, U_ent"),
        ({"candidates": ["Ara", "Ara"]}, "different"),
        ({"candidates": "Ara"}, "must be a list"),
        ({"copies": True}, "must be a number"),
        ({"prompt": ""}, "prompt is empty"),
    ],
)
def test_a_bad_row_is_named(change, message):
    with pytest.raises(AuditError, match=message) as caught:
        ClosedWorld().examples([row(1) | change])
    assert "K1seen" in str(caught.value)


@pytest.mark.parametrize(
    ("exposure", "name"),
    [(0, "0"), (1, "1"), (2, "2-4"), (4, "2-4"), (16, "5-16"), (17, "17-64"), (65, "65-up")],
)
def test_bins_end_where_their_names_say(exposure, name):
    assert bin_of(exposure) == name


def test_the_smallest_threshold_by_hand():
    confidence = np.array([0.9, 0.8, 0.7, 0.6])
    wrong = np.array([0.0, 0.0, 1.0, 0.0])
    # wrong share from the top: 0, 0, 1/3, 1/4
    for target, expected in ((0.1, 0.8), (0.25, 0.6), (0.3, 0.6)):
        assert smallest_threshold(confidence, np.ones(4), wrong, target) == expected
    assert smallest_threshold(confidence, np.ones(4), np.ones(4), 0.1) > 0.9


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40),
    st.floats(0, 1),
)
def test_the_threshold_keeps_its_promise(pairs, target):
    confidence = np.array([c for c, _ in pairs])
    wrong = np.array([float(w) for _, w in pairs])
    threshold = smallest_threshold(confidence, np.ones(len(pairs)), wrong, target)
    answered = confidence >= threshold
    assert wrong[answered].sum() <= target * answered.sum() + 1e-9
