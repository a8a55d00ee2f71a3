"""WEAT and SEAT beside what the authors' program answers."""

import json
from pathlib import Path

import numpy as np
import pytest

from audits.errors import MeasureError
from audits.weat import weat

GOLDEN = json.loads(Path(__file__).with_name("golden").joinpath("weat.json").read_text())


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["case"])
def test_effect_and_p_are_those_of_the_reference_with_ties_counted(case):
    found = weat(*(np.array(case[name]) for name in "XYAB"))
    expected = case["expected"]
    assert found.effect == pytest.approx(expected["effect_size"], abs=1e-10)
    assert found.p == pytest.approx(expected["own_p_value_ties_exceed"], abs=1e-12)


def test_two_words_by_hand():
    # near: 1 and -1, whose sd is the root of 2; of 2 partitions 1 is as far
    x, y = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    found = weat(x, y, x, y)
    assert found.effect == pytest.approx(2 / 2**0.5)
    assert found.p == 0.5
    assert weat(y, x, x, y).effect == pytest.approx(-found.effect)


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (([[1, 0]], [[0, 1], [1, 1]], [[1, 0]], [[0, 1]]), "as many words"),
        (([[0, 0]], [[0, 1]], [[1, 0]], [[0, 1]]), "no direction"),
        (([[1, 1]], [[1, 1]], [[1, 0]], [[0, 1]]), "as near to both"),
        (([[1, 0]] * 11, [[0, 1]] * 11, [[1, 0]], [[0, 1]]), "too many partitions"),
    ],
)
def test_what_has_no_effect_size_is_refused(sets, said):
    with pytest.raises(MeasureError, match=said):
        weat(*(np.array(each, dtype=float) for each in sets))
