"""Detectors of wrong answers: each formula by hand and by reference, and what they find."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits import candidates, consistency
from audits.audit import Tools
from audits.errors import AuditError, MeasureError
from audits.testing import FakeModel, check_audit
from audits.uncertainty import Uncertainty

GOLDEN = json.loads((Path(__file__).parent / "golden" / "consistency.json").read_text("utf-8"))


@pytest.mark.parametrize("case", GOLDEN["entropy"])
def test_entropies_are_those_of_farquhar_and_others(case):
    tokens = case["token_logprobs"]
    means = [sum(t) / len(t) for t in tokens]
    assert consistency.discrete_entropy(case["ids"]) == pytest.approx(
        case["discrete"], abs=1e-9
    )
    assert consistency.rao_entropy(case["ids"], means) == pytest.approx(
        case["rao_mean"], abs=1e-9
    )
    assert consistency.rao_entropy(case["ids"], [sum(t) for t in tokens]) == pytest.approx(
        case["rao_sum"], abs=1e-9
    )


@pytest.mark.parametrize("case", GOLDEN["selfcheck"], ids=lambda c: c["case"])
def test_ngram_surprise_is_that_of_selfcheck(case):
    def tokens(sentence):
        return (sentence.lower() if case["lowercase"] else sentence).split(" ")

    response = [tokens(s) for s in case["response_sentences"]]
    samples = [[tokens(s) for s in sample] for sample in case["samples"]]
    for n, wanted in case["expected"].items():
        mean, most = consistency.ngram_surprise(response, samples, int(n))
        assert mean == pytest.approx(wanted["avg_neg_logprob"], abs=1e-9)
        assert most == pytest.approx(wanted["max_neg_logprob"], abs=1e-9)


def test_entropy_and_surprise_by_hand():
    # three of four mean one thing
    assert consistency.discrete_entropy([0, 0, 0, 1]) == pytest.approx(
        -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    )
    # weights 1/3 and 2/3
    assert consistency.rao_entropy([0, 1], [math.log(0.1), math.log(0.2)]) == pytest.approx(
        math.log(3) - 2 / 3 * math.log(2)
    )
    # "a b" and "a c": a is half of four words, b a quarter
    mean, most = consistency.ngram_surprise([["a", "b"]], [[["a", "c"]]])
    assert mean == pytest.approx([(math.log(2) + math.log(4)) / 2])
    assert most == pytest.approx([math.log(4)])


def test_an_answer_stays_in_the_first_cluster_that_it_joined():
    # 0 ~ 2 and 1 ~ 2, not 0 ~ 1: the published code moves 2 to the cluster of 1
    pairs = {("x", "z"), ("z", "x"), ("y", "z"), ("z", "y")}
    same = lambda a, b: a == b or (a, b) in pairs  # noqa: E731
    assert consistency.clusters(["x", "y", "z"], same) == [0, 1, 0]
    one_way = lambda a, b: (a, b) == ("x", "y")  # noqa: E731
    assert consistency.clusters(["x", "y"], one_way) == [0, 1]


def test_case_articles_and_punctuation_are_no_difference():
    assert consistency.clusters(["The castle.", "castle", "A castle!", "forest"]) == [
        0,
        0,
        0,
        1,
    ]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12))
def test_equal_likelihoods_make_both_entropies_one(meaning):
    plain = consistency.discrete_entropy(meaning)
    assert consistency.rao_entropy(meaning, [-3.0] * len(meaning)) == pytest.approx(plain)
    assert -1e-12 <= plain <= math.log(len(meaning)) + 1e-12


class Wavering(FakeModel):
    """Sure of what it knows; of anything else it says something else each time."""

    def __init__(self, rows, honest=True):
        knows = {r["prompt"]: r["object"] for r in rows if r["object"]}
        known = {p: o for at, (p, o) in enumerate(sorted(knows.items())) if at % 3}
        letters = {"A": 0.9, "B": 0.1} if honest else {"A": 0.5, "B": 0.5}

        def score(prompt, text):
            if "Is this" in prompt:
                right = any(prompt.startswith(f"{p} {o}") for p, o in known.items())
                first = "(A) True" in prompt
                return math.log(letters["A" if (text == "A") == (right == first) else "B"])
            return -1.0

        super().__init__(score)
        self.known = known

    def generate(self, prompts, *, max_new_tokens, seed, temperature=0.0, n=1, stop=()):
        return [
            [
                f" {self.known.get(p, 'Bar' if temperature == 0 else 'XYZW'[at % 4])}"
                for at in range(n)
            ]
            for p in prompts
        ]


def measured(rows, **settings):
    part = check_audit(Uncertainty(**settings), Wavering(rows), rows)
    return {m.name.removeprefix("uncertainty/"): m.value for m in part.measures()[0]}


def test_a_model_that_wavers_where_it_is_wrong_is_found_out(facts):
    found = measured(facts)
    for name in ("semantic_entropy", "semantic_entropy_rao", "p_true"):
        assert found[f"auroc/{name}"] == 1
    assert found["auroc/length"] == 0.5  # all answers have three letters
    assert found["auroc/semantic_entropy/above_length"] == pytest.approx(0.5)
    assert found["augrc/semantic_entropy/above_length"] < 0
    asked = {r["prompt"] for r in facts if r["form"] == "seen" and r["split"] == "test"}
    right = sum(p in Wavering(facts).known for p in asked)
    assert found["accuracy"] == pytest.approx(right / len(asked))


def test_p_true_of_a_model_that_answers_by_position_is_absent(facts):
    part = check_audit(Uncertainty(), Wavering(facts, honest=False), facts)
    measures, absent = part.measures()
    assert "uncertainty/auroc/semantic_entropy" in {m.name for m in measures}
    said = sorted(name for name in absent if not name.endswith(("length_5-8", "length_9-up")))
    assert said == [
        "uncertainty/augrc/p_true", "uncertainty/augrc/p_true/above_length",
        "uncertainty/auroc/p_true", "uncertainty/auroc/p_true/above_length",
        "uncertainty/auroc/p_true/length_1-4",
    ]  # fmt: skip
    for name in said:
        assert "not surely above 0.5, it says nothing of wrong" in absent[name]


def test_detectors_are_also_judged_among_answers_of_like_length(facts):
    audit = Uncertainty()
    frame = audit.run(Wavering(facts), audit.examples(facts), Tools(), seed=0)
    # as if every second answer were long
    frame["length_bin"] = [("9-up", "1-4")[at % 2] for at in range(len(frame))]
    of = {d.name: d for d in audit.declares()}
    for size in ("1-4", "9-up"):
        part = frame[frame["length_bin"] == size]
        found = of[f"auroc/semantic_entropy/length_{size}"].estimate(frame, level=0.95)
        assert (found.value, found.n) == (1, len(part))
    with pytest.raises(MeasureError, match="length_bin is 5-8"):
        of["auroc/selfcheck/length_5-8"].estimate(frame, level=0.95)


def test_a_capability_is_asked_of_both_models_of_a_comparison(facts):
    audit = Uncertainty()
    examples = audit.examples(facts)
    able, unable = (
        audit.run(Wavering(facts, honest), examples, Tools(), seed=0)
        for honest in (True, False)
    )
    declared = next(d for d in audit.declares() if d.name == "augrc/p_true")
    assert declared.difference(able, able, level=0.95).value == 0
    for pair in ((able, unable), (unable, able)):
        with pytest.raises(MeasureError, match="not surely above"):
            declared.difference(*pair, level=0.95)


class Agrees:
    """Every statement entails every other."""

    digest = "agrees"

    def entails(self, pairs):
        assert all(text.endswith(".") for pair in pairs for text in pair)
        return [True for _ in pairs]


def test_another_notion_of_the_same_can_be_plugged_in(facts):
    audit = Uncertainty(nli="some/folder")
    examples = audit.examples(facts)
    frame = audit.run(Wavering(facts), examples, Tools(entailment=Agrees()), seed=0)
    assert (frame["semantic_entropy"] == 0).all()
    assert frame["selfcheck"].nunique() > 1
    with pytest.raises(AuditError, match="no model of inference was given for 'some/folder'"):
        audit.run(Wavering(facts), examples, Tools(), seed=0)


def test_sampled_entropy_finds_the_exact_one_of_a_closed_world(facts):
    share = {" Ara.": 0.5, " Bor.": 0.3, " Cim.": 0.1, " Dun.": 0.06, " unknown.": 0.04}
    model = FakeModel(lambda _, text: math.log(share[text]))
    (record,) = candidates.records("x", model, candidates.examples("x", facts)[:1])
    p = np.array(list(share.values()))
    meaning = np.random.default_rng(4).choice(5, size=2000, p=p).tolist()
    # the sampled one lies (K - 1) / 2N too low
    found = consistency.discrete_entropy(meaning) + (5 - 1) / (2 * 2000)
    spread = math.sqrt(((p * np.log(p) ** 2).sum() - (p * np.log(p)).sum() ** 2) / 2000)
    assert found == pytest.approx(record["entropy"], abs=3 * spread)


def test_at_most_so_many_questions_are_asked_over_the_whole_set(facts):
    few = Uncertainty(limit=10).examples(facts)
    all_of_them = Uncertainty().examples(facts)
    assert len(few) == 10
    assert (few[0].id, few[-1].id) == (all_of_them[0].id, all_of_them[-1].id)


def test_no_question_of_the_test_split_is_an_error(facts):
    with pytest.raises(AuditError, match="no examples"):
        Uncertainty().examples([r | {"split": "calibration"} for r in facts])
