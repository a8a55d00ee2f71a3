import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from audits.errors import MeasureError
from audits.estimand import (
    Auroc,
    CalibrationError,
    Declared,
    Exact,
    Ratio,
    RiskCoverage,
    Spread,
)
from audits.evidence import records_frame
from audits.intervals import clopper_pearson, tango
from audits.resample import bin_of, calibration_error
from audits.stats import difference, estimate, needs_n

CALIBRATION = json.loads(
    (Path(__file__).parent / "golden" / "calibration.json").read_text("utf-8")
)
RATE = Ratio(value="x")
KINDS = [
    RATE,
    Ratio(value="x", weight="w"),
    Ratio(value="x", over="asked"),
    Ratio(value="c", proportion=False),
    Auroc(score="c", label="x"),
    Auroc(score="c", label="x", against="w"),
    RiskCoverage(confidence="c", correct="x"),
    CalibrationError(confidence="c", correct="x"),
    Spread(value="c"),
]


def declare(of, better="lower", **where):
    return Declared(name="m", better=better, about="", of=of, where=where)


def table(rows, **columns):
    """Records with ids by position; `columns` hold one value per row."""
    found = [{"example": f"e{at:04d}"} for at in range(rows)]
    for name, values in columns.items():
        for record, value in zip(found, values, strict=True):
            record[name] = value
    return records_frame(found)


@pytest.fixture
def sample():
    rng = np.random.default_rng(7)
    c = rng.beta(4, 2, 240)
    return table(
        240,
        cluster=[f"k{at % 80}" for at in range(240)],
        group=["abc"[at % 3] for at in range(240)],
        c=c,
        x=(rng.random(240) < c).astype(float),
        w=[1.0 + (at % 3) for at in range(240)],
        asked=[1.0] * 240,
    )


def test_independent_rows_get_the_exact_interval():
    found = estimate(declare(RATE), table(50, x=[0.0] * 50), level=0.95)
    assert (found.value, found.low, found.n, found.clusters) == (0, 0, 50, 50)
    assert found.high == pytest.approx(0.07112, abs=5e-6)
    assert found.method == "clopper-pearson"


def test_a_rate_among_the_answered_counts_only_those():
    # 4 answered of 6, 1 wrong: 1/4 of 4 trials
    frame = table(6, wrong=[1, 0, 0, 0, 0, 0], answered=[1, 1, 1, 1, 0, 0])
    found = estimate(declare(Ratio(value="wrong", over="answered")), frame, level=0.95)
    assert (found.value, found.n, found.method) == (0.25, 4, "clopper-pearson")


def test_a_weighted_rate_by_hand():
    # (3*1 + 1*0) / (3*1 + 1*1 + 1*1) = 3/5
    frame = table(4, x=[1, 0, 0, 0], asked=[1, 1, 1, 0], w=[3, 1, 1, 9])
    found = estimate(declare(Ratio(value="x", over="asked", weight="w")), frame, level=0.9)
    assert found.value == pytest.approx(0.6)


def test_repeating_every_row_in_its_cluster_adds_no_certainty():
    rng = np.random.default_rng(0)
    x = (rng.random(60) < 0.3).astype(float)
    alone = table(60, x=x, cluster=[str(at) for at in range(60)])
    often = table(300, x=np.repeat(x, 5), cluster=[str(at // 5) for at in range(300)])
    one, five = (estimate(declare(RATE), frame, level=0.9) for frame in (alone, often))
    assert five.value == one.value
    assert five.high - five.low >= one.high - one.low - 1e-9
    assert five.se == pytest.approx(one.se * math.sqrt(60 / 59))


def test_an_unanswered_heavy_stratum_keeps_its_doubt():
    # 1000 light questions, all answered rightly; 10 heavy ones, none answered: a single
    # answer among those ten would have weighed as much as 43 of the light ones
    frame = table(
        1010,
        x=[0.0] * 1010,
        asked=[1.0] * 1000 + [0.0] * 10,
        w=[0.7 / 1000] * 1000 + [0.3 / 10] * 10,
    )
    found = estimate(declare(Ratio(value="x", over="asked", weight="w")), frame, level=0.9)
    assert found.value == 0
    assert found.high > 0.1


@pytest.mark.parametrize("of", KINDS, ids=lambda of: f"{of.kind}-{of.model_dump_json()[-30:]}")
def test_the_order_of_records_changes_nothing(of, sample):
    shuffled = sample.sample(frac=1, random_state=1)
    other = sample.assign(c=sample["c"] ** 1.1, x=np.roll(sample["x"], 3))
    assert estimate(declare(of), shuffled, level=0.9) == estimate(
        declare(of), sample, level=0.9
    )
    assert difference(declare(of), shuffled, other, level=0.9) == difference(
        declare(of), sample, other.sample(frac=1, random_state=2), level=0.9
    )


@pytest.mark.parametrize("of", KINDS, ids=lambda of: f"{of.kind}-{of.model_dump_json()[-30:]}")
def test_a_model_differs_from_itself_by_nothing_with_some_doubt(of, sample):
    found = difference(declare(of), sample, sample, level=0.9)
    assert found.value == 0
    assert found.low < 0 < found.high


@pytest.mark.parametrize("of", KINDS, ids=lambda of: f"{of.kind}-{of.model_dump_json()[-30:]}")
def test_a_difference_is_that_of_the_estimates(of, sample):
    other = sample.assign(c=sample["c"] ** 1.3, x=np.roll(sample["x"], 3))
    found = difference(declare(of), sample, other, level=0.9)
    ours, theirs = (estimate(declare(of), frame, level=0.9) for frame in (sample, other))
    assert found.value == pytest.approx(ours.value - theirs.value, abs=1e-12)
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize("of", KINDS, ids=lambda of: f"{of.kind}-{of.model_dump_json()[-30:]}")
def test_values_that_do_not_vary_are_not_certain(of):
    frame = table(
        40,
        x=[1.0] * 20 + [0.0] * 20 if of.kind == "auroc" else [1.0] * 40,
        c=[0.9] * 20 + [0.1] * 20 if of.kind == "auroc" else [1.0] * 40,
        w=[1.0] * 40,
        asked=[1.0] * 40,
        cluster=[str(at) for at in range(40)],
        group=["ab"[at % 2] for at in range(40)],
    )
    found = estimate(declare(of), frame, level=0.9)
    assert found.low < found.high


def test_all_zeros_on_an_unknown_scale_are_no_measurement():
    with pytest.raises(MeasureError, match="all 40 values are 0"):
        estimate(
            declare(Ratio(value="x", proportion=False)), table(40, x=[0.0] * 40), level=0.9
        )


def test_a_paired_change_gets_tango():
    # 12 became bad, 3 became good, 85 stayed
    new = table(100, x=[1.0] * 12 + [0.0] * 88)
    old = table(100, x=[0.0] * 12 + [1.0] * 3 + [0.0] * 85)
    found = difference(declare(RATE), new, old, level=0.95)
    assert (found.low, found.high) == pytest.approx((0.015977, 0.173743), abs=1e-6)
    assert (found.value, found.method) == (pytest.approx(0.09), "tango")


def test_clustered_pairs_are_worth_fewer():
    new, old = [1.0] * 12 + [0.0] * 88, [0.0] * 12 + [1.0] * 3 + [0.0] * 85
    clusters = [str(at // 5) for at in range(100)]
    found = difference(
        declare(RATE), table(100, x=new, cluster=clusters), table(100, x=old, cluster=clusters),
        level=0.95,
    )  # fmt: skip
    low, high = tango(12, 3, 100, 0.95)
    assert found.low < low < high < found.high
    assert found.clusters == 20


def test_other_examples_are_not_compared():
    with pytest.raises(MeasureError, match="1 examples are unpaired, the first 'e0004'"):
        difference(declare(RATE), table(5, x=[0.0] * 5), table(4, x=[0.0] * 4), level=0.9)


def test_a_file_size_is_exact():
    found = estimate(declare(Exact(value="mib")), table(1, mib=[3.5]), level=0.9)
    assert (found.low, found.value, found.high, found.n) == (3.5, 3.5, 3.5, 1)
    change = difference(
        declare(Exact(value="mib")), table(1, mib=[1.0]), table(1, mib=[3.5]), level=0.9
    )
    assert change.value == change.low == change.high == -2.5


@pytest.mark.parametrize(("better", "expected"), [("lower", 0.51), ("higher", 0.5)])
def test_an_invalid_record_counts_against_the_model(better, expected):
    frame = table(100, x=[1.0] * 50 + [0.0] * 49 + [None], why=[""] * 99 + ["no answer"])
    found = estimate(declare(RATE, better), frame, level=0.9)
    assert found.value == pytest.approx(expected)
    hopeful = estimate(declare(RATE, better), frame, level=0.9, optimistic=True)
    assert hopeful.value == pytest.approx(1.01 - expected)


def test_an_invalid_record_counts_against_the_new_model_of_a_pair():
    whole = table(100, x=[0.0] * 100)
    holed = table(100, x=[0.0] * 99 + [None], why=[""] * 99 + ["no answer"])
    assert difference(declare(RATE), holed, whole, level=0.9).value == pytest.approx(0.01)
    assert difference(declare(RATE), whole, holed, level=0.9).value == 0
    assert difference(declare(RATE), whole, holed, level=0.9, optimistic=True).value < 0


def test_too_many_invalid_records_are_no_measurement():
    frame = table(100, x=[1.0] * 97 + [None] * 3, why=[""] * 97 + ["timeout"] * 2 + ["odd"])
    with pytest.raises(MeasureError, match=r"3 of 100 records are invalid.*'timeout'"):
        estimate(declare(RATE), frame, level=0.9)


def test_an_unbounded_value_has_no_worst_case():
    frame = table(100, x=[1.0] * 99 + [None], why=[""] * 99 + ["no answer"])
    with pytest.raises(MeasureError, match="no worst case"):
        estimate(declare(Ratio(value="x", proportion=False)), frame, level=0.9)


def test_a_lost_record_is_missed_in_every_stratum():
    frame = table(
        200, x=[0.0] * 199 + [None], kind=["a", "b"] * 99 + ["a", None],
        why=[""] * 199 + ["missing"],
    )  # fmt: skip
    for kind in "ab":
        assert estimate(declare(RATE, kind=kind), frame, level=0.9).value > 0


def test_a_lost_record_is_known_from_the_other_model():
    kinds = ["a", "b"] * 100
    whole = table(200, x=[0.0] * 200, kind=kinds)
    holed = table(
        200, x=[0.0] * 199 + [None], kind=[*kinds[:-1], None], why=[""] * 199 + ["missing"]
    )
    assert difference(declare(RATE, kind="a"), holed, whole, level=0.9).value == 0
    found = difference(declare(RATE, kind="b"), holed, whole, level=0.9)
    assert found.value == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("frame", "of", "message"),
    [
        (table(0), RATE, "no valid records"),
        (table(2, y=[0.0, 1.0]), RATE, "no column 'x'"),
        (table(2, x=[0.0, math.nan]), RATE, "x of example 'e0001' is not finite"),
        (table(2, x=[0.0, math.inf]), RATE, "is not finite"),
        (table(2, x=["a", "b"]), RATE, "holds no numbers"),
        (table(2, x=[0.0, 3.0]), RATE, "no share"),
        (table(2, x=[0.5, 0.7], cluster=["k", "k"]), RATE, "1 cluster"),
        (table(2, x=[0, 0], o=[0, 0]), Ratio(value="x", over="o"), "nothing to divide"),
        (table(2, x=[1.0, 1.0], c=[0.1, 0.2]), Auroc(score="c", label="x"), "both 0 and 1"),
        (table(2, x=[1.0, 0.0]), Spread(value="x"), "one group|single|two"),
        (table(2, x=[1.0, 0.0]), Exact(value="x"), "is one record, not 2"),
    ],
)
def test_what_is_no_measurement_says_why(frame, of, message):
    with pytest.raises(MeasureError, match=message):
        estimate(declare(of), frame, level=0.9)


def test_auroc_is_that_of_scikit_learn(sample):
    from sklearn.metrics import roc_auc_score

    rounded = sample.assign(c=sample["c"].round(1))  # with ties
    found = estimate(declare(Auroc(score="c", label="x"), "higher"), rounded, level=0.9)
    assert found.value == pytest.approx(roc_auc_score(rounded["x"], rounded["c"]), abs=1e-12)
    assert 0 < found.low < found.value < found.high < 1


@pytest.mark.parametrize("case", CALIBRATION["cases"], ids=lambda c: c["case"])
@pytest.mark.parametrize("bins", [10, 15])
def test_calibration_error_closes_bins_above(case, bins):
    found = calibration_error(np.array(case["confidence"]), np.array(case["correct"]), bins)
    expected = case["ece"][str(bins)]
    assert found == pytest.approx(expected["exact, bins (lo, hi]"], abs=1e-9)
    assert found == pytest.approx(expected["uncertainty-calibration 0.1.4"], abs=1e-7)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below():
    assert bin_of(np.array([0.0, 0.1, 0.3, 0.30001, 1.0]), 10).tolist() == [0, 0, 2, 3, 9]


def test_a_calibrated_model_has_no_excess_error_at_any_size():
    rng = np.random.default_rng(5)
    for n in (50, 1000):
        excess = []
        for _ in range(20):
            c = rng.beta(4, 2, n)
            frame = table(n, c=c, x=(rng.random(n) < c).astype(float))
            of = CalibrationError(confidence="c", correct="x")
            excess.append(estimate(declare(of), frame, level=0.9).value)
        # plain calibration error would be .154 at 50 and .036 at 1000
        assert abs(np.mean(excess)) < 0.02


def test_an_overconfident_model_has_excess_error():
    frame = table(400, c=[0.9] * 400, x=[1.0] * 200 + [0.0] * 200)
    found = estimate(declare(CalibrationError(confidence="c", correct="x")), frame, level=0.9)
    assert 0.3 < found.low < found.value < 0.4


def test_a_spread_of_equal_groups_holds_zero():
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(20):
        frame = table(200, v=rng.random(200), group=["abcd"[at % 4] for at in range(200)])
        held += estimate(declare(Spread(value="v")), frame, level=0.9).low == 0
    assert held >= 15


def test_intervals_cover_as_often_as_they_say():
    rng = np.random.default_rng(11)
    covered = dict.fromkeys(("clopper-pearson", "gaffke", "paired gaffke"), 0)
    for _ in range(120):
        rate = rng.beta(0.5, 9.5, 50)  # clusters differ; 5 % on average
        x = (rng.random((50, 4)) < rate[:, None]).astype(float).ravel()
        y = np.where(rng.random(200) < 0.05, 1 - x, x)
        clusters = [str(at // 4) for at in range(200)]
        alone = estimate(declare(RATE), table(200, x=rng.random(200) < 0.05), level=0.9)
        many = table(200, x=x, cluster=clusters)
        grouped = estimate(declare(RATE), many, level=0.9)
        paired = difference(declare(RATE), table(200, x=y, cluster=clusters), many, level=0.9)
        truth = 0.05 * (1 - 2 * 0.05)
        for found, value in ((alone, 0.05), (grouped, 0.05), (paired, truth)):
            covered[found.method] += found.low <= value <= found.high
    assert all(count >= 100 for count in covered.values()), covered


def test_needed_numbers_by_hand():
    frame = table(100, x=[1.0] * 10 + [0.0] * 90)
    found = estimate(declare(RATE), frame, level=0.9)
    # summed over the binomial; (1.645 + 0.842)^2 * .1 * .9 / .05^2 would say 223
    enough = needs_n(found, 0.15, alpha=0.05, power=0.8, better="lower")
    assert enough == 304
    most = max(k for k in range(100) if clopper_pearson(k, enough, 0.9)[1] <= 0.15)
    assert stats.binom.cdf(most, enough, 0.1) >= 0.8
    assert needs_n(found, 0.05, alpha=0.05, power=0.8, better="lower") is None
    none = estimate(declare(RATE), table(20, x=[0.0] * 20), level=0.9)
    # ln(.05) / ln(1 - .01) = 298.07
    assert needs_n(none, 0.01, alpha=0.05, power=0.8, better="lower") == 299
    exact = estimate(declare(Exact(value="x")), table(1, x=[2.0]), level=0.9)
    assert needs_n(exact, 1.0, alpha=0.05, power=0.8, better="lower") is None
    assert needs_n(exact, 3.0, alpha=0.05, power=0.8, better="lower") == 1


@given(st.lists(st.booleans(), min_size=2, max_size=60), st.floats(0.5, 0.99))
def test_an_interval_holds_its_estimate_and_has_width(flags, level):
    frame = table(len(flags), x=[float(f) for f in flags])
    found = estimate(declare(RATE), frame, level=level)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high
