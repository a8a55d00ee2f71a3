import gc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits import columns
from audits.columns import coded, compact, storage
from audits.completing import asked, completed
from audits.errors import MeasureError
from audits.estimand import Declared, Ratio
from audits.evidence import Part, records_frame
from audits.sample import counts
from audits.stats import difference, estimate

NAMES = st.lists(st.text(alphabet="abzé0\U0001f600", max_size=3), max_size=30)
RATE = Declared(name="m", better="lower", about="", of=Ratio(value="x"))


def table(names, **others):
    return records_frame({"example": e, "cluster": "", **others} for e in names)


@given(NAMES)
def test_codes_are_places_in_the_sorted_names(names):
    for column in (pd.Series(names, dtype="str"), pd.Series(names, dtype="object")):
        found = coded(column)
        expected, at = np.unique(np.array(names, dtype=object), return_inverse=True)
        assert list(found.names) == sorted(expected)
        assert found.codes.tolist() == at.tolist()
        order = range(len(names)) if found.order is None else found.order
        assert [names[at] for at in order] == sorted(names)


def test_a_row_without_a_name_has_no_code():
    assert coded(pd.Series(["b", None, "a"], dtype="str")).codes.tolist() == [1, -1, 0]


def test_equal_columns_share_one_answer_and_others_do_not():
    one, two = (pd.Series(["b", "a", "b"], dtype="str") for _ in range(2))
    assert coded(one) is coded(two)
    assert coded(one) is not coded(pd.Series(["b", "a", "c"], dtype="str"))


def test_a_changed_column_is_numbered_again():
    frame = pd.DataFrame({"example": pd.Series(["b", "a"], dtype="str")})
    assert coded(frame["example"]).codes.tolist() == [1, 0]
    frame.loc[0, "example"] = "0"
    assert coded(frame["example"]).codes.tolist() == [0, 1]


def test_a_changed_frame_gives_changed_numbers():
    frame = table("abcd", x=1.0)
    assert estimate(RATE, frame, level=0.9).value == 1
    frame.loc[0, "x"] = 0.0
    assert estimate(RATE, frame, level=0.9).value == 0.75
    frame["cluster"] = ["k", "k", "l", "l"]
    assert estimate(RATE, frame, level=0.9).clusters == 2
    frame.loc[1, "cluster"] = "m"
    assert estimate(RATE, frame, level=0.9).clusters == 3
    frame.loc[3, "why"] = "timeout"
    with pytest.raises(MeasureError, match="1 of 4 records are invalid"):
        estimate(RATE, frame, level=0.9)


def test_what_is_remembered_goes_with_its_column():
    gc.collect()
    columns._SEEN[:] = []
    column = pd.Series([f"name{at}" for at in range(50)], dtype="str")
    held = storage(column)
    assert held is not None
    coded(column)
    assert any(reference() is held for reference, _ in columns._SEEN)
    del held, column
    gc.collect()
    assert not any(reference() for reference, _ in columns._SEEN)


def test_codes_without_gaps():
    assert compact(np.array([7, 2, 7, 5]))[0].tolist() == [2, 0, 2, 1]
    assert compact(np.array([7, 2, 7, 5]))[1] == 3


@given(st.permutations("abcdef"), st.integers(0, 6), st.booleans())
def test_missing_records_are_completed_in_the_order_expected(names, kept, several):
    given_ = [{"example": e, "x": 1.0} | ({"sample": 0} if several else {}) for e in names]
    frame = completed("p", records_frame(given_[:kept]) if kept else table([]), "abcdef")
    assert frame["example"].tolist() == [*names[:kept], *sorted(names[kept:])]
    assert (frame["why"] != "").sum() == 6 - kept
    part = Part("p", "audit", (), tuple("abcdef"), frame.iloc[:kept], "basis")
    pd.testing.assert_frame_equal(part.completed(), frame, check_dtype=False)


def test_unexpected_and_doubled_records_are_refused():
    with pytest.raises(MeasureError, match="p: record of unexpected example 'c'"):
        completed("p", table("adc"), "ab")
    with pytest.raises(MeasureError, match="p: example 'b' is recorded twice"):
        completed("p", table("abb"), "ab")
    twice = records_frame({"example": "a", "sample": at} for at in (0, 1, 1))
    with pytest.raises(MeasureError, match="p: example 'a' is recorded twice"):
        completed("p", twice, "a")
    assert len(completed("p", twice.iloc[:2], "a")) == 2


def test_equal_questions_in_any_order():
    assert asked("abc").numbers_as(asked("cab"))
    assert not asked("abc").numbers_as(asked("abd"))


def test_counts_are_of_valid_examples_and_their_clusters():
    frame = records_frame(
        {"example": e, "cluster": c, "why": w, "kind": k, "hard": h}
        for e, c, w, k, h in [
            ("a", "k", "", "u", True), ("a", "k", "", "u", True), ("b", "", "", "v", True),
            ("c", "k", "", "u", False), ("d", "l", "late", "u", True),
        ]
    )  # fmt: skip
    assert counts(RATE, frame) == (3, 2)
    assert counts(RATE.model_copy(update={"where": {"kind": "u"}}), frame) == (2, 1)
    both = RATE.model_copy(update={"where": {"kind": "u", "hard": "True"}})
    assert counts(both, frame) == (1, 1)
    with pytest.raises(MeasureError, match="no column 'other'"):
        counts(RATE.model_copy(update={"where": {"other": "u"}}), frame)


def test_an_example_in_two_clusters_is_refused():
    rows = [{"example": f"e{at}", "cluster": f"k{at // 2}", "x": 1.0} for at in range(8)]
    new = records_frame(rows)
    old = new.assign(cluster=new["cluster"].replace("k3", "k0"))
    with pytest.raises(MeasureError, match="example 'e6' is in another cluster there"):
        difference(RATE, new, old, level=0.9)


def test_frames_in_another_order_pair_by_name():
    rng = np.random.default_rng(0)
    rows = [
        {"example": f"e{at}", "cluster": f"k{at // 3}", "x": float(rng.random() < 0.5)}
        for at in range(60)
    ]
    others = [row | {"x": float(rng.random() < 0.4)} for row in rows]
    straight = difference(RATE, records_frame(rows), records_frame(others), level=0.9)
    mixed = rng.permutation(60)
    assert straight == difference(
        RATE, records_frame(rows[at] for at in mixed), records_frame(others), level=0.9
    )
    # a stratum the other side has no names from is numbered apart
    marked = records_frame(
        [*(r | {"s": "u"} for r in rows), {"example": "z", "s": "v", "x": 0.0}]
    )
    asked_for = RATE.model_copy(update={"where": {"s": "u"}})
    other = records_frame(r | {"s": "u"} for r in others)
    assert straight == difference(asked_for, marked, other, level=0.9)
