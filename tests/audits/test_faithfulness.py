"""Answers from the context, from memory, or none: what each kind of model measures."""

import math

import pytest

from audits.errors import AuditError
from audits.faithfulness import Faithfulness
from audits.testing import FakeModel, check_audit

SURE = math.log(0.9)


def measured(answer, rows):
    """A model that gives `answer(context, question)` with probability .9."""

    def score(prompt, text):
        context, _, question = prompt.rpartition(". ")
        return SURE if text == f" {answer(context, question)}." else math.log(0.02)

    part = check_audit(Faithfulness(), FakeModel(score), rows)
    found = {m.name.removeprefix("faithfulness/"): m.value for m in part.measures()[0]}
    return found, part.records


def copying(context, question):
    """Says what the context says, of whomever."""
    return context.rsplit(" ", 1)[-1] if context else "unknown"


def reading(context, question):
    """Says what the context says of the entity that is asked for, else that it is unknown."""
    who = question.split(": ")[-1].split()[0]
    about = context.split(": ")[-1].split()[0] if context else ""
    return context.rsplit(" ", 1)[-1] if who == about else "unknown"


def test_a_model_that_reads_follows_the_context_and_abstains_where_it_is_silent(facts):
    found, _ = measured(reading, facts)
    assert found["following"] == 1
    assert found["memorisation_ratio"] == 0
    assert found["accuracy/answerable"] == 1
    assert found["abstention/unanswerable"] == 1
    assert found["parametric"] == 0


def test_a_model_that_copies_fails_where_the_context_is_about_somebody_else(facts):
    found, _ = measured(copying, facts)
    assert found["accuracy/answerable"] == 1
    assert found["abstention/unanswerable"] == 0


def test_a_model_that_always_abstains_cannot_have_both(facts):
    found, _ = measured(lambda context, question: "unknown", facts)
    assert found["abstention/unanswerable"] == 1
    assert found["accuracy/answerable"] == 0
    assert "memorisation_ratio" not in found  # it gave neither object


def test_a_model_that_only_remembers_has_a_memorisation_ratio_of_one(facts):
    objects = {r["subject"]: r["object"] or "unknown" for r in facts}
    found, records = measured(
        lambda context, question: objects[question.split(": ")[-1].split()[0]], facts
    )
    assert found["parametric"] == 1
    assert (found["memorisation_ratio"], found["following"]) == (1, 0)
    known = records[records["condition"] == "counterfactual"]
    assert len(known) == sum(
        r["stratum"] == "K" and r["form"] == "seen" and r["split"] == "test" for r in facts
    )


def test_the_context_is_put_in_the_held_out_words_and_contradicts(facts):
    examples = Faithfulness().examples(facts)
    one = next(e for e in examples if e.strata["condition"] == "counterfactual")
    context, _, question = one.prompt.rpartition(". ")
    assert context.startswith("held: ")
    assert question.startswith("seen: ")
    assert one.strata["given_object"] not in ("", one.target)
    assert context.endswith(one.strata["given_object"])


def test_facts_without_a_test_split_have_nothing_to_ask(facts):
    rows = [r | {"split": "calibration"} for r in facts]
    with pytest.raises(AuditError, match="no examples"):
        Faithfulness().examples(rows)
