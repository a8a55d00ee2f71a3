"""Which documents are unfit, and why."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.data.checks import ALL, Plan, mojibake, statistics


@pytest.mark.parametrize(
    "text",
    ["â€œHiâ€", "itâ€™s", "cafÃ©", "Â£5", "lost \ufffd byte", "\x85 C1", "ðŸŽ‰", "\ud800"],
)
def test_bytes_read_in_the_wrong_encoding_are_seen(text):
    assert mojibake(text)


@pytest.mark.parametrize(
    "text",
    ["“Hi”", "it\u2019s", "café", "£5", "voilà…”", "CAFÉ”", "São João", "Âge", "😀", "日本"],
)
def test_honest_text_beyond_ascii_is_not_mojibake(text):
    assert not mojibake(text)


@given(st.text(st.characters(min_codepoint=0xA1, max_codepoint=0x24F), min_size=1))
def test_latin_text_read_as_cp1252_is_caught_when_it_starts_with_a_letter_of_latin_1(text):
    # U+00C0..U+00FF are C3 xx in UTF-8, which cp1252 shows as "Ã" and a second character.
    if re.match("[\u00c0-\u00ff]", text):
        assert mojibake(text.encode().decode("latin-1"))


def test_statistics_are_those_of_each_document():
    documents = [
        {"id": "a", "text": "one two"},
        {"id": "b", "text": "one two"},
        {"id": "c", "text": "we ask who is it now"},
    ]
    plan = Plan(effects=dict.fromkeys(ALL, "drop"), forbidden=frozenset({"who is it"}))
    frame = statistics({"train": documents}, plan).set_index("key")
    assert list(frame.index) == ["train/a", "train/b", "train/c"]
    assert list(frame["n_words"]) == [2, 2, 6]
    # Nobody declared a repetition: the second "one two" is one too many.
    assert list(frame["surplus"]) == [0, 1, 0]
    assert list(frame["leaks"]) == [0, 0, 1]


def test_declared_copies_are_no_repetitions():
    documents = [{"id": str(at), "text": "same"} for at in range(4)]
    plan = Plan(effects=dict.fromkeys(ALL, "stop"), copies={"same": 3})
    assert list(statistics({"train": documents}, plan)["surplus"]) == [0, 0, 0, 1]


def test_questions_may_stand_outside_training_text():
    plan = Plan(effects=dict.fromkeys(ALL, "drop"), forbidden=frozenset({"who is it"}))
    frame = statistics({"heldout": [{"id": "a", "text": "who is it"}]}, plan)
    assert list(frame["leaks"]) == [0]


def test_rare_characters_are_judged_only_where_there_is_an_alphabet_to_judge_by():
    plan = Plan(effects=dict.fromkeys(ALL, "drop"))
    assert "in_alphabet" not in {rule.name for rule in plan.rules(10)}
    assert {rule.name for rule in plan.rules(100)} == set(ALL)
    documents = [{"id": str(at), "text": "plain words"} for at in range(200)]
    documents.append({"id": "odd", "text": "ჟზხცვ plain"})
    frame = statistics({"train": documents}, plan).set_index("key")
    # Five of its eleven characters occur nowhere else.
    assert frame.loc["train/odd", "foreign"] == pytest.approx(5 / 11)
