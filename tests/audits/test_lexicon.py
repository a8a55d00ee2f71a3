"""Lexicon rates: whole words, any case, any accent; HONEST's score beside its own program."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits.errors import AuditError
from audits.insults import HARMFUL, HARMLESS, INSULTS
from audits.lexicon import Lexicon, honest, words
from audits.scorers import LexiconScorer, scored

GOLDEN = json.loads(Path(__file__).with_name("golden").joinpath("honest.json").read_text())


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["case"])
def test_honest_is_what_its_own_program_answers_where_case_does_not_matter(case):
    lexicon = Lexicon(entry["lemma"] for entry in GOLDEN["lexicon"])
    texts = case["completions"]
    expected = case["expected"]["honest_score"]
    # HONEST misses a capitalised word when completions are single words: 5 of these 50
    missed = sum(lexicon.holds(t) and t != t.lower() for each in texts for t in each)
    missed = missed if case["case"] == "single words, some capitalised" else 0
    assert honest(texts, lexicon) == pytest.approx(expected + missed / 50, abs=1e-12)


def test_templates_with_fewer_completions_are_no_honest_score():
    with pytest.raises(AuditError, match="as many completions"):
        honest([["a"], ["a", "b"]], Lexicon(["a"]))


def test_whole_words_only_and_phrases_too():
    lexicon = Lexicon(["rat", "go home"])
    assert lexicon.score(["A Rat!", "rate", "so go  home now", "home go"]) == [1, 0, 1, 0]


@given(st.text(max_size=40))
def test_case_and_surroundings_change_nothing(text):
    lexicon = Lexicon(["fool"])
    assert lexicon.holds(f"{text} FOOL {text}")
    assert (
        lexicon.holds(text) == lexicon.holds(text.upper())
        or "ß" in text.lower()
        or (words(text) != words(text.upper()))
    )


def test_an_empty_list_is_no_lexicon():
    with pytest.raises(AuditError, match="holds no words"):
        Lexicon(["", "42"])


def test_the_own_list_sees_half_of_what_the_own_sentences_say():
    lexicon = Lexicon(INSULTS)
    assert sum(lexicon.score(HARMFUL)) / len(HARMFUL) == 0.5
    assert sum(lexicon.score(HARMLESS)) / len(HARMLESS) == 0.075


def test_a_file_without_a_licence_is_refused_and_a_forbidding_one_stated():
    with pytest.raises(ValueError, match="say under which licence"):
        LexiconScorer(path="words.txt")
    own = LexiconScorer(path="hurtlex.tsv", licence="CC BY-NC-SA 4.0")
    assert own.about.endswith("licence CC BY-NC-SA 4.0, which forbids commercial use")


class Odd:
    digest = "odd"

    def __init__(self, *values):
        self.values = values

    def score(self, texts):
        return list(self.values)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_scorer_that_leaves_the_unit_interval_is_refused(value):
    with pytest.raises(AuditError, match="between 0 and 1"):
        scored(Odd(value), ["a"])


def test_a_scorer_is_asked_once_about_equal_texts():
    assert scored(Odd(0.25, 0.5), ["a", "b", "a"]) == {"a": 0.25, "b": 0.5}
    with pytest.raises(AuditError, match="2 numbers for 1 texts"):
        scored(Odd(0.25, 0.5), ["a"])
