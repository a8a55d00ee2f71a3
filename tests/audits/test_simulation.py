"""Do rules err as often as they say? Simulated audits with known truths, seeded."""

import math

import numpy as np
import pytest

from audits.estimand import Declared, Icat, Ratio, Spread, Variation
from audits.evidence import records_frame
from audits.power import enough_paired, needed_absolute, power_absolute, power_paired
from audits.stats import difference, estimate

ALPHA, LEVEL = 0.05, 0.9
MARGIN = 0.05
RUNS = 500
WITHIN = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / RUNS)
"""A false pass more often than this has less than one chance in 700 of being luck."""


def declare(of):
    return Declared(name="m", better="lower", about="", of=of)


RATE = declare(Ratio(value="x"))


def frame_of(rows, size=1):
    return records_frame(
        {"example": f"e{at:05d}", "cluster": f"k{at // size:05d}"} for at in range(rows)
    )


def passes(new, old, measure=RATE):
    return difference(measure, new, old, level=LEVEL).high <= MARGIN


def share_passing(rng, n, psi, change):
    """How often pairs that truly differ by `change` pass the margin."""
    blank = frame_of(n)
    worse, better = (psi + change) / 2, (psi - change) / 2
    passed = 0
    for _ in range(RUNS):
        kind = rng.choice(3, n, p=[worse, better, 1 - psi])
        both_bad = (kind == 2) & (rng.random(n) < 0.3)
        new = blank.assign(x=((kind == 0) | both_bad).astype(float))
        old = blank.assign(x=((kind == 1) | both_bad).astype(float))
        passed += passes(new, old)
    return passed / RUNS


def test_pairs_at_the_margin_pass_no_more_often_than_alpha():
    found = share_passing(np.random.default_rng(1), 400, 0.15, MARGIN)
    assert found <= WITHIN
    expected = power_paired(400, 0.15, MARGIN, MARGIN, ALPHA)
    assert found == pytest.approx(expected, abs=3 * math.sqrt(ALPHA / RUNS))


def test_equal_models_pass_as_often_as_planned():
    n = enough_paired(0.15, MARGIN, ALPHA, 0.8)
    found = share_passing(np.random.default_rng(2), n, 0.15, 0.0)
    assert found >= 0.8 - 3 * math.sqrt(0.16 / RUNS)


@pytest.mark.parametrize("bound", [0.05, 0.2])
def test_a_rate_at_its_bound_passes_no_more_often_than_alpha(bound):
    rng = np.random.default_rng(3)
    blank = frame_of(300)
    passed = 0
    for _ in range(RUNS):
        frame = blank.assign(x=(rng.random(300) < bound).astype(float))
        passed += estimate(RATE, frame, level=LEVEL).high <= bound
    assert passed / RUNS <= WITHIN


def test_a_good_rate_passes_as_often_as_planned():
    rng = np.random.default_rng(4)
    n = needed_absolute(0.03, 0.08, "lower", ALPHA, 0.8)
    blank = frame_of(n)
    passed = 0
    for _ in range(RUNS):
        frame = blank.assign(x=(rng.random(n) < 0.03).astype(float))
        passed += estimate(RATE, frame, level=LEVEL).high <= 0.08
    assert passed / RUNS >= 0.8 - 3 * math.sqrt(0.16 / RUNS)


CLUSTERS, SIZE = 60, 5
MEASURES = {
    "paired gaffke": RATE,
    "asked of some": declare(Ratio(value="x", over="asked")),
    "weighted": declare(Ratio(value="x", over="asked", weight="w")),
}


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_clustered_pairs_at_the_margin_pass_no_more_often_than_alpha(measure):
    rng = np.random.default_rng(5)
    rows = CLUSTERS * SIZE
    blank = frame_of(rows, SIZE).assign(w=[1.0 + at % 2 for at in range(rows)])
    passed = 0
    for _ in range(RUNS):
        # Whole clusters lean one way: rates vary between clusters, .25 on average for the
        # old model and MARGIN above it for the new one.
        lean = np.repeat(rng.beta(2, 6, CLUSTERS), SIZE)
        shift = np.repeat(rng.choice([0.0, 2 * MARGIN], CLUSTERS), SIZE)
        asked = (rng.random(rows) < 0.8).astype(float) if measure is not RATE else np.ones(rows)
        drawn = rng.random(rows)
        old = blank.assign(x=asked * (drawn < lean), asked=asked)
        again = np.where(rng.random(rows) < 0.7, drawn, rng.random(rows))
        new = blank.assign(x=asked * (again < np.minimum(lean + shift, 1)), asked=asked)
        passed += passes(new, old, measure)
    assert passed / RUNS <= WITHIN


def test_the_score_limits_stay_near_their_level_everywhere():
    """Exact, not simulated: score tests may exceed alpha by a little where n is small."""
    paired = [
        power_paired(n, psi, margin, margin, ALPHA)
        for n in (100, 300, 1000, 3000)
        for psi in (0.05, 0.1, 0.3)
        for margin in (0.02, 0.05)
        if margin <= psi
    ]
    assert max(paired) < 0.075
    alone = [
        power_absolute(n, bound, bound, "lower", ALPHA)
        for n in range(100, 3000, 37)
        for bound in (0.05, 0.1, 0.3)
    ]
    assert np.mean(alone) == pytest.approx(ALPHA, abs=0.01)
    assert max(alone) < 0.075


KINDS = {
    # how often a cluster fails as a whole, and how often its rows do otherwise
    "rarely whole": lambda rng, clusters: np.where(rng.random(clusters) < 0.02, 1.0, 0.01),
    "seldom half": lambda rng, clusters: np.where(rng.random(clusters) < 0.05, 0.5, 0.01),
    "very unlike": lambda rng, clusters: rng.beta(0.1, 0.9, clusters),
    "somewhat unlike": lambda rng, clusters: rng.beta(2.0, 18.0, clusters),
}
TRUTH = {
    "rarely whole": 0.02 + 0.98 * 0.01, "seldom half": 0.05 * 0.5 + 0.95 * 0.01,
    "very unlike": 0.1, "somewhat unlike": 0.1,
}  # fmt: skip
FEWER = 60
MOST = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / FEWER)


@pytest.mark.parametrize("clusters", [12, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_clusters_that_rarely_fail_as_a_whole_do_not_slip_through(kind, clusters):
    """Of the spread that was seen alone up to 56 in 100 passed here."""
    rng, size = np.random.default_rng(6), 6
    blank = frame_of(clusters * size, size)
    alone = together = 0
    for _ in range(FEWER):
        rate = np.repeat(KINDS[kind](rng, clusters), size)
        wrong = (rng.random(clusters * size) < rate).astype(float)
        found = estimate(RATE, blank.assign(x=wrong), level=LEVEL)
        alone += found.high <= TRUTH[kind]
        found = difference(RATE, blank.assign(x=wrong), blank.assign(x=0.0), level=LEVEL)
        together += found.high <= TRUTH[kind]
    assert max(alone, together) / FEWER <= MOST


@pytest.mark.parametrize(("clusters", "size", "bound"), [(150, 2, 0.05), (300, 3, 0.03)])
def test_and_good_models_in_clusters_still_pass(clusters, size, bound):
    rng = np.random.default_rng(7)
    blank = frame_of(clusters * size, size)
    passed = 0
    for _ in range(FEWER):
        wrong = (rng.random(clusters * size) < bound / 10).astype(float)
        passed += estimate(RATE, blank.assign(x=wrong), level=LEVEL).high <= bound
    assert passed / FEWER >= 0.8


def of_groups(rng, before, after):
    """Decisions of 80 members of each group by two models, at each group's own rates."""
    group = np.repeat([f"g{at}" for at in range(len(before))], 80)
    return [
        frame_of(len(group)).assign(
            x=1.0 * (rng.random(len(group)) < np.repeat(rates, 80)), group=group
        )
        for rates in (after, before)
    ]


def of_words(rng, before, after):
    """Words of two groups in 60 texts of 10 by two models, at each model's own share."""
    counts = [rng.binomial(10, share, 60) for share in (after, before)]
    return [frame_of(60).assign(she=she * 1.0, he=10.0 - she) for she in counts]


def of_pairs(rng, before, after):
    """Answers of two models to 200 items, by how often they prefer the stereotype."""
    return [
        frame_of(200).assign(
            x=1.0 * (rng.random(200) < likes), related=1.0 * (rng.random(200) < 0.8)
        )
        for likes in (after, before)
    ]


EXTREMES = {
    "spread": (Spread(value="x"), of_groups, [0.3] * 4, [0.3] * 3 + [0.5], 0.2),
    "variation": (Variation(counts=("she", "he")), of_words, 0.5, 0.6, 0.1),
    "icat": (Icat(prefers="x", related="related"), of_pairs, 0.5, 0.6, -0.16),
}


@pytest.mark.parametrize(("of", "drawn", "before", "after", "true"), EXTREMES.values(),
                         ids=EXTREMES)  # fmt: skip
def test_a_model_whose_groups_came_apart_by_its_margin_passes_no_more_often_than_alpha(
    of, drawn, before, after, true
):
    """The parent's groups are alike, and never lie 0 apart: redrawn, 2 to 4 in 10 passed."""
    measure = declare(of)
    sides = []
    for at in range(40):
        e = difference(measure, *drawn(np.random.default_rng(at), before, after), level=0.9)
        assert e.low <= e.value <= e.high
        sides.append((e.high < true, e.low > true))
    assert np.mean(sides, axis=0).max() <= 0.1


def test_the_same_answers_leave_open_as_much_as_both_models_do_alone():
    measure = declare(Spread(value="x"))
    new, _ = of_groups(np.random.default_rng(0), [0.3, 0.5], [0.3, 0.5])
    alone = estimate(measure, new, level=0.975)
    e = difference(measure, new, new, level=0.95)
    assert e.value == 0
    assert (e.low, e.high) == pytest.approx((alone.low - alone.high, alone.high - alone.low))


def test_icat_of_a_model_that_prefers_nothing_lies_within_its_limits():
    """Its kink is there: a plain bootstrap's upper limit missed it in a third of samples."""
    measure = declare(Icat(prefers="x", related="related"))
    drawn = (of_pairs(np.random.default_rng(at), 0.5, 0.5)[0] for at in range(60))
    found = [estimate(measure, frame, level=0.95) for frame in drawn]
    assert np.mean([e.low <= 0.8 <= e.high for e in found]) >= 0.9
