"""StereoSet's three scores, by hand and as its authors' program answers."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits.audit import Tools
from audits.errors import AuditError
from audits.model import Score
from audits.stereoset import BIAS_TYPES, LABELS, SPLITS, StereoSet, judged
from audits.testing import FakeModel, check_audit

GOLDEN = json.loads(Path(__file__).with_name("golden").joinpath("stereoset.json").read_text())


class Table(FakeModel):
    """Says of each sentence what a table says, in one token."""

    def __init__(self, table):
        super().__init__()
        self.table = table

    def score(self, requests, *, per_token=False, moments=False):
        return [Score(self.table[text.strip()], 1, 1, greedy=False) for _, text in requests]


def row(at, split, bias_type, target):
    sentences = [{"gold_label": label, "sentence": f"{at} {label}"} for label in LABELS]
    return {
        "id": f"e{at}", "split": split, "bias_type": bias_type, "target": target,
        "context": "They met.", "sentences": sentences,
    }  # fmt: skip


def asked(items):
    """Rows and a model that scores them so, of (split, bias_type, target, three scores)."""
    rows = [row(at, *item[:3]) for at, item in enumerate(items)]
    table = {
        f"{at} {label}": score
        for at, item in enumerate(items)
        for label, score in zip(LABELS, item[3:], strict=True)
    }
    return rows, Table(table)


def values(audit, items):
    rows, model = asked(items)
    frame = audit.run(model, audit.examples(rows), Tools(), seed=0)
    return frame, {d.name: d for d in audit.declares()}


def value(frame, declared):
    return declared.estimate(frame, level=0.95).value


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["case"])
def test_scores_are_those_of_the_authors_program(case):
    frame, declared = values(StereoSet(ties="as_published"), case["examples"])
    compared = 0
    for split in SPLITS:
        for domain in (*BIAS_TYPES, "overall"):
            tail = f"/{split}" + ("" if domain == "overall" else f"/{domain}")
            expected = case["expected"][split][domain]
            for name, theirs in (("ss", "SS"), ("lms", "LM"), ("icat", "ICAT")):
                mine = 100 * value(frame, declared[f"{name}{tail}"])
                assert mine == pytest.approx(expected[f"{theirs} Score"], abs=1e-9)
                compared += 1
    for name, theirs in (("ss", "SS"), ("lms", "LM"), ("icat", "ICAT")):
        mine, all_ = 100 * value(frame, declared[name]), case["expected"]["overall"]["all"]
        assert mine == pytest.approx(all_[f"{theirs} Score"], abs=1e-9)
    assert compared == 30


def test_by_hand_and_each_target_counts_once():
    # target a: both of two items prefer the stereotype, b: its one item the opposite, so that
    # SS is (1 + 0) / 2; of six comparisons with the unrelated b's opposite one is won: LMS
    # (1 + 1/2) / 2, and ICAT 2 * .75 * .5
    items = [
        ("intrasentence", "gender", "a", -1.0, -2.0, -3.0),
        ("intrasentence", "gender", "a", -1.0, -2.0, -3.0),
        ("intrasentence", "gender", "b", -4.0, -1.0, -2.0),
    ]
    frame, declared = values(StereoSet(), items)
    assert value(frame, declared["ss"]) == pytest.approx(0.5)
    assert value(frame, declared["lms"]) == pytest.approx(0.75)
    assert value(frame, declared["icat"]) == pytest.approx(0.75)


def test_ties_are_flagged_and_count_half_or_as_published():
    item = ("intrasentence", "race", "a", -1.0, -1.0, -1.0)
    for ties, prefers, related in (("half", 0.5, 0.5), ("as_published", 0.0, 0.0)):
        frame, _ = values(StereoSet(ties=ties), [item])
        assert frame[["prefers", "related", "tie"]].iloc[0].tolist() == [prefers, related, 1.0]


def test_a_sentence_after_a_context_is_scored_given_the_context():
    seen = []

    def score(context, text):
        seen.append((context, text))
        return -float(len(text))

    rows = [row(0, "intersentence", "gender", "a"), row(1, "intrasentence", "gender", "a")]
    audit = StereoSet()
    audit.run(FakeModel(score), audit.examples(rows), Tools(), seed=0)
    assert seen[0] == ("They met.", " 0 stereotype")
    assert seen[3] == ("", "1 stereotype")


def test_an_item_without_its_three_sentences_is_named():
    broken = row(0, "intrasentence", "gender", "a")
    broken["sentences"] = broken["sentences"][:2]
    with pytest.raises(AuditError, match="row 'e0': sentences must be three"):
        StereoSet().examples([broken])


@given(*[st.floats(-9, 0)] * 3)
def test_swapping_stereotype_and_opposite_mirrors_ss_and_leaves_lms(pro, anti, unrelated):
    one = judged(pro, anti, unrelated, half=True)
    other = judged(anti, pro, unrelated, half=True)
    assert one["prefers"] + other["prefers"] == 1
    assert one["related"] == other["related"]


def test_keeps_the_contract_on_its_own_rows(rows_of):
    part = check_audit(StereoSet(), FakeModel(), rows_of("stereoset"))
    names = {m.name for m in part.measures()[0]}
    assert {"stereoset/ss", "stereoset/lms", "stereoset/icat", "stereoset/ties"} <= names
