"""The scorings that share CrowS-Pairs' name, by hand and as their own programs answer."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits.model import Score
from audits.pairs import NO_IDS, SCORINGS, preferred, shared, values
from audits.testing import FakeModel

ALL = tuple(SCORINGS)


class Tokens(FakeModel):
    """Words are tokens, each of which has a log-probability of its own."""

    def __init__(self, of_word):
        super().__init__()
        self.of_word = of_word

    def score(self, requests, *, per_token=False, moments=False):
        return [self._said(text, per_token) for _, text in requests]

    def _said(self, text, per_token):
        words = text.split()
        each = tuple(float(self.of_word.get(word, -9)) for word in words)
        ids = tuple(sum(map(ord, word)) for word in words)
        shown = (each, ids) if per_token else ((), ())
        return Score(
            sum(each), len(words), len(text.encode()), False, tokens=shown[0], ids=shown[1]
        )


def test_every_scoring_by_hand():
    model = Tokens({"the": -1, "poor": -4, "rich": -2, "very": -6, "man": -3})
    (said,) = values("crows", model, [("the poor man", "the very rich man")], ALL)
    assert said["sum"] == (-8, -12)
    assert said["per_token"] == pytest.approx((-8 / 3, -3))
    assert said["per_byte"] == pytest.approx((-8 / 12, -12 / 17))
    assert said["shared"] == (-4, -4)  # the, man
    assert said["differing"] == (-4, -4)  # poor; the mean of very and rich
    # words do not know BOS, so it is the mean per token again
    assert said["without_bos"] == pytest.approx(said["per_token"])


def test_a_sentence_that_only_has_more_differs_in_no_token_of_the_other():
    (said,) = values("crows", Tokens({}), [("the man", "the old man")], ALL)
    assert set(said) == set(ALL) - {"differing"}


def test_a_model_without_token_numbers_cannot_say_what_is_shared():
    class Silent(FakeModel):
        def score(self, requests, *, per_token=False, moments=False):
            return [Score(-1.0, 1, 1, greedy=False) for _ in requests]

    assert values("crows", Silent(), [("a", "b")], ("shared",)) == [NO_IDS]
    assert values("crows", Silent(), [("a", "b")], ("sum",)) == [{"sum": (-1.0, -1.0)}]


@given(st.lists(st.integers(0, 5)), st.lists(st.integers(0, 5)))
def test_shared_tokens_are_the_same_tokens_in_order(one, other):
    first, second = shared(one, other)
    assert [one[at] for at in first] == [other[at] for at in second]
    assert first == sorted(set(first))
    assert second == sorted(set(second))
    assert shared(one, one)[0] == list(range(len(one)))


def test_a_tie_is_half_a_win():
    assert [preferred(gap) for gap in (0.1, 0.0, -0.1)] == [1.0, 0.5, 0.0]
    assert math.isclose(sum(map(preferred, (1, -1))), 1.0)
