"""Risk and coverage: by hand, by brute force, and as three libraries have them."""

import json
import math
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audits import selective
from audits.errors import MeasureError
from audits.estimand import Auroc, Declared, RiskCoverage
from audits.evidence import records_frame
from audits.stats import difference, estimate

GOLDEN = json.loads((Path(__file__).parent / "golden" / "aurc.json").read_text("utf-8"))
CASES = {case["case"]: case for case in GOLDEN["cases"]}
TWO = np.array([0.9, 0.8, 0.7]), np.array([0.0, 1.0, 0.0])


def arrays(case):
    return np.array(case["confidence"]), 1.0 - np.array(case["correct"])


def declare(of):
    return Declared(name="m", better="lower", about="", of=of)


def table(confidence, correct, **columns):
    return records_frame(
        {"example": f"e{at:04d}", "c": confidence[at], "x": correct[at]}
        | {name: values[at] for name, values in columns.items()}
        for at in range(len(correct))
    )


def test_areas_by_hand():
    # risks 0, 1/2, 1/3; errors 0, 1, 1 of three
    assert selective.area(*TWO, "aurc") == pytest.approx((0 + 1 / 2 + 1 / 3) / 3)
    assert selective.area(*TWO, "augrc") == pytest.approx((0 + 1 + 1) / 9)
    best = 1 / 3 + 2 / 3 * math.log(2 / 3)
    assert selective.area(*TWO, "eaurc") == pytest.approx((0 + 1 / 2 + 1 / 3) / 3 - best)


def in_order(wrong):
    errors = np.cumsum(wrong)
    n = len(wrong)
    return {
        "aurc": (errors / np.arange(1, n + 1)).mean(),
        "augrc": (errors / n).mean(),
    }


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6))
def test_a_tie_is_the_mean_over_its_orders(rows):
    confidence, wrong = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    orders = [
        in_order(wrong[list(order)])
        for order in permutations(range(len(rows)))
        if (np.diff(confidence[list(order)]) <= 0).all()
    ]
    for kind in ("aurc", "augrc"):
        mean = np.mean([order[kind] for order in orders])
        assert selective.area(confidence, wrong, kind) == pytest.approx(mean, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**20), rows=st.integers(2, 30))
def test_a_row_of_weight_two_is_two_rows(seed, rows):
    rng = np.random.default_rng(seed)
    confidence, wrong = rng.integers(0, 5, rows) / 4, (rng.random(rows) < 0.4).astype(float)
    weights = rng.integers(0, 3, (rows, 4)).astype(float)
    weights[0] = 1
    for kind in ("aurc", "augrc", "eaurc"):
        found = selective.areas(confidence, wrong, kind)(weights)
        for draw, value in zip(weights.T.astype(int), found, strict=True):
            again = selective.area(confidence.repeat(draw), wrong.repeat(draw), kind)
            assert value == pytest.approx(again, abs=1e-12)


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["case"])
def test_the_areas_are_those_of_the_libraries_but_for_their_defects(case):
    confidence, wrong = arrays(case)
    aurc, augrc = (selective.area(confidence, wrong, kind) for kind in ("aurc", "augrc"))
    assert aurc == pytest.approx(case["tie_expectation"]["aurc"], abs=1e-12)
    assert augrc == pytest.approx(case["tie_expectation"]["augrc"], abs=1e-12)
    if wrong.any() and not case["ties"]:
        assert aurc == pytest.approx(case["lm_polygraph_aurc"], abs=1e-12)
    if not case["ties"]:
        near = 2 / len(wrong)
        assert aurc == pytest.approx(case["torch_uncertainty"]["aurc"], abs=near)
        assert augrc == pytest.approx(case["torch_uncertainty"]["augrc"], abs=near)
        assert aurc == pytest.approx(case["fd_shifts_times_1000"]["aurc"] / 1000, abs=near)
        assert augrc == pytest.approx(case["fd_shifts_times_1000"]["augrc"] / 1000, abs=near)


def test_named_defects_of_the_references_are_not_ours():
    perfect = CASES["n=20, all correct"]
    # lm-polygraph scales a target that does not vary to one half
    assert perfect["lm_polygraph_aurc"] == 0.5
    assert all(selective.area(*arrays(perfect), kind) == 0 for kind in ("aurc", "augrc"))
    confidence, _ = arrays(perfect)
    assert selective.area(confidence, np.ones(20), "aurc") == 1
    # and torch-uncertainty lets its sort decide inside ties: .22 or .43 for one set of rows
    tied = CASES["n=100 with ties"]
    low, high = tied["torch_uncertainty_range_over_tie_orders"]["aurc"]
    assert high - low > 0.2
    confidence, wrong = arrays(tied)
    turned = selective.area(confidence[::-1], wrong[::-1], "aurc")
    assert turned == pytest.approx(selective.area(confidence, wrong, "aurc"), abs=1e-12)


def test_the_best_order_lies_at_zero_excess():
    # as fd-shifts takes it: the optimum for many rows, err + (1 - err) ln(1 - err)
    right = np.r_[np.zeros(7000), np.ones(3000)]
    confidence = np.arange(10_000, 0, -1.0)
    assert selective.area(confidence, right, "eaurc") == pytest.approx(0, abs=1e-4)
    confidence, wrong = arrays(CASES["n=50"])
    theirs = CASES["n=50"]["fd_shifts_times_1000"]
    taken_off = selective.area(confidence, wrong, "aurc") - selective.area(
        confidence, wrong, "eaurc"
    )
    assert taken_off == pytest.approx((theirs["aurc"] - theirs["eaurc"]) / 1000, rel=1e-9)


def test_an_area_has_an_interval_and_a_paired_difference():
    rng = np.random.default_rng(3)
    confidence = rng.random(300)
    correct = (rng.random(300) < confidence).astype(float)
    frame = table(confidence, correct, k=rng.random(300))
    blind = frame.assign(c=frame["k"])
    for kind in ("aurc", "augrc", "eaurc"):
        of = RiskCoverage(area=kind, confidence="c", correct="x")
        found = estimate(declare(of), frame, level=0.9)
        assert found.value == pytest.approx(selective.area(confidence, 1 - correct, kind))
        assert 0 < found.low < found.value < found.high < 1
        change = difference(declare(of), frame, blind, level=0.9)
        assert change.high < 0
        # the same rows, both confidences of one model: the baseline in its better direction
        against = RiskCoverage(area=kind, confidence="c", correct="x", against="k")
        inside = estimate(declare(against), frame, level=0.9)
        blindly = min(
            selective.area(sign * frame["k"].to_numpy(), 1 - correct, kind) for sign in (1, -1)
        )
        assert inside.value == pytest.approx(found.value - blindly)
        assert inside.high < 0


def test_auroc_against_another_score_is_the_difference_of_both():
    rng = np.random.default_rng(4)
    score = rng.random(200)
    frame = table(score, (rng.random(200) < score).astype(float), k=rng.random(200))
    one, other = (Auroc(score=s, label="x") for s in "ck")
    both = estimate(declare(Auroc(score="c", label="x", against="k")), frame, level=0.9)
    alone = [estimate(declare(of), frame, level=0.9).value for of in (one, other)]
    assert both.value == pytest.approx(alone[0] - max(alone[1], 1 - alone[1]))
    assert both.low > 0
    swapped = estimate(declare(Auroc(score="k", label="x", against="c")), frame, level=0.9)
    assert swapped.high < 0


def test_a_baseline_that_points_the_wrong_way_is_no_easier_to_beat():
    rng = np.random.default_rng(6)
    wrong = (rng.random(300) < 0.4).astype(float)
    short = rng.random(300) - wrong  # the wrong answers are the short ones
    frame = table(rng.random(300), wrong, k=short)
    coin = estimate(declare(Auroc(score="c", label="x", against="k")), frame, level=0.9)
    assert coin.high < 0
    of = RiskCoverage(confidence="c", correct="x", against="k")
    assert estimate(declare(of), frame, level=0.9).low > 0


def test_repeating_rows_in_their_cluster_adds_no_certainty():
    rng = np.random.default_rng(5)
    confidence = rng.random(80)
    correct = (rng.random(80) < confidence).astype(float)
    names = [f"k{at}" for at in range(80)]
    of = declare(RiskCoverage(confidence="c", correct="x"))
    alone = estimate(of, table(confidence, correct, cluster=names), level=0.9)
    often = estimate(
        of,
        table(confidence.repeat(4), correct.repeat(4), cluster=np.repeat(names, 4)),
        level=0.9,
    )
    assert often.clusters == 80
    assert often.high - often.low > 0.9 * (alone.high - alone.low)


def test_nobody_is_surely_perfect():
    found = estimate(
        declare(RiskCoverage(confidence="c", correct="x")),
        table([0.5] * 40, [1.0] * 40),
        level=0.9,
    )
    assert (found.value, found.low) == (0, 0)
    assert found.high > 0.02


def test_an_outcome_between_right_and_wrong_is_refused():
    with pytest.raises(MeasureError, match="x must be 0 or 1"):
        estimate(
            declare(RiskCoverage(confidence="c", correct="x")),
            table([0.5, 0.6], [1.0, 0.5]),
            level=0.9,
        )


def test_a_threshold_is_certified_on_rows_enough_only():
    # 20 candidates share .05; n rows without an error have the limit 1 - .0025 ** (1 / n):
    # 117 rows are the fewest that certify .05
    confidence = np.linspace(1, 0, 400)
    wrong = np.r_[np.zeros(200), np.ones(200)]
    found = selective.certified_threshold(confidence, wrong, risk=0.05)
    assert found == confidence[199]
    none = selective.certified_threshold(confidence[:100], wrong[:100], risk=0.05)
    assert none == math.inf
    # the same rows in clusters of four are a quarter of the evidence
    clusters = np.arange(400) // 4
    grouped = selective.certified_threshold(confidence, wrong, risk=0.05, cluster=clusters)
    assert grouped == math.inf


def test_a_declared_mix_weighs_the_calibration_rows():
    confidence = np.linspace(1, 0, 600)
    wrong = (np.arange(600) % 10 == 9).astype(float)
    plain = selective.certified_threshold(confidence, wrong, risk=0.15)
    assert plain == confidence[-1]
    heavier = np.where(wrong == 1, 3.0, 1.0)
    weighed = selective.certified_threshold(confidence, wrong, risk=0.15, weight=heavier)
    assert weighed == math.inf


def test_the_promise_of_a_certified_threshold_holds():
    rng, broken, served = np.random.default_rng(8), 0, 0
    for _ in range(100):
        confidence = rng.random(1500)
        wrong = (rng.random(1500) > confidence).astype(float)
        tau = selective.certified_threshold(confidence, wrong, risk=0.25, delta=0.1)
        served += tau < 1
        # above tau the risk is the mean of 1 - c, (1 - tau) / 2
        broken += tau < 1 and (1 - tau) / 2 > 0.25
    assert broken <= 10
    assert served > 95


def test_a_wrong_answer_costs_what_the_target_says():
    rows = (1, 1), (1, 0), (0, 1), (0, 0)
    assert [selective.penalised(*row, 0.9) for row in rows] == pytest.approx([1, -9, 0, 0])


def test_a_curve_has_no_point_inside_a_tie():
    found = selective.curve(np.array([0.5, 0.9, 0.5]), np.array([1.0, 0.0, 0.0]))
    assert found.threshold.tolist() == [0.9, 0.5]
    assert found.coverage.tolist() == pytest.approx([1 / 3, 1])
    assert found.risk.tolist() == pytest.approx([0, 1 / 3])
