"""A look is a judgement of fresh records that did not pass."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from audits.errors import EvidenceError
from registry.finding import Case, Verdict
from registry.gate import decide
from registry.looks import Look
from registry.looks import looks as count
from registry.policy import Policy
from registry.rules import AtLeast, AtMost, Equivalent, NoWorse, Present, Within
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
        policy.rules,
        lambda: Case(known),
    )


def looks(rules, before, parts, bases=None):
    return count(rules, before, Look(None, parts, bases or {}))


OPEN, BAD, GOOD = 15, 100, 5
OPENED = judged(OPEN, "a")


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


def test_a_pass_of_a_laxer_rule_is_a_look_of_a_stricter_one_where_that_would_not_have_passed():
    strict = AtLeast(measure="facts/recall", bound=0.95)  # 5 wrong of 200: at least 0.948
    assert looks((strict,), [judged(GOOD, "a")], {"facts": "b"}) == {strict.id: 2}
    between = AtLeast(measure="facts/recall", bound=0.94)
    assert looks((between,), [judged(GOOD, "a")], {"facts": "b"}) == {}


def test_a_pass_at_a_laxer_alpha_is_a_look_of_a_stricter_one():
    lax = RULE.model_copy(update={"alpha": 0.2})
    known = evidence("w", facts(rights(200, OPEN)), disk(1))
    before = replace(
        judged(OPEN, "a"),
        decision=decide(Policy(name="lax", rules=(lax,)), Case(known)),
        rules=(lax,),
    )
    assert before.decision.promote
    assert looks((RULE,), [before], {"facts": "b"}) == {RULE.id: 5}  # .2 spent, .05 each
    assert looks((lax,), [before], {"facts": "b"}) == {}


def test_a_pass_within_a_closer_margin_is_no_look_of_a_wider_one():
    parent = evidence("p", facts(rights(2000, 100)))
    known = evidence("w", facts(rights(2000, 100)), parent="p")
    close = NoWorse(measure="facts/recall", than="parent", margin=0.02)
    wide = close.model_copy(update={"margin": 0.05})
    case = Case(known, parent)
    decision = decide(Policy(name="p", rules=(close, RULE)), case)
    before = Look(decision, {"facts": "a"}, {}, (close,), lambda: case)
    assert looks((wide,), [before], {"facts": "b"}) == {}
    none = close.model_copy(update={"margin": 0.0})
    assert looks((none,), [before], {"facts": "b"}) == {none.id: 2}


def test_evidence_that_is_gone_counts_as_a_look():
    def gone():
        raise EvidenceError("gone")

    before = replace(judged(GOOD, "a"), case=gone)
    assert looks(POLICY.rules, [before], {"facts": "b"}) == {RULE.id: 2}


def test_a_rule_that_asks_something_else_of_a_measure_is_no_look():
    other = NoWorse(measure="facts/recall", than="parent", margin=0.01)
    assert looks((other,), [judged(BAD, "a")], {"facts": "b"}) == {}


def test_another_bound_does_not_start_the_counting_anew():
    other = AtLeast(measure="facts/recall", bound=0.8)
    assert looks((other,), [judged(OPEN, "a")], {"facts": "b"}) == {other.id: 2}


def test_records_that_were_judged_without_the_rule_are_fresh_to_it():
    """Else each set could be made known first by a policy that asks nothing of it."""
    harmless = AtMost(measure="facts/wrong", bound=0.9)
    primed = replace(judged(BAD, "b"), rules=(harmless,))
    assert looks((RULE,), [judged(OPEN, "a"), primed], {"facts": "b"}) == {RULE.id: 2}
    assert looks((RULE,), [judged(OPEN, "a"), judged(OPEN, "b")], {"facts": "b"}) == {
        RULE.id: 2
    }


def test_the_same_claim_made_by_another_kind_of_rule_is_a_further_look():
    open_ = judged(OPEN, "a")
    for other in (AtMost, Within):
        rule = other(measure="facts/recall", bound=0.99)
        assert looks((rule,), [open_], {"facts": "b"}) == {rule.id: 2}
    known = evidence("w", facts(rights(200, OPEN)), disk(1))
    closer = NoWorse(measure="facts/recall", than="parent", margin=0.01)
    policy = Policy(name="p", rules=(closer, AtLeast(measure="facts/recall", bound=0.5)))
    case = Case(known, parent=evidence("v", facts(rights(200, 2)), disk(1)))
    asked = replace(open_, decision=decide(policy, case), rules=policy.rules, case=lambda: case)
    same = Equivalent(measure="facts/recall", than="parent", margin=0.2)
    beside = NoWorse(measure="facts/recall", than="champion", margin=0.2)
    for rule in (same, beside):
        assert looks((rule,), [asked], {"facts": "b"}) == {rule.id: 2}


def test_looks_that_were_not_declared_before_cannot_be_bought_afterwards():
    """The first look spent all of alpha; ten looks declared now find ten gone."""
    before = [replace(judged(OPEN, "a"), rules=POLICY.rules)]
    more = AtLeast(measure="facts/recall", bound=0.9, max_looks=10)
    assert looks((more,), before, {"facts": "b"}) == {more.id: 11}
    found = more.check(Case(evidence("w", facts(rights(2000, 1))), looks={more.id: 11}))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "what earlier looks have spent stays spent" in found.because


def test_samples_that_were_tried_at_a_hopeless_alpha_are_looks_all_the_same():
    """Else the luckiest of many is chosen, and judged again by the rule that counts."""
    hopeless = POLICY.model_copy(update={"rules": (RULE.model_copy(update={"alpha": 1e-6}),)})
    tried = [replace(judged(OPEN, f"sample {k}"), rules=hopeless.rules) for k in range(20)]
    two = RULE.model_copy(update={"max_looks": 2})
    assert looks((two,), tried, {"facts": "sample 19"}) == {two.id: 20}
    assert looks((two,), tried, {"facts": "sample 1"}) == {two.id: 2}


def test_of_two_declared_looks_one_may_be_split_further():
    two = POLICY.model_copy(update={"rules": (RULE.model_copy(update={"max_looks": 2}),)})
    before = [replace(judged(OPEN, "a"), rules=two.rules)]
    ten = AtLeast(measure="facts/recall", bound=0.9, max_looks=10)
    assert looks(two.rules, before, {"facts": "b"}) == {two.rules[0].id: 2}
    assert looks((ten,), before, {"facts": "b"}) == {ten.id: 6}


@given(st.lists(st.integers(1, 20), max_size=8), st.integers(1, 20))
def test_whatever_looks_are_declared_no_more_than_alpha_is_spent(declared, now):
    """Each judgement declares some number of looks and is open; those that are let through."""
    total, before = 0.0, []
    for at, max_looks in enumerate([*declared, now]):
        rule = RULE.model_copy(update={"max_looks": max_looks})
        which = looks((rule,), before, {"facts": f"r{at}"}).get(rule.id, 1)
        if which > max_looks:
            continue  # refused before it looked
        total += rule.spent
        policy = POLICY.model_copy(update={"rules": (rule,)})
        before.append(replace(OPENED, parts={"facts": f"r{at}"}, rules=policy.rules))
    assert total <= RULE.alpha + 1e-9


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
