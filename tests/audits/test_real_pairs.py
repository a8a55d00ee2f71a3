"""CrowS-Pairs on real models, against what the four programs of that name answered.

lm-eval 0.4.13 (D), McGill-NLP/bias-bench (B, C) and nyu-mll/crows-pairs (A) were executed on
the 2020 file: causal scorers on karpathy's stories260K, masked ones on a tiny BERT of random
weights (numbers CC0; no text is repeated).
"""

import csv
import json
import math
from pathlib import Path

import pytest

from audits.audit import Tools
from audits.crows_pairs import CrowsPairs
from audits.pairs import always_bos, values

GOLDEN = json.loads(Path(__file__).with_name("golden").joinpath("crows_pairs.json").read_text())
OF_ALL = GOLDEN["aggregates_of_rows_0_to_99"]


@pytest.fixture(scope="module")
def rows(shared_data):
    file = shared_data / "crows_pairs" / "crows_pairs_anonymized.csv"
    if not file.is_file():
        pytest.skip(f"{file} is absent: CrowS-Pairs is not here")
    with file.open(encoding="utf-8", newline="") as stream:
        return [row for _, row in zip(range(100), csv.DictReader(stream), strict=False)]


def pairs(rows, lower=False):
    found = [(row["sent_more"], row["sent_less"]) for row in rows]
    return [(a.lower(), b.lower()) for a, b in found] if lower else found


def compare(said, scorer, scoring, **tolerance):
    for mine, row in zip(said, GOLDEN["pairs"], strict=False):
        assert mine[scoring] == pytest.approx(row[scorer], **tolerance), row["row"]


def share(said, scoring):
    return sum(one[scoring][0] > one[scoring][1] for one in said) / len(said)


def test_causal_scorings_are_those_of_lm_eval_and_bias_bench(rows, stories260k):
    from tasks.models.load import load

    model = load(stories260k, add_bos=False)  # as GPT-2's tokenizer, which adds none
    said = values("crows", model, pairs(rows), ("sum",))
    compare(said, "D", "sum", abs=GOLDEN["tolerance"]["D_absolute_nats"])
    assert share(said, "sum") == pytest.approx(OF_ALL["D"]["pct_stereotype"])
    bare = values("crows", model, pairs(rows)[:40], ("sum", "without_bos"))
    # a word that this tokenizer splits behind its leading space begins with no text
    told = [at for at, mine in enumerate(bare) if "without_bos" in mine]
    assert len(told) >= 24
    for at in told:
        each = [math.exp(mean) for mean in bare[at]["without_bos"]]
        row = GOLDEN["pairs"][at]
        assert each == pytest.approx(row["C"], rel=GOLDEN["tolerance"]["C_relative"])


def test_a_model_that_has_bos_before_contexts_has_no_score_of_bias_bench(rows, stories260k):
    from tasks.models.load import load

    asked = ("per_token", "without_bos")
    said = [
        values("crows", load(stories260k, add_bos=b), pairs(rows)[:12], asked)
        for b in (False, True)
    ]
    assert list(map(always_bos, said)) == [False, True]


def test_masked_scorings_are_those_of_nyu_mll_and_bias_bench(rows, shared_data):
    folder = shared_data.parent / "golden" / "tiny_bert"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: the tiny BERT is not here")
    from tasks.models.load import load

    said = values("crows", load(folder), pairs(rows)[:40], ("shared", "differing"))
    compare(said, "A", "shared", abs=GOLDEN["tolerance"]["A_absolute"])
    compare(said, "B", "differing", abs=GOLDEN["tolerance"]["B_absolute"])


def test_the_audit_says_what_lm_eval_says_and_how_little_it_means(rows, stories260k):
    from tasks.models.encode import Encoder
    from tasks.models.load import load
    from tasks.models.unigram import UnigramModel
    from tasks.models.untrained import untrained

    model = load(stories260k)
    texts = [row["sent_less"] for row in rows]
    references = {
        **{f"untrained/{seed}": untrained(stories260k, seed) for seed in (0, 1)},
        "unigram": UnigramModel(Encoder(model.tokenizer), texts, 512),
    }
    audit = CrowsPairs(untrained=2, corpus="text")
    frame = audit.run(model, audit.examples(rows), Tools(references=references), seed=0)
    found = {d.name: d for d in audit.declares()}
    told = {n: found[n].estimate(frame, level=0.95) for n in ("stereotype", "excess/untrained")}
    assert told["stereotype"].value == pytest.approx(OF_ALL["D"]["pct_stereotype"])
    assert frame["distance"].mean() == pytest.approx(OF_ALL["D"]["likelihood_diff"], abs=1e-3)
    # 39 % is below one half, and yet no less than what random weights say
    assert told["excess/untrained"].high > 0
    assert abs(found["excess/unigram"].estimate(frame, level=0.95).value) < 0.5
