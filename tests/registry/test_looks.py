"""A look is a judgement of fresh records that did not pass."""

from registry.finding import Case
from registry.gate import decide
from registry.looks import Look
from registry.looks import looks as count
from registry.policy import Policy
from registry.rules import AtLeast, Present
from registry.testing import disk, evidence, facts, rights

RULE = AtLeast(measure="facts/recall", bound=0.9)
POLICY = Policy(name="p", rules=(RULE, Present(measure="profile/size_bytes")))


def judged(wrong, digest, name="facts", basis="asked"):
    rule = RULE.model_copy(update={"measure": f"{name}/recall"})
    policy = POLICY.model_copy(update={"rules": (rule, *POLICY.rules[1:])})
    known = evidence("w", facts(rights(200, wrong), name=name), disk(1))
    return Look(
        decide(policy, Case(known)),
        {name: digest, "profile": "same"},
        {name: basis, "profile": "disk"},
    )


def looks(rules, before, parts, bases=None):
    return count(rules, before, Look(None, parts, bases or {}))


OPEN, BAD, GOOD = 15, 100, 5


def test_the_first_judgement_is_the_first_look():
    assert looks(POLICY.rules, [], {"facts": "a"}) == {}


def test_fresh_records_after_an_open_or_failed_judgement_are_a_further_look():
    before = [judged(OPEN, "a"), judged(BAD, "b")]
    assert looks(POLICY.rules, before, {"facts": "c", "profile": "same"}) == {RULE.id: 3}


def test_the_same_records_judged_again_are_no_look():
    before = [judged(OPEN, "a"), judged(OPEN, "a")]
    assert looks(POLICY.rules, before, {"facts": "a"}) == {}
    assert looks(POLICY.rules, before, {"facts": "b"}) == {RULE.id: 2}


def test_records_keep_the_look_they_were_when_others_were_judged_since():
    before = [judged(OPEN, "a"), judged(OPEN, "b"), judged(OPEN, "c")]
    assert looks(POLICY.rules, before, {"facts": "a"}) == {}
    assert looks(POLICY.rules, before, {"facts": "b"}) == {RULE.id: 2}


def test_a_judgement_that_passed_spends_nothing():
    assert looks(POLICY.rules, [judged(GOOD, "a")], {"facts": "b"}) == {}


def test_another_bound_does_not_start_the_counting_anew():
    other = AtLeast(measure="facts/recall", bound=0.8)
    assert looks((other,), [judged(OPEN, "a")], {"facts": "b"}) == {other.id: 2}


def test_a_measure_that_was_not_judged_before_or_is_not_there_now_has_no_looks():
    assert looks(POLICY.rules, [judged(OPEN, "a")], {"profile": "x"}) == {}
    assert (
        looks(
            (AtLeast(measure="other/recall", bound=0.1),), [judged(OPEN, "a")], {"other": "x"}
        )
        == {}
    )


def test_a_part_under_another_name_is_the_same_question_where_its_basis_is():
    before = [judged(OPEN, "a", name="old"), judged(OPEN, "b", name="older", basis="else")]
    assert looks(POLICY.rules, before, {"facts": "c"}, {"facts": "asked"}) == {RULE.id: 2}
    assert looks(POLICY.rules, before, {"facts": "a"}, {"facts": "asked"}) == {}
    assert looks(POLICY.rules, before, {"facts": "c"}, {"facts": "new"}) == {}
