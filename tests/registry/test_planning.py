"""Which rules cannot decide is said before anything is computed."""

import pytest

from audits.estimand import Declared, Ratio
from registry.planning import Floor, Size, plan
from registry.policy import Policy
from registry.rules import Approved, AtLeast, AtMost, NoWorse, Present
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


def outlook(*rules, n=200, clusters=None, floors=None):
    policy = Policy(name="p", rules=(AtLeast(measure="facts/known", bound=0.5), *rules))
    size = Size(n, clusters or n)
    sizes = dict.fromkeys(("facts/recall", "facts/wrong", "speed/pause"), size)
    return plan(policy, DECLARED, sizes, floors)


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
    (clustered,) = outlook(PARENT, n=1320, clusters=132)
    assert clustered.problem == "weak"
    assert "1,320 items in 132 clusters" in clustered.said


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


def test_declared_looks_cost_power():
    thrice = NoWorse(measure="facts/recall", than="parent", margin=0.02, max_looks=3)
    (one,) = outlook(thrice, n=1600)
    assert one.problem == "weak"
