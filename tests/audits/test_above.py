"""What lies above models that know nothing, of which only a few were drawn."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from audits.errors import MeasureError
from audits.estimand import Above, Declared, Ratio
from audits.evidence import records_frame


def declared(nulls=2, over=""):
    names = tuple(f"n{at}" for at in range(nulls))
    of = Above(value="x", nulls=names, over=over)
    return Declared(name="excess", better="lower", about="", of=of)


PLAIN = Declared(name="p", better="lower", about="", of=Ratio(value="d", proportion=False))


def frame(own, *nulls, **more):
    columns = {"x": own} | {f"n{at}": null for at, null in enumerate(nulls)} | more
    rows = zip(*columns.values(), strict=True)
    return records_frame(
        {"example": f"e{at:04}", **dict(zip(columns, map(float, row), strict=True))}
        for at, row in enumerate(rows)
    )


def test_excess_and_its_interval_by_hand():
    # own mean 3/4; the nulls have 1/4 and 3/4: 3/4 - 1/2 = 1/4
    own, nulls = [1, 1, 1, 0], ([1, 0, 0, 0], [1, 1, 0, 1])
    found = declared().estimate(frame(own, *nulls), level=0.95)
    assert found.value == pytest.approx(1 / 4)
    gaps = [0, 1 / 2, 1, -1 / 2]
    pairs = PLAIN.estimate(frame(own, d=gaps), level=0.95)
    # nulls 1/2 apart: s = 1/(2 sqrt 2), and one more lies t(1) s sqrt(1 + 1/2) about their mean
    room = stats.t.ppf(0.975, 1) / (2 * math.sqrt(2)) * math.sqrt(3 / 2)
    assert found.low == pytest.approx(1 / 4 - math.hypot(pairs.value - pairs.low, room))
    assert found.high == pytest.approx(1 / 4 + math.hypot(pairs.high - pairs.value, room))


def test_only_what_the_denominator_counts_is_compared():
    found = declared(over="o").estimate(
        frame([1, 0, 1], [0, 0, 1], [0, 0, 0], o=[1, 0, 1]), level=0.95
    )
    assert found.value == pytest.approx(1 - 1 / 4)
    assert found.n == 2


def test_two_models_above_the_same_nulls_differ_as_they_do_without():
    rng = np.random.default_rng(0)
    old, new, *nulls = rng.random((6, 50)) < np.array(
        [[0.5], [0.7], [0.2], [0.5], [0.5], [0.9]]
    )
    above = declared(4).difference(frame(new, *nulls), frame(old, *nulls), level=0.95)
    plain = PLAIN.difference(frame(new, d=new), frame(old, d=old), level=0.95)
    assert above.value == pytest.approx(plain.value)
    assert (above.low, above.high) == pytest.approx((plain.low, plain.high))
    others = declared(4).difference(frame(new, *nulls[::-1]), frame(old, *nulls), level=0.95)
    assert others.high - others.low > above.high - above.low


def test_a_lost_row_or_null_has_no_worst_case():
    lost = frame([1, 0, 1, 1], [0, 1, 0, 0], [0, 1, 1, 1])
    with pytest.raises(MeasureError, match="no column 'n2'"):
        declared(3).estimate(lost, level=0.95)
    with pytest.raises(ValueError, match="at least 2"):
        declared(1)


NULLS = st.lists(st.integers(0, 2**20 - 1), min_size=3, max_size=3)


@settings(max_examples=40)
@given(st.integers(1, 2**20 - 2), NULLS)
def test_the_interval_is_never_shorter_than_the_pairs_alone(own, nulls):
    bits = [[number >> at & 1 for at in range(20)] for number in (own, *nulls)]
    gaps = np.array(bits[0]) - np.mean(bits[1:], axis=0)
    if not gaps.any():
        return
    pairs = PLAIN.estimate(frame(bits[0], d=gaps), level=0.95)
    found = declared(3).estimate(frame(*bits), level=0.95)
    assert found.value == pytest.approx(pairs.value)
    assert found.low <= pairs.low + 1e-12
    assert found.high >= pairs.high - 1e-12


def test_a_model_that_is_itself_a_null_shows_no_excess_as_often_as_the_interval_says():
    """Models differ by more than their pairs do, as untrained ones of one tokenizer do."""
    rng, missed, alone = np.random.default_rng(0), 0, 0
    for _ in range(200):
        levels = stats.norm.cdf(rng.normal(0, 0.2, 4))
        rows = (rng.random((4, 200)) < levels[:, None]).astype(float)
        found = declared(3).estimate(frame(*rows), level=0.95)
        missed += not found.low <= 0 <= found.high
        gaps = rows[0] - rows[1:].mean(axis=0)
        alone += abs(gaps.mean()) > 2 * gaps.std() / math.sqrt(200)
    assert missed / 200 <= 0.06
    assert alone / 200 > 0.2
