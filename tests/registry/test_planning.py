"""Which rules cannot decide is said before anything is computed."""

import pytest

from audits.estimand import Declared, Lean, Ratio, Spread
from audits.power import power_paired
from registry.planning import Floor, Size, plan
from registry.policy import Policy
from registry.rules import (
    Approved,
    AtLeast,
    AtMost,
    Detected,
    Equivalent,
    NoWorse,
    Present,
    RatioAtMost,
    Within,
)
from registry.testing import RECALL, SIZE, WRONG

MEAN = Declared(
    name="pause", better="lower", about="ms", unit="ms", of=Ratio(value="ms", proportion=False)
)
DECLARED = {
    "facts/recall": RECALL,
    "facts/wrong": WRONG,
    "profile/size_bytes": SIZE,
    "speed/pause": MEAN,
}
PARENT = NoWorse(measure="facts/recall", than="parent", margin=0.02)


def outlook(*rules, n=200, clusters=None, floors=None, absent=None):
    policy = Policy(name="p", rules=(AtLeast(measure="facts/known", bound=0.5), *rules))
    size = Size(n, clusters or n)
    sizes = dict.fromkeys(("facts/recall", "facts/wrong", "speed/pause"), size)
    return plan(policy, DECLARED, sizes, floors, absent)


def test_a_weak_rule_says_how_often_it_passes_and_what_it_needs():
    (one,) = outlook(PARENT)
    assert one.problem == "weak"
    assert one.said == (
        "it passes about one time in 5 at 10% discordance: 200 items, margin 2 points; "
        "1,546 needed for 80%; under 133 it cannot pass at all"
    )
    assert not one.hopeless


def test_too_few_items_can_never_pass():
    (one,) = outlook(PARENT, n=132)
    assert one.problem == "cannot pass"
    assert "133 are needed" in one.said
    assert one.hopeless
    # ln(.05) / ln(.98) = 148.3: an unseen cluster may be unlike all that were drawn
    (clustered,) = outlook(PARENT, n=1320, clusters=148)
    assert clustered.problem == "cannot pass"
    assert clustered.said.endswith("with equal answers throughout 149 clusters are needed")
    whole = PARENT.model_copy(update={"clusters": "all"})
    assert [one.problem for one in outlook(whole, n=1320, clusters=60)] == ["weak"]
    (clustered,) = outlook(PARENT, n=1320, clusters=149)
    assert clustered.problem == "weak"
    assert "1,320 items in 149 clusters" in clustered.said


def test_enough_items_leave_nothing_to_say():
    assert outlook(PARENT, n=1600) == ()
    assert outlook(AtLeast(measure="facts/recall", bound=0.9), n=400) == ()


def test_one_item_is_seen_to_be_too_few_before_it_is_scored():
    (one,) = outlook(AtLeast(measure="facts/recall", bound=0.1), n=1)
    assert one.said == "it can never pass: 1 item, the rule asks for 30 in 10 clusters"


def test_a_rare_event_needs_hundreds_without_one():
    # 0.995^n <= 0.05: n >= 598
    (one,) = outlook(AtMost(measure="facts/wrong", bound=0.005), n=597)
    assert one.problem == "cannot pass"
    assert "598 are needed" in one.said


def test_a_rule_that_nothing_can_fail_is_named():
    (one,) = outlook(AtMost(measure="facts/wrong", bound=0.999), n=200)
    assert one.problem == "cannot fail"


def test_a_margin_inside_the_noise_is_named_with_its_origin():
    floors = {"facts/recall": Floor(0.03, "toy/1 made again with seed 1")}
    (one,) = outlook(PARENT, n=1600, floors=floors)
    assert one.problem == "noise"
    assert one.said == (
        "its margin 0.02 lies inside the noise floor 0.03 (toy/1 made again with seed 1)"
    )


@pytest.mark.parametrize(
    "rule",
    [
        Present(measure="facts/recall"),
        Approved(),
        AtMost(measure="profile/size_bytes", bound=1),
        AtMost(measure="speed/pause", bound=1),
        NoWorse(measure="speed/pause", than="parent", margin=0.1),
        AtLeast(measure="unknown/x", bound=0.2),
    ],
)
def test_what_cannot_be_planned_is_left_alone(rule):
    assert outlook(rule) == ()


def test_equivalence_asks_for_both_sides():
    same = Equivalent(measure="facts/recall", than="parent", margin=0.02)
    (one,) = outlook(same, n=1600)  # enough for one side
    assert one.problem == "weak"
    enough = int(one.said.split("; ")[1].split()[0].replace(",", ""))
    miss = 1 - power_paired(enough, 0.1, 0.0, 0.02, 0.05)
    assert 1 - 2 * miss >= 0.79
    assert outlook(same, n=enough + 100) == ()
    assert outlook(same, n=100)[0].problem == "cannot pass"


def test_a_control_too_small_to_show_its_defect_is_named():
    planted = Detected(measure="facts/recall", bound=0.05)
    (one,) = outlook(planted, n=40)
    assert one.problem == "cannot pass"
    assert one.said == "it can never pass: 40 items, and without an exception 59 are needed"
    assert outlook(planted, n=500) == ()


@pytest.mark.parametrize(("ratio", "n", "problem"), [
    (1.5, 100, "weak"), (1.5, 3000, None), (1.0, 3000, "weak")
])  # fmt: skip
def test_a_ratio_of_shares_is_planned_for_equal_models(ratio, n, problem):
    rule = RatioAtMost(measure="facts/wrong", than="parent", ratio=ratio)
    assert [one.problem for one in outlook(rule, n=n)] == ([problem] if problem else [])


def test_a_rule_for_every_group_is_planned_for_the_smallest_that_will_not_do():
    rule = AtLeast(measure="facts/recall", bound=0.9, by="group")
    sizes = {"a": Size(500, 500), "b": Size(28, 28), "c": Size(31, 31)}
    policy = Policy(name="p", rules=(rule,))
    size = Size(559, 559, {"group": sizes})
    (one,) = plan(policy, DECLARED, {"facts/recall": size})
    assert one.problem == "cannot pass"
    assert one.said.startswith("group b: it can never pass: 28 items")
    size = Size(1000, 1000, {"group": {"a": Size(500, 500), "d": Size(500, 500)}})
    assert plan(policy, DECLARED, {"facts/recall": size}) == ()


def test_a_rule_on_a_spread_is_planned_for_its_smallest_group():
    apart = DECLARED["facts/recall"].model_copy(update={"of": Spread(value="x")})
    policy = Policy(name="p", rules=(AtMost(measure="facts/apart", bound=0.1),))
    size = Size(503, 503, {"group": {"a": Size(500, 500), "b": Size(3, 3)}})
    (one,) = plan(policy, {"facts/apart": apart}, {"facts/apart": size})
    assert one.said.startswith("group b: it can never pass: 3 items, the rule asks for 30")
    size = Size(503, 503)  # where groups are not known before anything runs
    assert plan(policy, {"facts/apart": apart}, {"facts/apart": size}) == ()


def test_a_bound_within_the_noise_of_what_was_measured_is_named():
    floors = {"facts/recall": Floor(0.03, "toy/1 made again with seed 1", 0.92)}
    (one,) = outlook(AtLeast(measure="facts/recall", bound=0.9), n=400, floors=floors)
    assert one.said == (
        "its bound 0.9 lies within the noise floor 0.03 of 0.92, which was measured "
        "(toy/1 made again with seed 1)"
    )
    assert outlook(AtLeast(measure="facts/recall", bound=0.8), n=400, floors=floors) == ()


def test_declared_looks_cost_power():
    thrice = NoWorse(measure="facts/recall", than="parent", margin=0.02, max_looks=3)
    (one,) = outlook(thrice, n=1600)
    assert one.problem == "weak"


@pytest.mark.parametrize(
    "rule",
    [
        AtLeast(measure="facts/recall", bound=-5),
        AtLeast(measure="facts/recall", bound=0),
        AtMost(measure="facts/wrong", bound=1.5),
    ],
)
def test_a_bound_beyond_every_share_is_named(rule):
    (one,) = outlook(rule)
    assert one.problem == "cannot fail"
    assert "it can never fail" in one.said


PAIRS = RECALL.model_copy(update={"diagnostic": "length alone moves it"})


@pytest.mark.parametrize(
    ("rule", "warned"),
    [
        (AtLeast(measure="facts/recall", bound=0.5), True),
        (AtLeast(measure="facts/recall", bound=0.5, hard=False), False),
        (NoWorse(measure="facts/recall", than="parent", margin=0.5), False),
    ],
)
def test_a_hard_bound_on_a_diagnostic_is_warned_of_and_not_refused(rule, warned):
    policy = Policy(name="p", rules=(AtLeast(measure="facts/known", bound=0.5), rule))
    found = plan(policy, {"facts/recall": PAIRS}, {"facts/recall": Size(400, 400)})
    assert [one.problem for one in found] == ["diagnostic"] * warned
    for one in found:
        assert one.rule == rule.id
        assert "a hard bound on a diagnostic: length alone moves it" in one.said
        assert not one.hopeless


LEANS = Declared(name="gap", better="lower", about="", of=Lean(value="gap"))
EXCESS = Declared(name="excess", better="lower", about="", of=Lean(value="e", excess=True))


@pytest.mark.parametrize(
    ("rule", "instead"),
    [
        (AtMost(measure="a/gap", bound=0.1), "within"),
        (NoWorse(measure="a/gap", than="parent", margin=0.1), "equivalent"),
        (AtMost(measure="a/gap", bound=0.1, hard=False), ""),
        (Within(measure="a/gap", bound=0.1), ""),
        (AtMost(measure="a/excess", bound=0.1), ""),
        (AtMost(measure="facts/wrong", bound=0.1), ""),
    ],
)
def test_a_rule_that_the_strongest_lean_the_other_way_passes_is_warned_of(rule, instead):
    declared = {"a/gap": LEANS, "a/excess": EXCESS, "facts/wrong": WRONG}
    policy = Policy(name="p", rules=(AtLeast(measure="facts/known", bound=0.5), rule))
    found = plan(policy, declared, {})
    assert [one.problem for one in found] == ["sign"] * bool(instead)
    for one in found:
        assert one.said.startswith("-1 passes it, which is as much of a lean as 1")
        assert one.said.endswith(instead)
        assert not one.hopeless


def test_a_rule_on_what_will_not_be_measured_can_never_pass_and_says_why():
    rule = AtMost(measure="facts/wrong", bound=0.005)
    (one,) = outlook(rule, absent={"facts/wrong": "facts will measure nothing"})
    assert one.hopeless
    assert one.said == "it can never pass: facts will measure nothing"
