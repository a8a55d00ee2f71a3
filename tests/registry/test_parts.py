import hashlib
import json
import string

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audits.errors import EvidenceError, MeasureError
from audits.estimand import Declared, Exact, Ratio
from audits.evidence import KEYS, Part, records_frame
from registry import parts

text = st.text(string.printable + "éλ漢🙂", max_size=8)
column = st.sampled_from(["score", "label", "note"])
cells = {
    "score": st.floats(allow_nan=False) | st.none(),
    "label": st.integers(-(2**40), 2**40),
    "note": text,
}


@st.composite
def any_part(draw):
    columns = draw(st.sets(column))
    ids = draw(st.lists(text, unique=True, max_size=6))
    rows = [
        {"example": i, "cluster": draw(text), "group": draw(text), "why": draw(text)}
        | {c: draw(cells[c]) for c in columns}
        for i in ids
    ]
    return Part(
        name=draw(st.from_regex(r"[a-z0-9_]{1,8}", fullmatch=True)),
        kind="k",
        declared=(
            Declared(
                name="m/s", better="lower", about=draw(text), of=Ratio(value="score"),
                where={"group": draw(text)},
            ),
        ),
        expected=tuple(ids),
        records=records_frame(rows),
        basis=draw(text),
        conditions=draw(
            st.dictionaries(
                text,
                text | st.booleans() | st.integers(-9, 9) | st.floats(-1, 1),
                max_size=3,
            )
        ),
        notes=draw(st.dictionaries(text, st.lists(st.integers() | text, max_size=2))),
    )  # fmt: skip


def same(one: Part, two: Part) -> bool:
    # A column in which nothing is known has no type to keep.
    known = [c for c in one.records if one.records[c].notna().any()]
    pd.testing.assert_frame_equal(one.records[known], two.records[known])
    assert list(one.records) == list(two.records)
    assert len(one.records) == len(two.records)
    assert two.records.drop(columns=known).isna().all(axis=None)
    plain = ("name", "kind", "declared", "expected", "basis", "conditions", "notes")
    return all(getattr(one, f) == getattr(two, f) for f in plain)


@pytest.fixture
def part():
    rows = [
        {"example": "a", "cluster": "c", "size": 3, "text": "hé"},
        {"example": "b", "cluster": "c", "why": "boundary moved"},
    ]
    size = Declared(
        name="size", better="lower", about="Bytes.", unit="B", of=Exact(value="size")
    )
    return Part(
        "disk", "profile", (size,), ("a", "b"), records_frame(rows), "basis",
        {"host": "here", "cores": 2, "quiet": True}, {"seen": [1, 2.5, None]},
    )  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(part=any_part())
def test_a_part_comes_back_as_it_was_and_writes_the_same_bytes_again(tmp_path_factory, part):
    folder = tmp_path_factory.mktemp("part")
    parts.write(part, folder / "one")
    back = parts.read(folder / "one")
    assert same(part, back)
    parts.write(back, folder / "two")
    for name in (parts.SHEET, parts.RECORDS):
        assert (folder / "one" / name).read_bytes() == (folder / "two" / name).read_bytes()


def test_an_invalid_row_keeps_its_reason_and_its_missing_values(part, tmp_path):
    parts.write(part, tmp_path)
    back = parts.read(tmp_path)
    assert list(back.records["why"]) == ["", "boundary moved"]
    assert list(back.records["size"].isna()) == [False, True]
    assert list(back.records.columns[:4]) == list(KEYS)


def test_the_sheet_names_the_digest_of_the_records(part, tmp_path):
    parts.write(part, tmp_path)
    stated = json.loads((tmp_path / parts.SHEET).read_text("utf-8"))["records"]
    assert stated == hashlib.sha256((tmp_path / parts.RECORDS).read_bytes()).hexdigest()


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def empty(path):
    path.write_bytes(b"")


def drop(path):
    path.unlink()


def hide_an_expected_id(path):
    path.write_text(path.read_text("utf-8").replace('"expected"', '"Expected"'), "utf-8")


def put_nan(path):
    path.write_text(path.read_text("utf-8").replace(': "basis"', ": NaN"), "utf-8")


def newer(path):
    path.write_text(path.read_text("utf-8").replace('"format": 1', '"format": 2'), "utf-8")


@pytest.mark.parametrize(
    ("file", "harm"),
    [(parts.RECORDS, harm) for harm in (cut, flip, empty, drop)]
    + [(parts.SHEET, harm) for harm in (cut, empty, drop, hide_an_expected_id, put_nan, newer)],
)
def test_anything_but_what_was_written_is_refused_with_its_place(part, tmp_path, file, harm):
    parts.write(part, tmp_path)
    harm(tmp_path / file)
    with pytest.raises(EvidenceError, match=file):
        parts.read(tmp_path)


def test_records_that_are_whole_but_not_parquet_are_refused(part, tmp_path):
    parts.write(part, tmp_path)
    (tmp_path / parts.RECORDS).write_bytes(b"not parquet")
    sheet = json.loads((tmp_path / parts.SHEET).read_text("utf-8"))
    sheet["records"] = hashlib.sha256(b"not parquet").hexdigest()
    (tmp_path / parts.SHEET).write_text(json.dumps(sheet), "utf-8")
    with pytest.raises(EvidenceError, match="not a readable records file"):
        parts.read(tmp_path)


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", ".hidden", "a\n"])
def test_a_name_that_is_no_plain_name_is_refused(part, tmp_path, name):
    other = Part(name, part.kind, part.declared, part.expected, part.records, part.basis)
    with pytest.raises(MeasureError, match="cannot name a part"):
        parts.write(other, tmp_path)


@pytest.mark.parametrize("value", [float("nan"), {1, 2}])
def test_notes_that_are_not_json_are_refused_and_leave_no_part(part, tmp_path, value):
    other = Part(
        part.name, part.kind, part.declared, part.expected, part.records, part.basis,
        notes={"x": value},
    )  # fmt: skip
    with pytest.raises(MeasureError, match="finite JSON"):
        parts.write(other, tmp_path)
    assert not (tmp_path / parts.SHEET).exists()
