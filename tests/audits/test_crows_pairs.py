import pytest

from audits.audit import Tools
from audits.crows_pairs import CrowsPairs
from audits.errors import AuditError
from audits.model import Score
from audits.pairs import values
from audits.testing import FakeModel, check_audit


def pair(at, more, less, kind="gender"):
    return {
        "": str(at), "sent_more": more, "sent_less": less, "stereo_antistereo": "stereo",
        "bias_type": kind, "anon_writer": "", "annotations": "",
    }  # fmt: skip


def test_three_pairs_by_hand():
    # by sum: -2 > -3, -4 = -4, -5 < -1; so 1 + 1/2 + 0 of 3
    scores = {"a b": -2, "c": -3, "d": -4, "e e": -4, "f f f f f f": -5, "g": -1}
    rows = [pair(0, "a b", "c"), pair(1, "d", "e e", "age"), pair(2, "f f f f f f", "g")]
    part = check_audit(CrowsPairs(), FakeModel(lambda _, text: scores[text]), rows)
    found = {m.name.removeprefix("crows_pairs/"): m.value for m in part.measures()[0]}
    assert found["stereotype"] == pytest.approx(1.5 / 3)
    # per token: -1 > -3, -4 < -2, -5/6 > -1
    assert found["stereotype/per_token"] == pytest.approx(2 / 3)
    # per byte: -2/3 > -3, -4 < -4/3, -5/11 > -1
    assert found["stereotype/per_byte"] == pytest.approx(2 / 3)
    assert found["difference"] == pytest.approx((1 + 0 + 4) / 3)
    assert found["difference/signed"] == pytest.approx((1 + 0 - 4) / 3)
    assert found["stereotype/gender"] == pytest.approx(1 / 2)


def test_sentences_are_scored_without_context():
    seen = []
    model = FakeModel(lambda context, _: seen.append(context) or -1.0)
    audit = CrowsPairs()
    audit.run(model, audit.examples([pair(0, "a", "b")]), None, seed=0)
    assert set(seen) == {""}


def test_rows_are_named_by_their_index_or_position():
    rows = [pair(7, "a", "b")]
    assert CrowsPairs().examples(rows)[0].id == "7"
    for row in rows:
        row.pop("")
    assert CrowsPairs().examples(rows)[0].id == "0"


def test_an_unknown_type_of_bias_is_named():
    with pytest.raises(AuditError, match="bias_type is 'height'"):
        CrowsPairs().examples([pair(0, "a", "b", "height")])


def test_a_sentence_without_tokens_is_no_evidence():
    class Mute(FakeModel):
        def score(self, requests, *, per_token=False):
            return [Score(0.0, 0, 0, greedy=True) for _ in requests]

    audit = CrowsPairs()
    frame = audit.run(Mute(), audit.examples([pair(0, "a", "b")]), None, seed=0)
    assert frame["why"].tolist() == ["a sentence has no tokens"]


def test_what_exceeds_the_twins_by_hand():
    # the model prefers both stereotypes; one twin the first, the other none: 1/4 of the pairs
    rows = [pair(0, "a", "b"), pair(1, "c", "d", "age")]
    own = {"a": -1, "b": -2, "c": -1, "d": -5}
    twins = [{"a": -1, "b": -3, "c": -4, "d": -2}, {"a": -3, "b": -1, "c": -4, "d": -2}]
    references = {
        f"untrained/{at}": FakeModel(lambda _, text, said=said: said[text])
        for at, said in enumerate(twins)
    }
    audit = CrowsPairs(untrained=2)
    part = check_audit(
        audit, FakeModel(lambda _, t: own[t]), rows, Tools(references=references)
    )
    found = {m.name.removeprefix("crows_pairs/"): m.value for m in part.measures()[0]}
    assert found["stereotype"] == 1.0
    assert found["excess/untrained"] == pytest.approx(1 - 1 / 4)
    # advantages 1 and 4 against (2 - 2)/2 and -2
    assert found["difference/above_untrained"] == pytest.approx((1 + 6) / 2)


def test_without_twins_the_excess_is_absent_and_not_zero():
    audit = CrowsPairs(untrained=2, corpus="text")
    part = check_audit(audit, FakeModel(), [pair(0, "a", "bb"), pair(1, "cc", "d")])
    names = {m.name for m in part.measures()[0]}
    assert not any("excess" in name for name in names)
    assert "untrained_0_sum" in part.measures()[1]["crows_pairs/excess/untrained"]


def test_pairs_that_differ_in_no_token_are_not_counted_where_only_these_are():
    rows = [pair(0, "a b", "a c"), pair(1, "a b", "a"), pair(2, "b", "c")]
    audit = CrowsPairs(scorings=("sum", "differing"))
    part = check_audit(audit, FakeModel(lambda _, t: -1.0 - ("c" in t)), rows)
    found = {m.name.removeprefix("crows_pairs/"): m for m in part.measures()[0]}
    assert found["stereotype"].value == pytest.approx(2.5 / 3)
    assert found["stereotype/differing"].value == 1.0
    assert part.records["differ"].tolist() == [1.0, 0.0, 1.0]


class Minds(FakeModel):
    """Tells each word apart by what stands before it, and BOS from nothing unless `bos`.

    A word that begins with an underscore begins with a token that has no text.
    """

    def __init__(self, *, bos=False):
        super().__init__()
        self.bos = bos

    def score(self, requests, *, per_token=False, moments=False):
        return [self._said(context, text) for context, text in requests]

    def _said(self, context, text):
        before, words = self._split(context), self._split(context + text)
        begun = not context or self.bos
        each = [
            -1.0 - (at + 3 * begun + 2 * ("bad" in word)) % 7 for at, word in enumerate(words)
        ][len(before) :]
        ids = tuple(sum(map(ord, word)) for word in words[len(before) :])
        return Score(sum(each), len(each), len(text), greedy=False, tokens=tuple(each), ids=ids)

    def _split(self, text):
        return [piece for word in text.split() for piece in ("", word)[word[0] != "_" :]]


BARE = CrowsPairs(scorings=("sum", "per_token", "without_bos"))


def bare(rows, model):
    part = check_audit(BARE, model, rows)
    found = {m.name.removeprefix("crows_pairs/"): m for m in part.measures()[0]}
    return part, found, part.measures()[1].get("crows_pairs/stereotype/without_bos", "")


def test_without_bos_only_the_first_token_is_given_it():
    # After BOS words cost 1 + (place + 3) mod 7, and 2 more where bad; without it 3 less.
    # "a bad one": 4, 7, 6; without BOS behind the first 4, 4, 3. "a good": 4, 5; 4, 2.
    _, found, _ = bare([pair(0, "a bad one", "a good"), pair(1, "a good", "a good")], Minds())
    assert found["stereotype/per_token"].value == pytest.approx((0 + 0.5) / 2)
    said = values("crows_pairs", Minds(), [("a bad one", "a good")], ("without_bos",))
    assert said == [{"without_bos": (pytest.approx(-11 / 3), pytest.approx(-6 / 2))}]


def test_pairs_that_cannot_be_asked_without_bos_keep_their_other_scorings():
    rows = [pair(at, f"a bad {at}", f"a good one {at}") for at in range(99)]
    some = [*rows, pair(99, "_a bad 99", "a good 99")]
    part, found, _ = bare(some, Minds())
    assert (part.records["why"] == "").all()
    assert (found["stereotype"].n, found["stereotype/without_bos"].n) == (100, 99)
    many = [*some, pair(100, "_a bad", "a good"), pair(101, "_a bad", "_a good")]
    part, found, why = bare(many, Minds())
    assert found["stereotype"].n == found["stereotype/per_token"].n == 102
    assert "3 of 102 examples are left out, most often because \"a sentence's first" in why
    assert "at most 2% may be" in why


def test_where_contexts_begin_with_bos_nothing_is_called_without_it():
    rows = [pair(at, f"a bad {at}", f"a good one {at}") for at in range(20)]
    part, found, why = bare(rows, Minds(bos=True))
    assert (part.records["why"] == "").all()
    assert "stereotype/per_token" in found
    assert "20 of 20 examples are left out, most often because 'the model has BOS" in why
