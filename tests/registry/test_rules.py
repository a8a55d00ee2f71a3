import math

import pytest

from audits.estimand import Declared, Ratio
from audits.evidence import Part, records_frame
from registry.finding import Case, Verdict
from registry.rules import AtLeast, AtMost, NoWorse, Present, RatioAtMost
from registry.testing import disk, evidence, facts, rights

PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE


PAUSE = Declared(
    name="pause", better="lower", about="Between tokens.", unit="ms",
    of=Ratio(value="ms", proportion=False),
)  # fmt: skip


def pauses(values, **conditions):
    rows = [{"example": f"r{i}", "ms": v} for i, v in enumerate(values)]
    return Part(
        "speed", "profile", (PAUSE,), tuple(r["example"] for r in rows), records_frame(rows),
        "p", conditions,
    )  # fmt: skip


def floor(bound, *parts):
    return AtLeast(measure="facts/recall", bound=bound).check(case(parts))


def case(candidate, parent=None, champion=None):
    return Case(evidence("new", *candidate), parent, champion)


# One-sided 95 % limits of Clopper and Pearson, from scipy.stats.beta.ppf: of 190 in 200
# beta(190, 11) at 5 % is 0.91666, beta(191, 10) at 95 % is 0.97265.
@pytest.mark.parametrize(
    ("bound", "verdict"),
    [(0.9166, PASS), (0.9167, INCONCLUSIVE), (0.9726, INCONCLUSIVE), (0.9727, FAIL)],
)
def test_a_floor_holds_for_the_lower_limit_and_fails_only_above_the_upper(bound, verdict):
    rule = AtLeast(measure="facts/recall", bound=bound)
    found = rule.check(case([facts(rights(200, 10))]))
    assert found.verdict is verdict
    assert found.value == pytest.approx(0.95)
    assert found.limit == pytest.approx(0.91666, abs=1e-5)
    assert (found.n, found.clusters) == (200, 200)


@pytest.mark.parametrize(
    ("bound", "verdict"),
    [(0.0834, PASS), (0.0833, INCONCLUSIVE), (0.0274, INCONCLUSIVE), (0.0273, FAIL)],
)
def test_a_ceiling_holds_for_the_upper_limit_and_fails_only_below_the_lower(bound, verdict):
    rule = AtMost(measure="facts/wrong", bound=bound)
    assert rule.check(case([facts(rights(200, 10))])).verdict is verdict


def test_the_sentence_says_value_limit_bound_and_what_it_rests_on():
    found = floor(0.98, facts(rights(200, 10)))
    assert found.because == (
        "0.95, at best 0.9726 with 95 % confidence; must be at least 0.98 (200 examples)"
    )


def test_an_open_question_says_how_many_examples_would_settle_it():
    found = floor(0.93, facts(rights(200, 10)))
    # Of so many, each right with a chance of .95, at least 80 % have a limit of .93: summed
    # over the binomial. The normal formula, ((1.6449 + 0.8416) / 0.02)² * .95 * .05, says 735.
    assert found.verdict is INCONCLUSIVE
    assert found.needs_n == 961
    assert found.because.endswith("about 970 examples would settle it")


def test_an_estimate_that_misses_the_bound_is_settled_by_no_number():
    found = floor(0.96, facts(rights(200, 10)))
    assert found.verdict is INCONCLUSIVE
    assert found.needs_n is None
    assert "no number of examples" in found.because


def test_one_item_is_never_enough():
    found = floor(0.01, facts([1]))
    assert found.verdict is INCONCLUSIVE
    assert found.because == "1 valid example where 30 are required"


def test_many_examples_in_few_clusters_are_not_enough():
    found = floor(0.1, facts([1] * 90, per_cluster=10))
    assert found.verdict is INCONCLUSIVE
    assert found.because == "90 examples in 9 clusters where 10 are required"


def test_a_lost_record_does_not_count_as_a_cluster():
    part = facts([1] * 90, per_cluster=10, lost=["e3"])
    found = floor(0.1, part)
    assert found.because == "89 examples in 9 clusters where 10 are required"


def test_records_missing_above_two_percent_decide_nothing():
    part = facts([1] * 100, lost=["e1", "e2", "e3"])
    found = floor(0.1, part)
    assert found.verdict is INCONCLUSIVE
    assert "3 of 100" in found.because


def test_fail_needs_the_optimistic_reading_of_invalid_records_to_miss_too():
    outcomes = rights(200, 10)
    lost = [f"e{i}" for i, right in enumerate(outcomes) if right][:4]
    # 186 of 200 right if the four lost ones are wrong: upper limit 0.9575; 190 if right: 0.9726
    found = floor(0.96, facts(outcomes, lost=lost))
    assert found.verdict is INCONCLUSIVE
    assert found.value == pytest.approx(0.93)


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (AtLeast(measure="absent/recall", bound=0.1), "there is no part 'absent'"),
        (AtLeast(measure="facts/absent", bound=0.1), "facts has no 'absent'"),
        (AtLeast(measure="facts/wrong", bound=0.0), "contradicts"),
        (AtMost(measure="facts/recall", bound=1.0), "contradicts"),
        (Present(measure="facts/absent"), "facts has no 'absent'"),
    ],
)
def test_what_was_not_measured_or_contradicts_its_direction_is_inconclusive(rule, why):
    found = rule.check(case([facts([1] * 100)]))
    assert found.verdict is INCONCLUSIVE
    assert why in found.because


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "much", None])
def test_a_value_that_is_no_number_decides_nothing(value):
    part = facts([1] * 100)
    records = part.records.astype({"right": object})
    records.loc[0, "right"] = value
    broken = Part(part.name, part.kind, part.declared, part.expected, records, part.basis)
    for rule in (
        AtLeast(measure="facts/recall", bound=0.1),
        Present(measure="facts/recall"),
        NoWorse(measure="facts/recall", than="parent", margin=0.5),
    ):
        found = rule.check(Case(evidence("new", broken), evidence("old", facts([1] * 100))))
        assert found.verdict is INCONCLUSIVE, rule


@pytest.mark.parametrize(
    "spoil",
    [
        lambda f: f.iloc[:0],
        lambda f: f.drop(columns="right"),
        lambda f: f.iloc[[0, *range(len(f))]],
        lambda f: f.assign(example=f["example"] + "x"),
    ],
    ids=["empty", "no column", "doubled", "unexpected"],
)
def test_spoilt_records_decide_nothing(spoil):
    part = facts([1] * 100)
    bad = Part(part.name, part.kind, part.declared, part.expected, spoil(part.records), "asked")
    found = floor(0.1, bad)
    assert found.verdict is INCONCLUSIVE


def test_equal_answers_are_no_worse_once_there_are_enough_of_them():
    # Tango's limits at b = c = 0 are ± z²/(n + z²): 0.0263 for n = 100, 0.0053 for n = 500
    rule = NoWorse(measure="facts/recall", than="parent", margin=0.02)
    few, many = rights(100, 10), rights(500, 50)
    found = rule.check(case([facts(few)], evidence("old", facts(few))))
    assert found.verdict is INCONCLUSIVE
    assert found.limit == pytest.approx(-0.02634, abs=1e-4)
    found = rule.check(case([facts(many)], evidence("old", facts(many))))
    assert found.verdict is PASS


def test_no_significant_difference_is_not_no_worse():
    # 12 of 100 lost, 8 won: p = 0.5 by McNemar, and still up to 0.11 worse
    old = [1] * 60 + [0] * 40
    new = [0] * 12 + [1] * 48 + [1] * 8 + [0] * 32
    found = NoWorse(measure="facts/recall", than="parent", margin=0.05).check(
        case([facts(new)], evidence("old", facts(old)))
    )
    assert found.verdict is INCONCLUSIVE
    assert found.value == pytest.approx(-0.04)


def test_lower_is_better_is_judged_in_its_own_direction():
    worse, better = rights(500, 100), rights(500, 5)
    rule = NoWorse(measure="facts/wrong", than="champion", margin=0.02)
    old = evidence("old", facts(better))
    assert rule.check(case([facts(worse)], champion=old)).verdict is FAIL
    old = evidence("old", facts(worse))
    assert rule.check(case([facts(better)], champion=old)).verdict is PASS


def test_another_basis_never_compares():
    rule = NoWorse(measure="facts/recall", than="parent", margin=0.9)
    same = rights(200, 10)
    found = rule.check(case([facts(same)], evidence("old", facts(same, basis="other"))))
    assert found.verdict is INCONCLUSIVE
    assert "another basis" in found.because


@pytest.mark.parametrize("than", ["parent", "champion"])
def test_with_nothing_to_compare_a_relative_rule_does_not_apply(than):
    for rule in (
        NoWorse(measure="facts/recall", than=than, margin=0.0),
        RatioAtMost(measure="profile/size_bytes", than=than, ratio=0.1),
    ):
        for other in (None, evidence("new", facts([0] * 100), disk(9))):
            found = rule.check(case([facts([1] * 100), disk(9)], other, other))
            assert found.verdict is PASS
            assert not found.applies
            assert "nothing to compare with" in found.because


def test_a_parent_that_is_named_but_not_at_hand_is_no_excuse():
    rule = NoWorse(measure="facts/recall", than="parent", margin=0.5)
    child = evidence("new", facts([1] * 100), parent="old")
    for parent in (None, evidence("someone", facts([1] * 100))):
        found = rule.check(Case(child, parent))
        assert found.verdict is INCONCLUSIVE
        assert "not at hand" in found.because
    assert rule.check(Case(child, evidence("old", facts([1] * 100)))).verdict is PASS


def test_who_claims_to_be_its_own_parent_is_compared_with_nobody_and_does_not_pass():
    rule = NoWorse(measure="facts/recall", than="parent", margin=0.5)
    own = evidence("new", facts([1] * 100), parent="new")
    for parent in (None, own):
        found = rule.check(Case(own, parent))
        assert found.verdict is INCONCLUSIVE
        assert "its own parent" in found.because


@pytest.mark.parametrize(
    ("size", "verdict"), [(50, PASS), (60, PASS), (61, FAIL), (0, PASS), (-1, INCONCLUSIVE)]
)
def test_an_exact_ratio_needs_no_interval(size, verdict):
    rule = RatioAtMost(measure="profile/size_bytes", than="parent", ratio=0.6)
    found = rule.check(case([disk(size)], evidence("old", disk(100))))
    assert found.verdict is verdict


def test_a_noisy_ratio_is_judged_by_both_models_limits():
    slow = [10.0 + 0.01 * (i % 7) for i in range(40)]
    half = [v / 2 for v in slow]
    near = [9.0 + (i % 9) for i in range(40)]
    rule = RatioAtMost(measure="speed/pause", than="parent", ratio=0.8)
    old = evidence("old", pauses(slow, host="here"))
    assert rule.check(case([pauses(half, host="here")], old)).verdict is PASS
    assert rule.check(case([pauses(slow, host="here")], old)).verdict is FAIL
    rule = RatioAtMost(measure="speed/pause", than="parent", ratio=1.3)
    assert rule.check(case([pauses(near, host="here")], old)).verdict is INCONCLUSIVE


def test_time_on_another_machine_does_not_compare_but_size_does():
    slow = [10.0 + 0.01 * (i % 7) for i in range(40)]
    new = [pauses(slow, host="there", dtype="int4"), disk(9, host="there")]
    old = evidence("old", pauses(slow, host="here", dtype="float32"), disk(10, host="here"))
    found = RatioAtMost(measure="speed/pause", than="parent", ratio=9).check(case(new, old))
    assert found.verdict is INCONCLUSIVE
    assert "host is 'there' and 'here'" in found.because
    rule = RatioAtMost(measure="profile/size_bytes", than="parent", ratio=1)
    assert rule.check(case(new, old)).verdict is PASS


@pytest.mark.parametrize(
    ("conditions", "hard", "verdict"),
    [
        ({"energy_status": "measured"}, True, PASS),
        ({"energy_status": "estimated"}, True, INCONCLUSIVE),
        ({"energy_status": "mixed"}, True, INCONCLUSIVE),
        ({}, True, INCONCLUSIVE),
        ({"energy_status": "estimated"}, False, PASS),
    ],
)
def test_an_estimate_of_energy_satisfies_no_hard_rule(conditions, hard, verdict):
    joules = Declared(
        name="per_token", better="lower", about="Energy.", unit="J",
        of=Ratio(value="j", proportion=False),
    )  # fmt: skip
    rows = [{"example": f"t{i}", "j": 1 + 0.1 * (i % 3)} for i in range(40)]
    part = Part(
        "power", "profile", (joules,), tuple(r["example"] for r in rows), records_frame(rows),
        "p", conditions,
    )  # fmt: skip
    rule = AtMost(measure="power/per_token", bound=2, hard=hard)
    assert rule.check(case([part])).verdict is verdict


def test_presence_is_satisfied_by_any_finite_measure():
    found = Present(measure="profile/size_bytes").check(case([disk(123456)]))
    assert found.verdict is PASS
    assert found.because == "123,456 bytes"


def test_swapping_candidate_and_champion_never_fails_both_ways():
    rule = NoWorse(measure="facts/recall", than="champion", margin=0.02)
    for wrong in (5, 50, 55, 70, 200):
        one, two = facts(rights(500, 50)), facts(rights(500, wrong))
        there = rule.check(Case(evidence("a", one), None, evidence("b", two))).verdict
        back = rule.check(Case(evidence("b", two), None, evidence("a", one))).verdict
        assert not (there is FAIL and back is FAIL)
        assert there is not FAIL or back is PASS
