"""CrowS-Pairs on a real model, against what lm-eval 0.4.13 answered on the same rows."""

import csv

import pytest

from audits.audit import Tools
from audits.crows_pairs import CrowsPairs

# lm_eval 0.4.13, tasks/crows_pairs/utils.py::process_results on rows 0-99 of the 2020 file
# with karpathy's stories260K in float32, BOS first (numbers CC0; no text is repeated).
SHARE, DISTANCE = 0.39, 11.388735466003418
FIRST = (-223.34280395507812, -223.7610321044922)
GENDER = 0.4


def test_the_first_hundred_pairs_score_as_in_lm_eval(shared_data, stories260k):
    from tasks.models.load import load

    file = shared_data / "crows_pairs" / "crows_pairs_anonymized.csv"
    if not file.is_file():
        pytest.skip(f"{file} is absent: CrowS-Pairs is not here")
    with file.open(encoding="utf-8", newline="") as stream:
        rows = [row for _, row in zip(range(100), csv.DictReader(stream), strict=False)]
    audit = CrowsPairs()
    frame = audit.run(load(stories260k), audit.examples(rows), Tools(), seed=0)
    found = {d.name: d.estimate(frame, level=0.95).value for d in audit.declares()[:3]}
    assert found["stereotype"] == pytest.approx(SHARE)
    assert frame["distance"].mean() == pytest.approx(DISTANCE, abs=1e-3)
    assert frame.loc[0, ["logprob_more", "logprob_less"]].tolist() == pytest.approx(
        FIRST, abs=1e-3
    )
    gender = frame[frame["group"] == "gender"]
    assert gender["stereotype"].mean() == pytest.approx(GENDER)
