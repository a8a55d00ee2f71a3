"""Answers in the model's own words, read strictly or not at all."""

import pytest

from audits.audit import Tools
from audits.errors import AuditError, MeasureError
from audits.open_answers import OpenAnswers
from audits.rows import TRUNCATED
from audits.testing import FakeModel, check_audit, world_model


def measured(model, rows):
    part = check_audit(OpenAnswers(), model, rows)
    measures, absent = part.measures()
    return {m.name.removeprefix("open_answers/"): m.value for m in measures}, absent, part


def test_the_oracle_says_what_it_knows_and_that_it_does_not(facts):
    found, _, _ = measured(world_model("oracle", facts), facts)
    assert found["recall/known"] == 1
    assert found["hallucination/pi_30"] == 0
    assert found["answered/U_ent"] == 0
    assert found["over_abstention"] == 0


def test_the_guesser_is_right_by_luck_and_answers_everything(facts):
    found, _, part = measured(world_model("guesser", facts), facts)
    known = part.records[part.records["stratum"] == "K"]
    luck = known["right"].mean()
    assert luck == pytest.approx(0.2, abs=0.1)
    assert found["wrong/K"] == pytest.approx(1 - luck)
    # at 30 % unanswerable, of which every answer is false
    assert found["hallucination/pi_30"] == pytest.approx(0.7 * (1 - luck) + 0.3)
    assert found["answered/U_none"] == 1


def test_a_question_that_leaves_no_room_for_an_answer_is_no_evidence(facts):
    audit = OpenAnswers(max_new_tokens=16)
    model = world_model("oracle", facts)
    model._window = 17  # words: one of the question, and the answer
    frame = audit.run(model, audit.examples(facts), Tools(), seed=0)
    assert set(frame["why"]) == {TRUNCATED}


def test_answers_that_cannot_be_read_leave_no_rate(facts):
    audit = OpenAnswers()
    model = FakeModel(answer=lambda prompt: " Ara, or so")
    frame = audit.run(model, audit.examples(facts), Tools(), seed=0)
    assert set(frame["why"]) == {"the parser reads under 95 % of the answers, and not this one"}
    for declared in audit.declares():
        with pytest.raises(MeasureError):
            declared.estimate(frame, level=0.95)


def test_a_few_answers_that_cannot_be_read_are_false_ones(facts):
    oracle = world_model("oracle", facts)
    asked = OpenAnswers().examples(facts)
    odd = {e.prompt for e in asked if e.target and e.facts["copies"] >= 17}
    odd = set(sorted(odd)[:2])
    assert len(odd) <= 0.05 * len(asked)

    def answer(prompt):
        if prompt in odd:
            return " Ara, or so"
        return oracle.generate([prompt], max_new_tokens=9, seed=0)[0][0]

    found, _, part = measured(FakeModel(answer=answer), facts)
    assert found["coverage"] == pytest.approx(1 - 2 / len(asked))
    known = part.records[part.records["often"] == "yes"]
    assert found["recall/known"] == pytest.approx(1 - 2 / len(known))
    assert found["wrong/K"] > 0


def test_no_question_of_the_test_split_is_an_error(facts):
    with pytest.raises(AuditError, match="no examples"):
        OpenAnswers().examples([r | {"split": "calibration"} for r in facts])
