import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from audits.intervals import (
    clopper_pearson,
    cluster_se,
    exact_interval,
    holm,
    normal_quantile,
    score_interval,
    tango,
    wilson,
)

TANGO = json.loads((Path(__file__).parent / "golden" / "tango.json").read_text("utf-8"))


@pytest.mark.parametrize(("k", "n"), [(0, 50), (1, 50), (25, 50), (50, 50), (3, 1000), (7, 7)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_proportions_agree_with_statsmodels(k, n, level):
    from statsmodels.stats.proportion import proportion_confint

    for ours, name in ((wilson, "wilson"), (clopper_pearson, "beta")):
        theirs = proportion_confint(k, n, alpha=1 - level, method=name)
        assert ours(k, n, level) == pytest.approx(theirs, abs=1e-10)


def test_no_failure_in_fifty_still_leaves_seven_percent_open():
    # z^2 / (n + z^2) = 3.8415 / 53.8415
    assert wilson(0, 50, 0.95)[1] == pytest.approx(0.07135, abs=5e-6)
    # 1 - 0.025^(1/50)
    assert clopper_pearson(0, 50, 0.95)[1] == pytest.approx(1 - 0.025 ** (1 / 50), abs=1e-12)


@given(st.integers(1, 300), st.data(), st.floats(0.5, 0.995))
def test_the_exact_interval_is_clopper_pearson_at_whole_numbers(n, data, level):
    k = data.draw(st.integers(0, n))
    found = exact_interval(k / n, n, normal_quantile(level))
    assert found == pytest.approx(clopper_pearson(k, n, level), abs=1e-9)


def test_the_exact_limit_never_passes_more_often_than_it_says():
    # at the bound itself, for every number of trials: the chance of a limit that meets it
    for n in (30, 69, 133, 268, 300):
        for bound in (0.005, 0.01, 0.05, 0.3, 0.9, 0.95):
            passing = [
                k
                for k in range(n + 1)
                if exact_interval(k / n, n, normal_quantile(0.9))[1] <= bound
            ]
            assert stats.binom.cdf(max(passing, default=-1), n, bound) <= 0.05 + 1e-9


def test_the_score_interval_is_wilson_at_whole_numbers():
    assert score_interval(3 / 40, 40, normal_quantile(0.9)) == pytest.approx(
        wilson(3, 40, 0.9), abs=1e-9
    )


@pytest.mark.parametrize("case", TANGO["cases"], ids=lambda c: f"{c['b']},{c['c']},{c['n']}")
def test_tango_agrees_with_numeric_inversion(case):
    found = tango(case["b"], case["c"], case["n"], case["level"])
    assert found == pytest.approx(case["interval"], abs=1e-8)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 200), st.floats(0.5, 0.99))
def test_tango_holds_the_estimate_and_mirrors(b, c, rest, level):
    n = b + c + rest
    low, high = tango(b, c, n, level)
    assert -1 <= low < (b - c) / n < high <= 1
    mirrored = tango(c, b, n, level)
    assert (-mirrored[1], -mirrored[0]) == pytest.approx((low, high), abs=1e-7)


def test_cluster_errors_are_those_of_ordinary_least_squares():
    from statsmodels.regression.linear_model import OLS

    rng = np.random.default_rng(3)
    cluster = np.sort(rng.integers(0, 60, 400))
    values = rng.normal(size=60)[cluster] + rng.normal(size=400)
    fitted = OLS(values, np.ones(400)).fit(
        cov_type="cluster", cov_kwds={"groups": cluster, "use_correction": False}
    )
    # without its correction statsmodels leaves out C/(C-1)
    clusters = len(np.unique(cluster))
    expected = fitted.bse[0] * np.sqrt(clusters / (clusters - 1))
    codes = np.unique(cluster, return_inverse=True)[1]
    assert cluster_se(values, np.ones(400), codes) == pytest.approx(expected, abs=1e-12)


def test_cluster_errors_by_hand():
    # mean 0.5; cluster sums of residuals: +1, -1; sqrt(2/1 * (1 + 1)) / 4 = 0.5
    values, cluster = np.array([1.0, 1.0, 0.0, 0.0]), np.array([0, 0, 1, 1])
    assert cluster_se(values, np.ones(4), cluster) == pytest.approx(0.5)


def test_holm_by_hand():
    # sorted .01, .02, .04: times 3, 2, 1 = .03, .04, .04, in the order given
    assert holm([0.04, 0.01, 0.02]) == pytest.approx((0.04, 0.03, 0.04))
    assert holm([]) == ()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_that_of_statsmodels(p_values):
    from statsmodels.stats.multitest import multipletests

    expected = multipletests(p_values, method="holm")[1]
    assert holm(p_values) == pytest.approx(expected, abs=1e-12)
