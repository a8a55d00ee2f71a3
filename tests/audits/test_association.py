import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits.association import Association, exaggerated
from audits.audit import Tools
from audits.errors import AuditError
from audits.evidence import records_frame
from audits.groups import metric_frame
from audits.stats import enough_for_skew, estimate
from audits.testing import FakeModel, check_audit


def rows(shares, n=40):
    return [
        {
            "id": f"o{at}", "occupation": f"o{at}", "prompt": f"{share}", "female": " she",
            "male": " he", "template": "t", "form": "seen", "corpus_female": share,
            "corpus_n": n, "planted": share,
        }
        for at, share in enumerate(shares)
    ]  # fmt: skip


def model(of_share):
    """p(she) is a function of the corpus's share, which the prompt states; .4 is neither."""

    def score(prompt, text):
        p = of_share(float(prompt))
        return math.log(0.6 * (p if text == " she" else 1 - p))

    return FakeModel(score)


def measured(of_share, shares):
    part = check_audit(Association(), model(of_share), rows(shares))
    return part, {m.name.removeprefix("association/"): m for m in part.measures()[0]}


def test_a_skewed_model_by_hand():
    # p: .9 .9 .3 .3 against .8 .5 .4 .1: off by .1 .4 .1 .2; skewed by .4 .4 .2 .2, where
    # the corpus is by .3 0 .1 .4
    said = {0.8: 0.9, 0.5: 0.9, 0.4: 0.3, 0.1: 0.3}
    _, found = measured(said.__getitem__, [0.8, 0.5, 0.4, 0.1])
    assert found["deviation"].value == pytest.approx(0.8 / 4)
    assert found["skew"].value == pytest.approx(1.2 / 4)
    assert found["amplification"].value == pytest.approx((1.2 - 0.8) / 4)
    # skew beyond the corpus's: .1 .4 .1 and none; her share off by .1 .4 -.1 .2
    assert found["exaggeration"].value == pytest.approx(0.6 / 4)
    assert found["shift"].value == pytest.approx(0.6 / 4)


def test_sentences_that_differ_are_no_lean_of_their_occupation():
    """Four sentences of .9 and four of .1 about an even occupation: its mean is even."""
    made = [
        {"cluster": "o", "why": "", "p_female": p, "corpus_female": 0.5}
        for p in [0.9, 0.1] * 4
    ]  # fmt: skip
    lost = {"cluster": "o", "why": "lost", "corpus_female": 0.5}
    found = exaggerated([*made, lost])
    assert [record["exaggeration"] for record in found[:-1]] == pytest.approx([0] * 8)
    assert "exaggeration" not in found[-1]


def test_copying_the_corpus_is_not_amplifying_it():
    shares = [0.9, 0.8, 0.7, 0.3, 0.2, 0.1]
    _, faithful = measured(lambda p: p + 0.001, shares)
    assert faithful["amplification"].value == pytest.approx(0, abs=0.0011)
    _, extreme = measured(lambda p: 0.95 if p > 0.5 else 0.05, shares)
    assert extreme["amplification"].low > 0
    _, reversed_ = measured(lambda p: 1 - p, shares)
    assert reversed_["amplification"].value == pytest.approx(0, abs=1e-9)
    assert (extreme["direction"].value, reversed_["direction"].value) == (1.0, 0.0)


def test_a_corpus_without_a_skew_has_none_to_copy():
    balanced = [0.5] * 8
    _, honest = measured(lambda p: 0.51, balanced)
    assert honest["amplification"].value == pytest.approx(0.01)
    assert "direction" not in honest
    _, leaning = measured(lambda p: 0.95, balanced)
    assert leaning["amplification"].low > 0.05


def test_occupations_that_are_all_there_are_need_not_fear_their_own_tail():
    amplification = next(d for d in Association().declares() if d.name == "amplification")
    part, _ = measured(lambda p: 0.9 if p == 0.51 else 0.51, [0.51] + [0.5] * 35)
    drawn, all_ = (
        estimate(amplification, part.records, level=0.9, whole=whole) for whole in (False, True)
    )
    assert enough_for_skew(drawn, "lower") > 36
    assert enough_for_skew(all_, "lower") == 0
    assert (all_.low, all_.high) == (drawn.low, drawn.high)


PLANTED = (0.04, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.96) * 4
NOISE = 0.6
"""Standard deviation of log-odds about the corpus's; honest models of a world have about .8."""


def passes(rng, shares, amplify, rule, bound):
    """Whether a model about the corpus's log-odds, times `amplify`, keeps a bound.

    Given two numbers, every other occupation's log-odds are multiplied by either.
    """
    times = amplify if isinstance(amplify, tuple) else (amplify,)
    learned = {s: min(max(s, 0.02), 0.98) for s in shares}
    frame = records_frame(exaggerated([
        {"example": f"{at}/{form}", "cluster": str(at), "group": "", "form": "seen", "why": "",
         "p_female": p, "corpus_female": share, "shift": p - share,
         "skew": abs(p - 0.5), "amplification": abs(p - 0.5) - abs(share - 0.5)}
        for at, share in enumerate(shares)
        for lean in [rng.normal(0, NOISE)]
        for form in range(5)
        for k in [times[at // 9 % 2 if len(times) > 1 else 0]]
        for odds in [k * math.log(learned[share] / (1 - learned[share])) + lean]
        for p in [1 / (1 + math.exp(-odds - rng.normal(0, NOISE / 2)))]
    ]))  # fmt: skip
    declared = next(d for d in Association().declares() if d.name == rule)
    return estimate(declared, frame, level=0.9, whole=True).high <= bound


def test_a_planted_skew_is_refused_and_none_is_not():
    """An absolute bound tells worlds apart, a bound on amplification models."""
    rng, runs = np.random.default_rng(0), 60
    even = [0.5] * 36

    def share(shares, amplify, rule, bound):
        return sum(passes(rng, shares, amplify, rule, bound) for _ in range(runs)) / runs

    assert share(PLANTED, 1.0, "skew", 0.2) == 0
    assert share(even, 1.0, "skew", 0.2) >= 0.8
    assert share(PLANTED, 1.0, "amplification", 0.05) >= 0.8
    assert share(PLANTED, 2.5, "amplification", 0.05) <= 0.06
    assert share(PLANTED, 1.0, "exaggeration", 0.07) >= 0.7
    assert share(PLANTED, 2.5, "exaggeration", 0.07) <= 0.06


def test_what_is_evened_out_makes_nothing_good():
    """Half of the occupations exaggerated, the others nearer to even shares than the text."""
    rng, runs = np.random.default_rng(0), 60
    half = (2.5, 0.4)

    def share(rule, bound):
        return sum(passes(rng, PLANTED, half, rule, bound) for _ in range(runs)) / runs

    assert share("exaggeration", 0.07) <= 0.06
    assert share("amplification", 0.05) > 0.3  # the mean of both hides it


def test_what_is_said_of_anybody_is_taken_off_by_hand():
    # log-odds of "she": ln(.6/.4) after the occupation, ln(.9/.1) after a person
    (row,) = rows([0.5])
    row |= {"neutral": "0.9", "prompt": "0.6"}
    audit = Association()
    frame = audit.run(model(lambda p: p), audit.examples([row]), Tools(), seed=0)
    expected = math.log(0.6 / 0.4) - math.log(0.9 / 0.1)
    assert frame["prior_corrected"].iloc[0] == pytest.approx(expected)
    # the corpus's only occupation is as likely a woman as anybody
    assert frame["prior_corrected_distance"].iloc[0] == pytest.approx(abs(expected))


def test_groups_are_those_of_fairlearn_and_of_a_plain_sum():
    shares = [0.9, 0.8, 0.55, 0.5, 0.3, 0.1, 0.2]
    part, found = measured(lambda p: 0.6, shares)
    frame = part.records
    deviation = next(d for d in part.declared if d.name == "deviation")
    table = metric_frame(deviation, frame).by_group
    for group, mean in frame.groupby("group")["deviation"].mean().items():
        assert table.loc[group, "value"] == pytest.approx(mean, abs=1e-12)
        assert found[f"deviation/{group}"].value == pytest.approx(mean, abs=1e-12)
    means = frame.groupby("group")["deviation"].mean()
    apart = metric_frame(deviation, frame).difference()["value"]
    assert apart == pytest.approx(means.max() - means.min())
    assert found["spread/deviation"].value == pytest.approx(means.max() - means.min())


def test_a_share_beyond_one_is_refused():
    with pytest.raises(AuditError, match="corpus_female must lie in"):
        Association().examples(rows([1.2]))


@pytest.mark.parametrize("words", [" he", [" she", " he"]])
def test_a_word_for_both_is_refused_for_whoever_says_it_leans_nowhere(words):
    """Every model would be at one half, and pass any bound."""
    (row,) = rows([0.9])
    with pytest.raises(AuditError, match="row 'o0': ' he' stands for female and for male"):
        Association().examples([row | {"female": words}])


def test_several_words_of_a_kind_add_up_as_in_lm_eval():
    said = {" female": -4.0, " woman": -2.5, " male": -3.0, " man": -2.0}
    (row,) = rows([0.5])
    row |= {"female": [" female", " woman"], "male": [" male", " man"]}
    audit = Association()
    frame = audit.run(FakeModel(lambda _, t: said[t]), audit.examples([row]), Tools(), seed=0)
    utils = pytest.importorskip("lm_eval.tasks.simple_cooccurrence_bias.utils")
    theirs = utils.process_results({}, [(score, False) for score in said.values()])
    assert frame["log_odds"].iloc[0] == pytest.approx(theirs["likelihood_diff"], abs=1e-12)
    rare = FakeModel(lambda _, t: said[t] - 900)  # where theirs takes the logarithm of 0
    far = audit.run(rare, audit.examples([row]), Tools(), seed=0)
    assert far["log_odds"].iloc[0] == pytest.approx(theirs["likelihood_diff"], abs=1e-9)


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_swapping_the_words_mirrors_the_answer(p, corpus):
    audit = Association()
    (example,) = audit.examples([rows([corpus])[0] | {"id": "first"}])
    (mirror,) = audit.examples([rows([1 - corpus])[0] | {"prompt": "mirror"}])

    def score(prompt, text):
        she = 1 - p if prompt == "mirror" else p
        return math.log(she if text == " she" else 1 - she)

    frame = audit.run(FakeModel(score), [example, mirror], Tools(), seed=0)
    assert frame["shift"].iloc[0] == pytest.approx(-frame["shift"].iloc[1], abs=1e-9)
    for column in (
        "skew", "deviation", "amplification", "exaggeration", "log_odds_distance"
    ):  # fmt: skip
        assert frame[column].iloc[0] == pytest.approx(frame[column].iloc[1], abs=1e-9)
