"""Every interval and test against something that was not written here."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import optimize, stats

from audits import resample, significance, unseen
from audits.errors import MeasureError
from audits.estimand import Auroc, Declared, Ratio, Spread
from audits.evidence import records_frame
from audits.intervals import clopper_pearson, normal_quantile, tango, wilson
from audits.significance import change, changed, mcnemar, sign_flip
from audits.stats import difference, estimate

LEVEL = 0.9


def declare(of, better="lower"):
    return Declared(name="m", better=better, about="", of=of)


MEAN = declare(Ratio(value="x", proportion=False))
RATE = declare(Ratio(value="x"))


def table(x, cluster=None, **columns):
    rows = len(x)
    owner = [f"k{at}" for at in (range(rows) if cluster is None else cluster)]
    columns = {"x": x, "cluster": owner, **columns}
    return records_frame(
        {"example": f"e{at:04d}", **{k: v[at] for k, v in columns.items()}}
        for at in range(rows)
    )


def clustered(seed, clusters=240, rows=900):
    # with fewer than 200 clusters the bootstrap may widen what least squares says
    rng = np.random.default_rng(seed)
    cluster = np.sort(np.r_[np.arange(clusters), rng.integers(0, clusters, rows - clusters)])
    shift = rng.normal(size=clusters)[cluster]
    return cluster, shift + rng.normal(size=rows), shift + rng.normal(size=rows)


@pytest.mark.parametrize("n", [1, 2, 7, 30, 59, 200, 2995])
@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
def test_rates_on_a_grid_agree_with_statsmodels(n, level):
    from statsmodels.stats.proportion import proportion_confint

    for k in sorted({0, 1, n // 3, n // 2, n - 1, n}):
        for ours, name in ((wilson, "wilson"), (clopper_pearson, "beta")):
            theirs = proportion_confint(k, n, alpha=1 - level, method=name)
            assert ours(k, n, level) == pytest.approx(theirs, abs=1e-10)


def numeric_z(b, c, n, at):
    """Tango's score with the restricted likelihood maximised by search, not by formula."""
    low, high = max(0.0, -at), (1 - at) / 2  # of the share c is drawn from

    def slope(q):
        terms = [(c, q, 1), (b, q + at, 1), (n - b - c, 1 - 2 * q - at, -2)]
        return sum(k * sign / max(p, 1e-300) for k, p, sign in terms if k)

    edge = (high - low) * 1e-14
    if high - low < 1e-13 or slope(low + edge) <= 0:
        q = low
    elif slope(high - edge) >= 0:
        q = high
    else:
        q = optimize.brentq(slope, low + edge, high - edge, xtol=1e-16, rtol=1e-15)
    variance = n * (2 * q + at - at * at)
    return (b - c - n * at) / math.sqrt(variance)


def random_tables(count):
    rng = np.random.default_rng(0)
    for _ in range(count):
        n = int(rng.integers(5, 800))
        psi, share = rng.beta(1, 4), rng.random()
        chances = [psi * share, psi * (1 - share), 1 - psi]
        b, c, _ = (int(k) for k in rng.multinomial(n, chances))
        yield b, c, n, float(rng.choice([0.8, 0.9, 0.95, 0.99]))


def test_the_score_at_both_limits_of_500_random_tables_is_the_quantile():
    for b, c, n, level in random_tables(500):
        low, high = tango(b, c, n, level)
        z = normal_quantile(level)
        assert numeric_z(b, c, n, low) == pytest.approx(z, abs=2e-6), (b, c, n)
        assert numeric_z(b, c, n, high) == pytest.approx(-z, abs=2e-6), (b, c, n)


def searched_limit(b, c, n, level, side):
    estimate_, end = (b - c) / n, -side * (1 - 1e-9)

    def miss(at):
        return numeric_z(b, c, n, at) - side * normal_quantile(level)

    return optimize.brentq(miss, *sorted((end, estimate_ - side * 1e-12)), xtol=1e-9)


def test_tango_agrees_with_inverting_the_searched_score():
    for b, c, n, level in random_tables(500):
        expected = [searched_limit(b, c, n, level, side) for side in (1, -1)]
        assert tango(b, c, n, level) == pytest.approx(expected, abs=1e-7), (b, c, n)


@pytest.mark.parametrize("seed", range(5))
def test_a_clustered_mean_has_the_interval_of_least_squares(seed):
    from statsmodels.regression.linear_model import OLS

    cluster, x, _ = clustered(seed)
    fitted = OLS(x, np.ones(len(x))).fit(
        cov_type="cluster", cov_kwds={"groups": cluster}, use_t=True
    )
    found = estimate(MEAN, table(x, cluster), level=LEVEL)
    assert found.se == pytest.approx(fitted.bse[0], rel=1e-12)
    assert (found.low, found.high) == pytest.approx(fitted.conf_int(1 - LEVEL)[0], rel=1e-11)


@pytest.mark.parametrize("seed", range(5))
def test_a_weighted_mean_has_the_interval_of_weighted_least_squares(seed):
    from statsmodels.regression.linear_model import WLS

    cluster, x, _ = clustered(seed)
    w = np.random.default_rng(seed).integers(1, 5, len(x)).astype(float)
    fitted = WLS(x, np.ones(len(x)), weights=w).fit(
        cov_type="cluster", cov_kwds={"groups": cluster}, use_t=True
    )
    of = declare(Ratio(value="x", weight="w", proportion=False))
    found = estimate(of, table(x, cluster, w=w), level=LEVEL)
    assert (found.low, found.high) == pytest.approx(fitted.conf_int(1 - LEVEL)[0], rel=1e-11)


@pytest.mark.parametrize("seed", range(5))
def test_a_clustered_difference_has_the_interval_of_least_squares(seed):
    from statsmodels.regression.linear_model import OLS

    cluster, x, y = clustered(seed)
    fitted = OLS(x - y, np.ones(len(x))).fit(
        cov_type="cluster", cov_kwds={"groups": cluster}, use_t=True
    )
    found = difference(MEAN, table(x, cluster), table(y, cluster), level=LEVEL)
    assert (found.low, found.high) == pytest.approx(fitted.conf_int(1 - LEVEL)[0], rel=1e-10)


@pytest.mark.parametrize("margin", [0.05, 0.1, 0.2, 0.4])
def test_equivalence_by_limits_is_that_of_two_one_sided_tests(margin):
    from statsmodels.stats.weightstats import ttost_paired

    for seed in range(8):
        _, x, y = clustered(seed, clusters=210, rows=210)
        y = x + 0.3 * y
        found = difference(MEAN, table(x), table(y), level=LEVEL)
        inside = -margin <= found.low and found.high <= margin
        assert inside == (ttost_paired(x, y, -margin, margin)[0] <= (1 - LEVEL) / 2)


def auroc_of_rows(x, score, rows_of):
    """The statistic as anyone would write it: gather the rows of the drawn clusters."""
    from sklearn.metrics import roc_auc_score

    def statistic(drawn):
        rows = np.concatenate([rows_of[int(c)] for c in drawn])
        return roc_auc_score(x[rows], score[rows])

    return statistic


def test_the_cluster_bootstrap_is_that_of_scipy():
    cluster, score, noise = clustered(3, clusters=30, rows=120)
    x = (score + noise > 0).astype(float)
    rows_of = [np.flatnonzero(cluster == at) for at in range(30)]
    direct = stats.bootstrap(
        (np.arange(30),), auroc_of_rows(x, score, rows_of), vectorized=False, method="BCa",
        n_resamples=resample.RESAMPLES, confidence_level=LEVEL,
        rng=np.random.default_rng(resample.SEED),
    )  # fmt: skip
    names = [f"{at:02d}" for at in cluster]  # in the order of their numbers
    frame = table(x, c=score, cluster=names)
    found = estimate(declare(Auroc(score="c", label="x"), "higher"), frame, level=LEVEL)
    assert found.method == "cluster bootstrap, BCa"
    assert (found.low, found.high) == pytest.approx(direct.confidence_interval, abs=1e-12)
    assert found.se == pytest.approx(direct.standard_error, rel=1e-9)


def test_the_bootstrap_of_a_mean_is_that_of_scipy_alone_and_paired():
    """Skewed and few: the end in the long tail is BCa's, the other one Student's."""
    cluster, x, y = clustered(4, clusters=40, rows=220)
    x = np.exp(x)
    y = x - np.exp(y)
    sums_of = [np.bincount(cluster, weights=v) for v in (x, y, np.ones(len(x)))]

    def one(drawn):
        return sums_of[0][drawn].sum() / sums_of[2][drawn].sum()

    def two(drawn):
        return (sums_of[0][drawn] - sums_of[1][drawn]).sum() / sums_of[2][drawn].sum()

    names = [f"{at:02d}" for at in cluster]
    new, old = table(x, cluster=names), table(y, cluster=names)
    for statistic, values, found in (
        (one, x, estimate(MEAN, new, level=LEVEL)),
        (two, x - y, difference(MEAN, new, old, level=LEVEL)),
    ):
        direct = stats.bootstrap(
            (np.arange(40),), statistic, vectorized=False, method="BCa",
            n_resamples=resample.RESAMPLES, confidence_level=LEVEL,
            rng=np.random.default_rng(resample.SEED),
        ).confidence_interval  # fmt: skip
        half = found.se * stats.t.ppf((1 + LEVEL) / 2, 39)
        least, most = values.mean() - half, values.mean() + half
        assert direct.high > most
        assert direct.low > least
        assert (found.low, found.high) == pytest.approx((least, direct.high), rel=1e-12)
        assert found.method.endswith("cluster t or BCa")
        influence = np.bincount(cluster, weights=values - values.mean())
        assert found.skew == pytest.approx(stats.skew(influence), rel=1e-12)


def test_where_nothing_varies_no_bootstrap_is_asked():
    same = table([2.0] * 40, [at // 4 for at in range(40)])
    assert estimate(MEAN, same, level=LEVEL).method == "cluster t, no variation"
    found = difference(MEAN, same, same, level=LEVEL)
    assert found.low < 0 < found.high
    assert found.skew == 0


@pytest.mark.parametrize(
    ("wrong", "clusters"), [(0, 10), (3, 50), (7, 300), (29, 30), (12, 12)]
)
@pytest.mark.parametrize("alpha", [0.2, 0.05, 1e-3])
def test_whole_clusters_have_the_limits_of_clopper_and_pearson(wrong, clusters, alpha):
    failing = np.r_[np.ones(wrong), np.zeros(clusters - wrong)]
    sizes = np.full(clusters, 4.0)
    found = unseen.interval(4 * failing, sizes, (0.0, 4.0), (4.0, 4.0), 1 - 2 * alpha)
    low = stats.beta.ppf(alpha, wrong, clusters - wrong + 1) if wrong else 0.0
    high = stats.beta.ppf(1 - alpha, wrong + 1, clusters - wrong) if wrong < clusters else 1.0
    assert found == pytest.approx((low, high), abs=2e-6)


def test_the_limit_between_is_the_quantile_of_random_weights():
    """Learned-Miller and Thomas (2019), by simulation; clusters of unequal sizes."""
    rng = np.random.default_rng(12)
    den = rng.integers(1, 8, 40).astype(float)
    num = den * rng.beta(1, 6, 40)
    drawn = rng.standard_exponential((60_000, 41))
    top, bottom = np.append(num, 7.0), np.append(den, 7.0)
    shares = (drawn @ top) / (drawn @ bottom)
    for alpha in (0.2, 0.05, 0.01):
        found = unseen.Clusters(num, den, 7.0, 7.0).upper(alpha)
        error = math.sqrt(alpha * (1 - alpha) / len(shares))
        assert (shares > found).mean() == pytest.approx(alpha, abs=4 * error)


@pytest.mark.parametrize("alpha", [0.1, 0.05, 0.01])
def test_very_many_different_clusters_are_expanded_to_the_same(alpha, monkeypatch):
    rng = np.random.default_rng(13)
    num, ones = rng.beta(0.3, 6, 900), np.ones(900)
    held = unseen.Clusters(num, ones, 1.0, 1.0)
    exact = held.upper(alpha)
    monkeypatch.setattr(unseen, "DISTINCT", 100)
    share = num.mean()
    assert held.upper(alpha) - share == pytest.approx(exact - share, rel=0.01)


@pytest.mark.parametrize(
    ("b", "c"), [(12, 3), (40, 20), (0, 0), (5, 0), (0, 1), (53, 16), (7, 7)]
)
def test_mcnemar_is_the_binomial_test(b, c):
    from statsmodels.stats.contingency_tables import mcnemar as exact

    expected = stats.binomtest(b, b + c).pvalue if b + c else 1.0
    assert mcnemar(b, c) == pytest.approx(expected, rel=1e-10)
    theirs = exact([[0, b], [c, 0]], exact=True).pvalue if b + c else 1.0
    assert mcnemar(b, c) == pytest.approx(min(1.0, theirs), rel=1e-10)
    golden = {(12, 3): 0.03515625, (40, 20): 0.01348929373119186}.get((b, c))
    assert golden is None or mcnemar(b, c) == pytest.approx(golden, rel=1e-12)


def test_swapping_by_cluster_is_the_count_of_all_swaps():
    rng = np.random.default_rng(6)
    num_new, num_old = rng.integers(0, 5, (2, 8)).astype(float)
    den_new, den_old = rng.integers(5, 9, (2, 8)).astype(float)
    found = []
    for swap in product([False, True], repeat=8):
        a, b = np.where(swap, num_old, num_new), np.where(swap, num_new, num_old)
        c, d = np.where(swap, den_old, den_new), np.where(swap, den_new, den_old)
        found.append(a.sum() / c.sum() - b.sum() / d.sum())
    found, at = np.array(found), found[0]
    more, less = (found >= at - 1e-12).mean(), (found <= at + 1e-12).mean()
    expected = min(1.0, 2 * min(more, less))
    assert sign_flip(num_new, den_new, num_old, den_old) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("b", "c"), [(7, 1), (4, 4), (10, 0), (1, 0), (0, 0)])
def test_swapping_single_pairs_is_mcnemar(b, c):
    new, old = np.r_[np.ones(b), np.zeros(c)], np.r_[np.zeros(b), np.ones(c)]
    ones = np.ones(b + c)
    assert sign_flip(new, ones, old, ones) == pytest.approx(mcnemar(b, c), abs=1e-12)


@pytest.mark.parametrize(
    ("most", "test"), [(5_000, "sign flip by cluster"), (50, "clustered t")]
)
def test_swapping_many_clusters_agrees_with_the_t_test(most, test, monkeypatch):
    monkeypatch.setattr(significance, "MANY", most)
    cluster, x, y = clustered(7, clusters=60, rows=60)
    y = y - 0.25
    p, method = change(MEAN, table(x, cluster), table(y, cluster))
    assert method == test
    assert p == pytest.approx(stats.ttest_rel(x, y).pvalue, abs=0.03)


def test_what_changed_is_named_with_its_method():
    new, old = table([1.0] * 12 + [0.0] * 88), table([0.0] * 12 + [1.0] * 3 + [0.0] * 85)
    assert change(RATE, new, old) == (pytest.approx(0.03515625), "exact McNemar")
    assert change(RATE, new, new) == (1.0, "exact McNemar")
    lone = table([1.0] * 4, [0] * 4), table([0.0] * 4, [0] * 4)
    assert change(RATE, *lone)[0] == 1.0
    with pytest.raises(MeasureError, match="needs a ratio"):
        change(declare(Spread(value="x")), new, old)
    # .03515625 alone would do; beside another it is doubled
    assert changed({"a": 0.03515625}, 0.05) == ("a",)
    assert changed({"a": 0.03515625, "b": 0.9}, 0.05) == ()
    assert changed({}, 0.05) == ()
