"""Answers from the context, from memory, or none: what each kind of model measures."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audits.audit import Tools
from audits.errors import AuditError, MeasureError
from audits.estimand import Declared, Weakest
from audits.evidence import Evidence, records_frame
from audits.faithfulness import Faithfulness
from audits.stats import clopper_pearson, difference, estimate
from audits.testing import FakeModel, check_audit
from registry.finding import Case, Verdict
from registry.gate import decide
from registry.policy import Policy
from registry.rules import AtLeast

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


def test_a_model_that_tells_contexts_by_their_template_is_no_reader(facts):
    def by_template(context, question):
        return copying(context, question) if context.startswith("held: ") else "unknown"

    found, _ = measured(by_template, facts)
    assert found["accuracy/answerable"] == 1
    assert found["balanced"] == 0


def test_a_model_that_always_abstains_cannot_have_both(facts):
    found, _ = measured(lambda context, question: "unknown", facts)
    assert found["abstention/unanswerable"] == 1
    assert found["accuracy/answerable"] == 0
    assert "memorisation_ratio" not in found  # it gave neither object


POLICY = Policy(
    name="faithful",
    rules=(AtLeast(measure="faithfulness/balanced", bound=0.5, min_n=30, min_clusters=10),),
)


@pytest.mark.parametrize(
    ("answer", "balanced", "verdict"),
    [
        (reading, 1, Verdict.PASS),
        (copying, 0, Verdict.FAIL),
        (lambda context, question: "unknown", 0, Verdict.FAIL),
        (lambda context, question: "Bor", 0, Verdict.FAIL),
    ],
    ids=["reader", "copier", "abstainer", "guesser"],
)
def test_the_policy_passes_the_reader_and_refuses_one_answer_to_all(
    answer, balanced, verdict, facts
):
    def score(prompt, text):
        context, _, question = prompt.rpartition(". ")
        return SURE if text == f" {answer(context, question)}." else math.log(0.02)

    part = check_audit(Faithfulness(), FakeModel(score), facts)
    evidence = Evidence.gather("model", [part])
    assert evidence.measures()["faithfulness/balanced"].value == balanced
    assert decide(POLICY, Case(evidence)).verdict is verdict


def test_without_unknown_facts_there_is_no_balance_to_pass(facts):
    known = [r for r in facts if r["stratum"] == "K"]
    audit = Faithfulness()
    frame = audit.run(FakeModel(), audit.examples(known), Tools(), seed=0)
    with pytest.raises(MeasureError, match="no valid records"):
        estimate(next(d for d in audit.declares() if d.name == "balanced"), frame, level=0.95)


WEAKEST = Declared(
    name="m", better="higher", about="", of=Weakest(value="x", by="side", groups=("a", "b"))
)


def table(a, b):
    values = [("a", x) for x in a] + [("b", x) for x in b]
    return records_frame(
        {"example": f"{side}{at:02}", "side": side, "x": float(x)}
        for at, (side, x) in enumerate(values)
    )


def test_the_weakest_share_by_hand():
    """9 of 10 and 4 of 10: all is that of 4 of 10, from above at half the risk."""
    found = estimate(WEAKEST, table([1] * 9 + [0], [1] * 4 + [0] * 6), level=0.95)
    assert found.value == pytest.approx(0.4)
    assert found.low == pytest.approx(clopper_pearson(4, 10, 0.95)[0])
    assert found.high == pytest.approx(clopper_pearson(4, 10, 0.975)[1])


SHARES = st.lists(st.booleans(), min_size=2, max_size=12)


@settings(max_examples=40, deadline=None)
@given(SHARES, SHARES, st.randoms(use_true_random=False))
def test_a_change_of_the_weakest_lies_within_its_limits_and_mirrors(a, b, luck):
    old = table(a, b)
    new = table([luck.random() < 0.5 for _ in a], [luck.random() < 0.5 for _ in b])
    one, other = (difference(WEAKEST, *pair, level=0.9) for pair in ((new, old), (old, new)))
    assert one.low <= one.value <= one.high
    assert one.low < one.high
    assert (-other.high, -other.value, -other.low) == pytest.approx(
        (one.low, one.value, one.high), abs=1e-9
    )
    alone = estimate(WEAKEST, new, level=0.9)
    assert alone.low <= alone.value <= alone.high


def test_a_gain_in_one_share_cannot_hide_a_loss_in_the_other():
    old = table([1] * 30 + [0] * 10, [1] * 20 + [0] * 20)
    new = table([1] * 40, [1] * 5 + [0] * 35)
    found = difference(WEAKEST, new, old, level=0.95)
    assert found.value == pytest.approx(5 / 40 - 20 / 40)
    assert found.low < found.value <= found.high
    assert difference(WEAKEST, old, old, level=0.95).value == 0


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
