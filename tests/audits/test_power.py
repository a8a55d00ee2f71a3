import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audits.intervals import clopper_pearson, tango, tango_z
from audits.power import (
    MANY,
    _tango_z,
    can_fail_absolute,
    can_fail_paired,
    enough_paired,
    least_to_pass_absolute,
    least_to_pass_paired,
    needed_absolute,
    needed_paired,
    power_absolute,
    power_paired,
)

ALPHA = 0.05
LEVEL = 1 - 2 * ALPHA


def passes(k, n, bound, better):
    low, high = clopper_pearson(k, n, LEVEL)
    return low >= bound if better == "higher" else high <= bound


@pytest.mark.parametrize("bound", [0.001, 0.01, 0.05, 0.3, 0.9])
@pytest.mark.parametrize("better", ["lower", "higher"])
def test_the_fewest_to_pass_are_those_of_the_exact_limit(bound, better):
    bound = bound if better == "lower" else 1 - bound
    n = least_to_pass_absolute(bound, better, ALPHA)
    perfect = {"lower": 0, "higher": n}[better]
    assert passes(perfect, n, bound, better)
    if n > 1:
        assert not passes(min(perfect, n - 1), n - 1, bound, better)


def test_nobody_is_surely_perfect():
    assert least_to_pass_absolute(0.0, "lower", ALPHA) is None
    assert least_to_pass_absolute(1.0, "higher", ALPHA) is None
    assert least_to_pass_paired(0.0, ALPHA) is None
    assert enough_paired(0.1, 0.0, ALPHA, 0.8) is None


def test_a_margin_of_two_points_needs_133_equal_pairs():
    # z^2 (1 - m) / m = 2.7055 * .98 / .02 = 132.6
    assert least_to_pass_paired(0.02, ALPHA) == 133
    assert tango(0, 0, 133, LEVEL)[1] <= 0.02 < tango(0, 0, 132, LEVEL)[1]


@pytest.mark.parametrize("n", [1, 2, 3, 10, 40, 200])
@pytest.mark.parametrize("bound", [0.0, 0.02, 0.2, 0.7, 0.95, 1.0])
def test_what_can_fail_is_what_the_limits_say(n, bound):
    assert can_fail_absolute(n, bound, "lower", ALPHA) == (
        clopper_pearson(n, n, LEVEL)[0] > bound
    )
    assert can_fail_absolute(n, bound, "higher", ALPHA) == (
        clopper_pearson(0, n, LEVEL)[1] < bound
    )
    assert can_fail_paired(n, bound, ALPHA) == (tango(n, 0, n, LEVEL)[0] > bound)


@settings(deadline=None)  # the first call loads scipy.special
@given(
    st.integers(1, 60),
    st.floats(0, 1),
    st.floats(0.01, 0.99),
    st.sampled_from(["lower", "higher"]),
)
def test_the_power_of_a_rate_is_the_sum_over_what_passes(n, truth, bound, better):
    expected = sum(
        math.comb(n, k) * truth**k * (1 - truth) ** (n - k)
        for k in range(n + 1)
        if passes(k, n, bound, better)
    )
    assert power_absolute(n, truth, bound, better, ALPHA) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("n", [8, 25, 40])
@pytest.mark.parametrize("margin", [0.05, 0.2, 0.5])
@pytest.mark.parametrize(("psi", "change"), [(0.3, 0.0), (0.5, 0.2), (0.2, -0.2), (1.0, 0.4)])
def test_the_power_of_a_pair_is_the_sum_over_what_passes(n, margin, psi, change):
    worse, better = (psi + change) / 2, (psi - change) / 2
    expected = 0.0
    for b, c in product(range(n + 1), repeat=2):
        if b + c <= n and tango(b, c, n, LEVEL)[1] <= margin:
            ways = math.comb(n, b) * math.comb(n - b, c)
            expected += ways * worse**b * better**c * (1 - psi) ** (n - b - c)
    found = power_paired(n, psi, change, margin, ALPHA)
    assert found == pytest.approx(expected, abs=1e-9)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 99), st.floats(0.001, 0.9))
def test_the_score_for_many_outcomes_is_the_one_of_the_interval(b, c, rest, margin):
    n = b + c + rest
    found = _tango_z(np.array([b]), np.array([c]), n, margin)[0]
    assert found == pytest.approx(tango_z(b, c, n, margin), rel=1e-9)


def test_the_fewest_without_an_error_are_the_known_ones():
    # ln(.05) / ln(1 - bound)
    known = {0.05: 59, 0.01: 299, 0.001: 2995}
    for bound, n in known.items():
        assert least_to_pass_absolute(bound, "lower", ALPHA) == n


def test_golden_powers():
    # simulated before this was written: 78.8 % of 1,500 pairs, 5.2 % at the margin
    assert power_paired(1500, 0.10, 0.0, 0.02, ALPHA) == pytest.approx(0.788, abs=0.012)
    assert power_paired(1500, 0.10, 0.02, 0.02, ALPHA) == pytest.approx(0.052, abs=0.006)
    # 200 items, margin 2 points: about one time in five
    assert power_paired(200, 0.10, 0.0, 0.02, ALPHA) == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize(
    ("psi", "margin", "expected"),
    [
        (0.1, 0.01, 6183),
        (0.1, 0.02, 1546),
        (0.1, 0.05, 248),
        (0.02, 0.01, 1237),
        (0.02, 0.02, 310),
        (0.02, 0.05, 50),
    ],
)
def test_needed_pairs_by_the_usual_formula(psi, margin, expected):
    assert needed_paired(psi, margin, ALPHA, 0.8) == expected
    enough = enough_paired(psi, margin, ALPHA, 0.8)
    assert enough > expected
    assert power_paired(enough, psi, 0.0, margin, ALPHA) >= 0.8
    assert power_paired(enough - 1, psi, 0.0, margin, ALPHA) < 0.8


@pytest.mark.parametrize(
    ("truth", "bound", "better"),
    [(0.1, 0.12, "lower"), (0.975, 0.95, "higher"), (0.0, 0.01, "lower"), (0.5, 0.6, "lower")],
)
def test_no_number_from_the_needed_one_on_is_too_few(truth, bound, better):
    needed = needed_absolute(truth, bound, better, ALPHA, 0.8)
    more = [needed + at for at in (0, 1, 2, 5, 17, 60, 500)]
    assert all(power_absolute(n, truth, bound, better, ALPHA) >= 0.8 for n in more)
    assert power_absolute(needed - 1, truth, bound, better, ALPHA) < 0.8


def test_needed_for_a_rate_beyond_its_bound_is_nothing():
    assert needed_absolute(0.5, 0.49, "lower", ALPHA, 0.8) is None
    assert needed_absolute(0.5, 0.5, "higher", ALPHA, 0.8) is None


def test_many_examples_are_approximated_closely():
    needed = needed_absolute(0.1, 0.104, "lower", ALPHA, 0.8)
    assert needed > MANY
    assert power_absolute(needed, 0.1, 0.104, "lower", ALPHA) == pytest.approx(0.8, abs=0.005)


@given(
    st.integers(1, 10_000), st.floats(0, 1), st.floats(-1, 1), st.floats(0, 1),
    st.sampled_from([0.001, 0.01, 0.05, 0.2]),
)  # fmt: skip
def test_a_power_is_a_chance_and_a_wider_margin_helps(n, psi, part, margin, alpha):
    change = psi * part
    found = power_paired(n, psi, change, margin, alpha)
    assert 0 <= found <= 1
    assert power_paired(n, psi, change, min(1.0, margin + 0.01), alpha) >= found - 1e-9
    assert 0 <= power_absolute(n, psi, margin, "lower", alpha) <= 1


def test_impossible_questions_are_refused():
    with pytest.raises(ValueError, match="no 0 pairs"):
        power_paired(0, 0.1, 0.0, 0.02, ALPHA)
    with pytest.raises(ValueError, match=r"differ in 0\.1 of all and by 0\.2"):
        power_paired(10, 0.1, 0.2, 0.02, ALPHA)
    with pytest.raises(ValueError, match=r"a rate of 1\.5"):
        power_absolute(10, 1.5, 0.5, "lower", ALPHA)
