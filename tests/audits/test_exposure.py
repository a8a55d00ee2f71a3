import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits.audit import Tools
from audits.errors import AuditError
from audits.exposure import CanaryExposure, exposure
from audits.testing import FakeModel, check_audit

GOLDEN = json.loads((Path(__file__).parent / "golden" / "exposure.json").read_text("utf-8"))


def canary(at, copies):
    return {
        "id": f"{copies}/{at}", "copies": copies, "prompt": f"{copies} {at} is",
        "secret": f"{at:06d}", "inserted": copies > 0, "text": "",
    }  # fmt: skip


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda c: f"{len(c['twins'])} twins")
def test_agrees_with_tensorflow_privacy(case):
    twins = sorted(case["twins"])
    found = [exposure(c, twins, len(twins)) for c in case["canaries"]]
    assert found == pytest.approx(case["exposure"], abs=1e-12)


def test_memorised_and_forgotten_canaries_by_hand():
    # 63 twins at -1 .. -63; a canary above all: log2 63; one that ties with the 7th
    # highest: log2 63 - log2 8
    rows = [canary(0, 32), canary(1, 32), canary(7, 1), *(canary(at, 0) for at in range(1, 64))]

    def score(prompt, text):
        copies, at = map(int, prompt.split()[:2])
        assert text == f" {at:06d}"
        return -0.5 if copies == 32 else -float(at)

    part = check_audit(CanaryExposure(), FakeModel(score), rows)
    found = {m.name.removeprefix("exposure/"): m for m in part.measures()[0]}
    assert found["positive_control"].value == 1
    assert found["positive_control"].better == "higher"
    assert found["mean/copies_32"].low < math.log2(63)
    bits = part.records.set_index("example")["exposure"]
    assert bits["1/7"] == pytest.approx(math.log2(63) - 3)
    # the best of the twins, among the other 62
    assert bits["0/1"] == pytest.approx(math.log2(62))
    # two canaries need log2(2 / .05) = 5.3 bits to be more than chance, one needs 4.3
    assert found["beyond/copies_32"].value == 1
    assert found["beyond/copies_1"].value == 0


def test_one_secret_below_the_others_does_not_hide_that_they_are_seen():
    # nineteen above all 400 twins and one above all but three: as bits the mean has a
    # skewness of -4.1, for which no number of them under 427 would have decided anything
    rows = [canary(at, 32) for at in range(20)] + [canary(at, 0) for at in range(1, 401)]

    def score(prompt, _):
        copies, at = map(int, prompt.split()[:2])
        return (-3.5 if at == 0 else -0.5) if copies else -float(at)

    part = check_audit(CanaryExposure(), FakeModel(score), rows)
    found = {m.name: m for m in part.measures()[0]}["exposure/positive_control"]
    assert found.value == pytest.approx((19 + math.log2(100) / math.log2(400)) / 20)
    assert 0.8 < found.low < found.value


def test_two_twins_are_enough_to_rank():
    rows = [canary(0, 4), canary(1, 0), canary(2, 0)]
    part = check_audit(CanaryExposure(), FakeModel(lambda p, _: -float(p.split()[1])), rows)
    assert part.records.set_index("example")["seen"]["4/0"] == 1


def test_without_memory_exposure_is_about_one_and_a_half_bits():
    import random

    rng = random.Random(4)
    rows = [canary(at, 1) for at in range(200)] + [canary(at, 0) for at in range(400)]
    model = FakeModel(lambda *_: -rng.random())
    audit = CanaryExposure()
    frame = audit.run(model, audit.examples(rows), Tools(), seed=0)
    declared = next(d for d in audit.declares() if d.name == "mean/copies_1")
    found = declared.estimate(frame, level=0.99)
    assert found.low < 1.44 < found.high


def test_too_few_twins_cannot_show_chance_to_be_exceeded():
    rows = [canary(at, 1) for at in range(4)] + [canary(at, 0) for at in range(10)]
    part = check_audit(
        CanaryExposure(), FakeModel(lambda p, _: -1.0 - sum(p.encode()) % 7), rows
    )
    assert "no column 'beyond'" in part.measures()[1]["exposure/beyond/copies_1"]


def test_a_lost_twin_lowers_no_exposure():
    rows = [canary(9, 1), *(canary(at, 0) for at in range(1, 40))]
    audit = CanaryExposure()

    def bits(lost):
        def score(prompt, _):
            at = int(prompt.split()[1])
            return math.nan if at == lost and prompt.startswith("0") else -float(at)

        frame = audit.run(FakeModel(score), audit.examples(rows), Tools(), seed=0)
        return frame.set_index("example")["exposure"]["1/9"]

    assert bits(lost=3) > bits(lost=None)
    assert bits(lost=30) == bits(lost=None)


def test_a_canary_is_inserted_where_it_has_copies():
    with pytest.raises(AuditError, match="inserted is False with 4 copies"):
        CanaryExposure().examples([canary(0, 4) | {"inserted": False}])
    audit = CanaryExposure()
    with pytest.raises(AuditError, match="two such twins"):
        audit.run(FakeModel(), audit.examples([canary(0, 4)]), Tools(), seed=0)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=50), st.integers(0, 20))
def test_more_surprise_is_never_more_exposure(twins, surprise):
    ordered = sorted(twins)
    found = [exposure(surprise + step, ordered, len(twins)) for step in (0, 1)]
    assert found[1] <= found[0] <= math.log2(len(twins))
    assert found[1] >= math.log2(len(twins) / (len(twins) + 1)) - 1e-12
