"""Can people's files be read, and do we say where one cannot?"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits.errors import SpecError
from tasks.data.read import documents, items, read_text

STORY = "One day.\n\nShe left.\nOnce more.\n\n\nThe end.\n"


def test_single_newlines_part_stories_and_blank_lines_their_paragraphs():
    # The file: line 1, blank 2, line 3 | line 4, blanks 5 and 6, line 7.
    assert documents(STORY, "stories") == [
        {"id": "line1", "text": "One day.\n\nShe left."},
        {"id": "line4", "text": "Once more.\n\n\nThe end."},
    ]


def test_blank_lines_part_paragraphs():
    assert [d["id"] for d in documents(STORY, "paragraphs")] == ["line1", "line3", "line7"]


def test_lines_are_numbered_as_an_editor_numbers_them():
    assert [d["id"] for d in documents(STORY, "lines")] == ["line1", "line3", "line4", "line7"]


def test_articles_begin_at_headings_of_the_first_level_alone():
    # A section has two signs, and a formula in the text has no blank line before it.
    text = (
        " \n = Du Fu = \n \n Life . \n\n = = Work = = \n \n x \n = 1 + y = \n\n"
        " = Kiss = \n \n B"
    )
    found = documents(text, "articles")
    assert [d["id"] for d in found] == ["line2", "line11"]
    assert str(found[0]["text"]).startswith(" = Du Fu = ")
    assert " = 1 + y = " in str(found[0]["text"])
    assert found[1]["text"] == " = Kiss = \n \n B"


def test_a_file_can_be_one_document():
    assert documents(STORY, "whole") == [{"id": "line1", "text": STORY.strip("\n")}]


@given(
    st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]))),
    st.sampled_from(["lines", "stories", "paragraphs", "articles", "whole"]),
)
def test_no_words_are_lost_by_splitting(lines, split):
    text = "\n".join(lines)
    joined = " ".join(str(d["text"]) for d in documents(text, split))
    assert joined.split() == text.split()


def test_bytes_that_are_not_utf8_are_named_by_line(tmp_path):
    file = tmp_path / "own.txt"
    file.write_bytes(b"fine\nna\xefve\n")
    with pytest.raises(SpecError, match=r"own\.txt, line 2: byte 0xef is not UTF-8"):
        read_text(file)


@pytest.mark.parametrize("content", [b"", b" \n\n"])
def test_an_empty_file_is_refused(tmp_path, content):
    file = tmp_path / "own.txt"
    file.write_bytes(content)
    with pytest.raises(SpecError, match="is empty"):
        read_text(file)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(SpecError, match="does not exist"):
        read_text(tmp_path / "own.txt")


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": \n', "line 2"),
        ("a.jsonl", "[1]\n", "line 1: a list"),
        ("a.csv", "a,b\n1,2\n3\n", "row 2: 1 cells under 2 headings"),
        ("a.json", '{"a": 1}', "no list"),
        ("a.json", "[", "is no JSON"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(tmp_path, name, content, where):
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(SpecError, match=where):
        items(file, file.suffix[1:])


def test_the_index_that_pandas_writes_becomes_the_id(tmp_path):
    file = tmp_path / "pairs.csv"
    file.write_text(',sent_more\n7,"One, two."\n')
    assert items(file, "csv") == [{"id": "7", "sent_more": "One, two."}]


def test_quotes_in_tab_separated_text_are_text(tmp_path):
    file = tmp_path / "t.tsv"
    file.write_text('id\tsentence\na\tHe said "no.\n')
    assert items(file, "tsv") == [{"id": "a", "sentence": 'He said "no.'}]


def test_stereosets_file_becomes_items_with_their_split(tmp_path):
    file = tmp_path / "dev.json"
    data = {"intrasentence": [{"id": "a", "target": "x"}], "intersentence": [{"id": "b"}]}
    file.write_text(json.dumps({"version": "1.0", "data": data}), "utf-8")
    found = items(file, "stereoset")
    assert [(row["id"], row["split"]) for row in found] == [
        ("a", "intrasentence"), ("b", "intersentence"),
    ]  # fmt: skip
    file.write_text("[]", "utf-8")
    with pytest.raises(SpecError, match="give StereoSet's file"):
        items(file, "stereoset")
