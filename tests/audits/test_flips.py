"""Which answers change: counted by hand, as published, and never hidden by the accuracy."""

import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audits.errors import MeasureError
from audits.evidence import records_frame
from audits.flips import flips
from audits.intervals import clopper_pearson, tango

GOLDEN = json.loads((Path(__file__).parent / "golden/drift.json").read_text("utf-8"))["flips"]


def frame(right, chosen=None, clusters=None):
    return records_frame(
        {
            "example": f"q{i:03d}",
            "cluster": clusters[i] if clusters else f"q{i:03d}",
            "acc": float(r),
        }
        | ({"chosen": float(chosen[i])} if chosen else {})
        for i, r in enumerate(right)
    )


def figures(found):
    return {f.name: f for f in found.figures}


def test_an_example_by_hand():
    # question   0  1  2  3  4      the right answer is always number 0
    # base       0  0  1  2  1      right: 0 and 1
    # variant    0  3  0  1  1      right: 0 and 2
    # 1 was lost, 2 was gained, 3 went from one wrong answer to another, 4 stayed wrong
    base = frame([1, 1, 0, 0, 0], [0, 0, 1, 2, 1])
    variant = frame([1, 0, 1, 0, 0], [0, 3, 0, 1, 1])
    found = flips(base, variant, correct="acc")
    values = {f.name: f.value for f in found.figures}
    assert values == pytest.approx(
        {
            "right_to_wrong": 1 / 5,
            "wrong_to_right": 1 / 5,
            "flips": 2 / 5,
            "all_flips": 3 / 5,
            "accuracy_change": 0,
        }
    )
    assert [(f.example, f.change, f.base, f.variant) for f in found.examples] == [
        ("q001", "right to wrong", 0, 3),
        ("q002", "wrong to right", 1, 0),
        ("q003", "wrong to other wrong", 2, 1),
    ]
    assert found.counts["right_base"] == found.counts["right_variant"] == 2


def test_intervals_are_tango_s_and_clopper_and_pearson_s():
    base, variant = [1] * 30 + [0] * 20, [0] * 6 + [1] * 24 + [1] * 2 + [0] * 18
    found = figures(flips(frame(base), frame(variant), correct="acc"))
    change, lost = found["accuracy_change"], found["right_to_wrong"]
    assert (change.low, change.high) == pytest.approx(tango(2, 6, 50, 0.95))
    assert (lost.low, lost.high) == pytest.approx(clopper_pearson(6, 50, 0.95))


def test_questions_of_one_cluster_are_worth_fewer():
    base = [1] * 40
    variant = [0] * 8 + [1] * 32
    together = [f"c{i // 4}" for i in range(40)]
    alone = figures(flips(frame(base), frame(variant), correct="acc"))
    shared = figures(
        flips(frame(base, clusters=together), frame(variant, clusters=together), correct="acc")
    )
    for name in ("right_to_wrong", "accuracy_change"):
        assert shared[name].value == pytest.approx(alone[name].value)
        assert shared[name].clusters == 10
        assert shared[name].high - shared[name].low > alone[name].high - alone[name].low


@pytest.mark.parametrize("kind", ["bfloat16", "float8_e4m3fn"])
def test_published_flips_are_counted(kind):
    base, variant = ([int(c) for c in GOLDEN["decisions"][s]] for s in ("base", kind))
    found, want = flips(frame(base), frame(variant), correct="acc"), GOLDEN["expected"][kind]
    assert found.n == want["n"]
    assert found.counts["lost"] == want["correct_to_incorrect"]
    assert found.counts["gained"] == want["incorrect_to_correct"]
    values = {f.name: f.value for f in found.figures}
    assert values["flips"] == pytest.approx(want["flips"])
    assert values["accuracy_change"] == pytest.approx(want["accuracy_change"])


answers = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=20)


@settings(deadline=None, max_examples=30)
@given(answers)
def test_flips_hold_together(pairs):
    base, variant = (
        frame([a == 0 for a in side], list(side)) for side in zip(*pairs, strict=True)
    )
    found = flips(base, variant, correct="acc")
    counts, values = found.counts, {f.name: f.value for f in found.figures}
    assert counts["flipped"] == counts["lost"] + counts["gained"]
    assert counts["changed"] == sum(a != b for a, b in pairs)
    assert len(found.examples) == counts["changed"]
    change = counts["right_variant"] - counts["right_base"]
    assert values["accuracy_change"] == pytest.approx(change / len(pairs))
    back = flips(variant, base, correct="acc")
    assert (back.counts["lost"], back.counts["gained"]) == (counts["gained"], counts["lost"])


@settings(deadline=None, max_examples=30)
@given(answers)
def test_a_model_has_no_flips_against_itself(pairs):
    same = frame([a == 0 for a, _ in pairs], [a for a, _ in pairs])
    found = flips(same, same.copy(), correct="acc")
    assert not found.examples
    assert found.counts["changed"] == 0
    assert all(f.low < f.high for f in found.figures), "no change seen is not no change"


def test_without_answers_other_wrong_ones_are_not_known():
    found = flips(frame([1, 0]), frame([0, 0]), correct="acc")
    assert "all_flips" not in figures(found)
    assert "do not say" in found.absent["all_flips"]
    assert [(f.example, f.base) for f in found.examples] == [("q000", None)]


def test_an_invalid_record_counts_as_lost_and_as_flipped():
    base, variant = frame([1] * 100), frame([1] * 100)
    variant.loc[7, "why"] = "no number"
    variant.loc[7, "acc"] = float("nan")
    found = flips(base, variant, correct="acc")
    assert (found.n, found.invalid) == (99, 1)
    assert figures(found)["flips"].value == pytest.approx(0.01)
    assert figures(found)["accuracy_change"].value == pytest.approx(-0.01)


def test_other_questions_are_refused():
    with pytest.raises(MeasureError, match="unpaired"):
        flips(frame([1, 0]), frame([1, 0, 1]), correct="acc")


def test_a_share_is_no_yes_or_no():
    partly = pd.concat([frame([1, 0]), frame([1, 0])]).iloc[:2].assign(acc=[0.5, 1.0])
    with pytest.raises(MeasureError, match="not 0 or 1"):
        flips(partly, partly, correct="acc")
