"""Which rows of a file become a set?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.data.outside import sources
from tasks.data.sets import _cut, gather
from tasks.data.settings import SetsData, Source


def write(tmp_path, text: str) -> str:
    file = tmp_path / "own.txt"
    file.write_text(text, "utf-8")
    return str(file)


def test_slices_of_one_file_share_no_document(tmp_path):
    path = write(tmp_path, "\n".join(f"Story {i}." for i in range(10)))
    first = gather("a", Source(path=path, limit=4), ())
    rest = gather("b", Source(path=path, skip=4, limit=5), ())
    assert [row["id"] for row in first] == ["line1", "line2", "line3", "line4"]
    assert [row["id"] for row in rest] == ["line5", "line6", "line7", "line8", "line9"]


def test_every_second_row_of_blocks_keeps_the_blocks_balanced(tmp_path):
    path = write(tmp_path, "\n".join(f"{block} {i}" for block in "ab" for i in range(4)))
    found = gather("a", Source(path=path, every=2), ())
    assert [row["text"] for row in found] == ["a 0", "a 2", "b 0", "b 2"]
    few = gather("a", Source(path=path, skip=1, every=2, limit=3), ())
    assert [row["text"] for row in few] == ["a 1", "a 3", "b 1"]


def test_a_long_document_is_cut_at_the_last_space_before_its_limit(tmp_path):
    path = write(tmp_path, "One two three.\nShort.\nunbreakable")
    found = gather("a", Source(path=path, max_chars=9), ())
    # "One two t" would be nine characters; eight of them are whole words and a space.
    assert [row["text"] for row in found] == ["One two", "Short.", "unbreakab"]


@given(st.text(), st.integers(1, 20))
def test_a_cut_document_is_a_beginning_within_its_limit(text, most):
    cut = str(_cut({"id": "0", "text": text}, most)["text"])
    assert text.startswith(cut)
    assert len(cut) <= most
    assert cut or not text


def test_rows_that_are_no_documents_are_left_whole():
    assert _cut({"id": "0", "prompt": "long enough"}, 3) == {"id": "0", "prompt": "long enough"}


def test_a_set_joined_from_several_keeps_where_its_rows_come_from(tmp_path):
    lines = write(tmp_path, "1 He left.\n2 He came.")
    table = tmp_path / "jobs.csv"
    table.write_text("occupation,women\nnurse,90\n", "utf-8")
    joined = {"pro": Source(path=lines, limit=1), "jobs": Source(path=str(table))}
    source = Source(joined=joined)
    assert Source.model_validate(source.model_dump()) == source
    assert gather("a", source, ()) == [
        {"id": "pro/line1", "role": "pro", "line": "1 He left."},
        {"id": "jobs/0", "role": "jobs", "occupation": "nurse", "women": "90"},
    ]
    before = sources(SetsData(sets={"a": source}), ())
    (tmp_path / "own.txt").write_text("1 She left.", "utf-8")
    assert sources(SetsData(sets={"a": source}), ()) != before


@pytest.mark.parametrize(
    "told",
    [
        {"joined": {}},
        {"joined": {"a": {"path": "b.txt"}}, "limit": 3},
        {"path": "x", "name": "y"},
    ],
)
def test_a_source_has_one_origin(told):
    with pytest.raises(ValidationError, match=r"give one of|say limit"):
        Source.model_validate(told)
