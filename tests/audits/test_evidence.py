"""A measure that exists is finite, and a part cannot grow or shrink unseen."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits.errors import MeasureError
from audits.estimand import Declared, Ratio
from audits.evidence import Evidence, Measure, Part, records_frame

RIGHT = Declared(name="right", better="higher", about="share right", of=Ratio(value="right"))


def measure(**changed):
    fields = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 10, "clusters": 10} | changed
    return Measure(
        name="m", better="higher", unit="share", method="wilson", basis="b", **fields
    )


def part(rights, expected=None, name="quiz"):
    rows = [{"example": f"e{i}", "cluster": f"e{i}", "right": r} for i, r in enumerate(rights)]
    ids = expected or tuple(f"e{i}" for i in range(len(rights)))
    return Part(name, "quiz", (RIGHT,), tuple(ids), records_frame(rows), basis="b")


@given(
    st.sampled_from([math.nan, math.inf, -math.inf]), st.sampled_from(["value", "low", "high"])
)
def test_a_measure_is_finite(bad, field):
    with pytest.raises(MeasureError):
        measure(**{field: bad})


@pytest.mark.parametrize(
    "changed", [{"low": 0.55}, {"high": 0.45}, {"n": 0}, {"clusters": 0}], ids=str
)
def test_a_measure_lies_in_its_interval_and_rests_on_something(changed):
    with pytest.raises(MeasureError):
        measure(**changed)


def test_measures_follow_from_the_records():
    # 3 of 4 right; Clopper-Pearson at 95 %: beta.ppf(.025, 3, 2), beta.ppf(.975, 4, 1)
    (found,), absent = part([1.0, 1.0, 1.0, 0.0]).measures()
    assert (found.name, found.value, found.n, dict(absent)) == ("quiz/right", 0.75, 4, {})
    assert (found.low, found.high) == pytest.approx((0.19412, 0.99369), abs=1e-5)


def test_a_lost_record_is_an_invalid_one_and_not_one_example_fewer():
    whole = part([1.0] * 100)
    short = part([1.0] * 99, expected=whole.expected)
    frame = short.completed()
    assert frame["why"].tolist().count("missing") == 1
    assert short.measures()[0][0].value == pytest.approx(0.99)


def test_a_record_nobody_asked_for_is_refused():
    with pytest.raises(MeasureError, match="unexpected example 'e1'"):
        part([1.0, 1.0], expected=("e0",)).completed()


def test_a_doubled_record_is_refused():
    doubled = part([1.0, 1.0])
    doubled.records.loc[1, "example"] = "e0"
    with pytest.raises(MeasureError, match="'e0' is recorded twice"):
        Part("quiz", "quiz", (RIGHT,), ("e0",), doubled.records, basis="b").completed()


def test_two_parts_under_one_name_are_refused():
    with pytest.raises(MeasureError, match="quiz was measured twice"):
        Evidence.gather("model", [part([1.0]), part([0.0])])


def test_a_measure_is_found_by_its_full_name_only():
    evidence = Evidence.gather("model", [part([1.0, 0.0])])
    assert evidence.find("quiz/right") is not None
    assert evidence.find("quiz/wrong") is None
    assert evidence.find("other/right") is None
