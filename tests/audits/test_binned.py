"""Binned forecasts: by hand, Murphy's identity, and as the libraries have them."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audits import binned
from audits.errors import MeasureError
from audits.estimand import Binned, Consistency, Declared
from audits.evidence import records_frame
from audits.stats import difference, estimate

GOLDEN = json.loads((Path(__file__).parent / "golden" / "calibration.json").read_text("utf-8"))
CASES = [pytest.param(c, id=c["case"]) for c in GOLDEN["cases"]]


def value(confidence, correct, member, term):
    found = binned.statistic(confidence, correct, member, term)
    return float(found(np.ones((len(correct), 1)))[0])


def arrays(case):
    return np.array(case["confidence"]), np.array(case["correct"], dtype=float)


def test_the_terms_by_hand():
    # two bins: .2 and .4 with one right of two; .9 and .9, both right
    confidence, correct = np.array([0.2, 0.4, 0.9, 0.9]), np.array([0.0, 1.0, 1.0, 1.0])
    member = binned.members(confidence, 2, mass=False)
    assert member.tolist() == [0, 0, 1, 1]
    assert value(confidence, correct, member, "reliability") == pytest.approx(
        0.5 * 0.2**2 + 0.5 * 0.1**2
    )
    assert value(confidence, correct, member, "resolution") == pytest.approx(0.25**2)
    # one of the two bins is uncertain: .5 * .5 / (2 - 1)
    assert value(confidence, correct, member, "debiased") == pytest.approx(
        0.5 * (0.2**2 - 0.25) + 0.5 * 0.1**2
    )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**20), n=st.integers(2, 60), bins=st.integers(2, 12))
def test_murphys_terms_add_up_to_the_brier_score_of_the_bins(seed, n, bins):
    rng = np.random.default_rng(seed)
    confidence = rng.random(n)
    correct = (rng.random(n) < confidence).astype(float)
    for mass in (False, True):
        member = binned.members(confidence, bins, mass=mass)
        sums = np.bincount(member, weights=confidence)
        counts = np.bincount(member)
        stated = (sums / np.maximum(counts, 1))[member]
        brier = float(((stated - correct) ** 2).mean())
        rel, res = (
            value(confidence, correct, member, t) for t in ("reliability", "resolution")
        )
        unc = correct.mean() * (1 - correct.mean())
        assert brier == pytest.approx(rel - res + unc, abs=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_errors_are_those_of_the_libraries(case):
    confidence, correct = arrays(case)
    for bins in (10, 15):
        wide = binned.members(confidence, bins, mass=False)
        assert binned.error(confidence, correct, wide) == pytest.approx(
            case["ece"][str(bins)]["exact, bins (lo, hi]"], abs=1e-7
        )
        even = binned.members(confidence, bins, mass=True)
        assert binned.error(confidence, correct, even) == pytest.approx(
            case["equal_mass"][str(bins)], abs=1e-7
        )
    squared = value(confidence, correct, binned.members(confidence, 15, mass=True), "debiased")
    assert math.sqrt(max(0.0, squared)) == pytest.approx(
        case["debiased_l2_15_equal_mass_bins"], abs=1e-7
    )


def test_a_calibrated_model_is_consistent_and_an_overconfident_one_is_not():
    rng = np.random.default_rng(1)
    confidence = rng.random(300)
    honest = (rng.random(300) < confidence).astype(float)
    p, (low, high) = binned.consistency(confidence, honest, 15)
    assert p > 0.1
    assert low < p < high < low + 0.07
    p, _ = binned.consistency(confidence, (rng.random(300) < confidence / 2).astype(float), 15)
    assert p == 0.001


def test_the_test_of_calibration_errs_as_often_as_it_says():
    rng, refused = np.random.default_rng(2), 0
    for _ in range(60):
        confidence = rng.random(80)
        correct = (rng.random(80) < confidence).astype(float)
        refused += binned.consistency(confidence, correct, 10)[0] <= 0.1
    assert refused <= 13


def test_a_p_value_compares_with_none():
    of = Consistency(confidence="c", correct="x")
    declared = Declared(name="p", better="higher", about="", of=of)
    frame = records_frame({"example": f"e{i}", "c": 0.5, "x": float(i % 2)} for i in range(40))
    found = estimate(declared, frame, level=0.9)
    assert found.low < found.value == 1
    with pytest.raises(MeasureError, match="compares with none"):
        difference(declared, frame, frame, level=0.9)


def test_a_row_drawn_twice_is_not_two_observations():
    confidence, correct = np.array([0.5, 0.5]), np.array([1.0, 0.0])
    found = binned.statistic(confidence, correct, np.zeros(2, dtype=int), "debiased")
    # right half of the time: 0 - (1/4) / (2 - 1), drawn once or twice
    assert found(np.array([[1.0, 2.0], [1.0, 2.0]])).tolist() == [-0.25, -0.25]


def test_the_interval_of_the_debiased_error_holds_the_truth_as_often_as_it_says():
    """Right with .6 c + .2, c of Beta(4, 2): the squared error is E(.2 - .4 c)^2."""
    rng, held = np.random.default_rng(11), 0
    truth = 0.16 * 8 / 252 + (0.2 - 0.4 * 4 / 6) ** 2
    of = Binned(term="debiased", confidence="c", correct="x", bins=10, mass=True)
    declared = Declared(name="m", better="lower", about="", of=of)
    for _ in range(20):
        c = rng.beta(4, 2, 400)
        right = (rng.random(400) < 0.6 * c + 0.2).astype(float)
        frame = records_frame(
            {"example": f"{at:03}", "c": c[at], "x": right[at]} for at in range(400)
        )
        found = declared.estimate(frame, level=0.9)
        held += found.low <= truth <= found.high
    assert held >= 15


def test_a_band_holds_what_a_calibrated_bin_shows():
    # 100 rows of .5: 50 +- 1.96 * 5
    assert binned.band(np.full(100, 0.5)) == pytest.approx((0.4, 0.6), abs=0.015)
