import math

import pytest

from audits.calibration import Calibration
from audits.testing import FakeModel, check_audit


def test_gap_and_brier_by_hand(facts):
    """Always .6 on Ara, .1 on the other four: right for a quarter of the known."""
    model = FakeModel(lambda _, text: math.log(0.6 if text == " Ara." else 0.1))
    part = check_audit(Calibration(), model, facts)
    found = {m.name: m for m in part.measures()[0]}
    rows = part.records[(part.records["scope"] == "test") & (part.records["stratum"] == "K")]
    assert set(rows["best"]) == {"Ara"}
    accuracy = rows["correct"].mean()
    assert accuracy == pytest.approx(0.25)
    assert found["calibration/gap/over/K"].value == pytest.approx(0.6 - accuracy)
    assert found["calibration/gap/under/K"].value == pytest.approx(accuracy - 0.6)
    assert found["calibration/brier/K"].value == pytest.approx(
        accuracy * 0.16 + (1 - accuracy) * 0.36
    )
    # on unknown facts nothing is right: .3 of the weight adds its whole confidence
    assert found["calibration/gap/over/pi_30"].value == pytest.approx(
        0.7 * (0.6 - accuracy) + 0.3 * 0.6
    )
    assert found["calibration/ece_excess/all"].low > 0.2


def test_a_model_that_says_unknown_is_not_overconfident_about_the_unknown(facts):
    model = FakeModel(lambda _, text: math.log(0.9 if text == " unknown." else 0.02))
    found = {m.name: m for m in check_audit(Calibration(), model, facts).measures()[0]}
    assert found["calibration/gap/over/all"].value < 0.03
