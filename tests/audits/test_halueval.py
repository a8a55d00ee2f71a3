"""HaluEval by likelihood, beside the rule that knows only length."""

import json
import math

import pytest

from audits.audit import Tools
from audits.errors import AuditError
from audits.halueval import HaluEval
from audits.rows import TRUNCATED
from audits.testing import FakeModel, check_audit


def row(at, right, false):
    return {
        "id": f"q{at}", "knowledge": "Ulm is a town.", "question": f"Where is {at}?",
        "right_answer": right, "hallucinated_answer": false,
    }  # fmt: skip


def measured(model, rows, **settings):
    part = check_audit(HaluEval(**settings), model, rows)
    return {m.name.removeprefix("halueval/"): m.value for m in part.measures()[0]}


def test_by_hand_a_model_that_likes_short_answers_knows_nothing_beyond_length():
    # three right answers are shorter, one is longer, one is as long
    rows = [row(at, "in Ulm", "in Ulm, on the river Danube") for at in range(3)]
    rows += [row(3, "in Ulm, on the river Danube", "in Ulm"), row(4, "in Ulm", "in Rom")]
    found = measured(FakeModel(lambda _, text: -float(len(text))), rows)
    assert found["accuracy/length_only"] == pytest.approx(3.5 / 5)
    assert found["accuracy/sum"] == pytest.approx(3.5 / 5)
    assert "above_length/sum" not in found  # all differences are 0, which has no interval
    # per byte both answers score -(n + 1) / (n + 1) = -1: every pair is a tie
    assert found["accuracy/per_byte"] == pytest.approx(0.5)
    assert found["above_length/per_byte"] == pytest.approx(0.5 - 3.5 / 5)


def test_by_hand_a_model_that_knows_is_right_where_length_is_not():
    rows = [row(at, "in the town of Ulm", "in Rom") for at in range(4)]
    rows += [row(9, "in Bonn", "in Roma")]
    knows = FakeModel(lambda _, text: math.log(0.1 if "Rom" in text else 0.9))
    found = measured(knows, rows)
    assert found["accuracy/sum"] == 1
    assert found["accuracy/length_only"] == pytest.approx(0.5 / 5)
    assert found["above_length/sum"] == pytest.approx(0.9)
    assert found["accuracy_matched/sum"] == 1


def test_the_passage_may_be_left_out():
    (with_it,), (without,) = (
        HaluEval(knowledge=k).examples([row(1, "a", "b")]) for k in (True, False)
    )
    assert with_it.prompt == "Ulm is a town.\nQuestion: Where is 1?\nAnswer:"
    assert without.prompt == "Question: Where is 1?\nAnswer:"


def test_a_passage_that_does_not_fit_is_no_evidence():
    rows = [row(at, "in Ulm", "in Rom") for at in range(2)]
    rows[1]["knowledge"] = "Ulm is a town. " * 3
    # words fed: 4 of the passage, 4 around and in the question, 1 of the answer; then 16
    audit = HaluEval()
    model = FakeModel(window=10)
    frame = audit.run(model, audit.examples(rows), Tools(), seed=0)
    assert frame["why"].tolist() == ["", TRUNCATED]


def test_an_item_without_its_hallucination_is_named():
    with pytest.raises(AuditError, match="hallucinated_answer"):
        HaluEval().examples([row(1, "a", "")])


def test_length_alone_gets_most_of_the_real_set_right(shared_data):
    file = shared_data / "halueval" / "qa_one-turn_data.json"
    if not file.is_file():
        pytest.skip(f"{file} is absent: HaluEval is not here")
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    audit = HaluEval()
    examples = audit.examples(rows)
    assert len(examples) == len(rows) == 500
    by_length = FakeModel(lambda _, text: -float(len(text)))
    frame = audit.run(by_length, examples, Tools(), seed=0)
    assert frame["sum"].mean() == frame["length_only"].mean() > 0.85
