"""How every stage reads a dataset."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits.errors import EvidenceError, SpecError
from tasks import dataset
from tasks.data.write import write_manifest, write_set


def make(folder: Path, name: str, content: str, form: str, n: int) -> Path:
    (folder / f"{name}.{form}").write_text(content, "utf-8")
    entry = {"file": f"{name}.{form}", "format": form, "rows": n, "about": ""}
    (folder / "manifest.json").write_text(json.dumps({"kind": "sets", "sets": {name: entry}}))
    return folder


def test_rows_come_in_file_order_with_their_types(tmp_path):
    folder = make(tmp_path, "facts", '{"id": "b", "n": 2}\n{"id": "a", "n": 1}\n', "jsonl", 2)
    assert dataset.rows(folder, "facts") == [{"id": "b", "n": 2}, {"id": "a", "n": 1}]


def test_every_line_of_text_that_is_not_blank_is_a_document(tmp_path):
    folder = make(tmp_path, "plain", "one\n\n two \n", "txt", 2)
    assert dataset.texts(folder, "plain") == ["one", " two "]
    assert [row["id"] for row in dataset.rows(folder, "plain")] == ["0", "1"]


def test_a_table_keeps_line_breaks_inside_its_cells(tmp_path):
    folder = make(tmp_path, "pairs", 'id,text\n1,"a\nb"\n', "csv", 1)
    assert dataset.rows(folder, "pairs") == [{"id": "1", "text": "a\nb"}]


def test_an_unknown_set_is_answered_with_the_known_ones(tmp_path):
    folder = make(tmp_path, "facts", "", "jsonl", 0)
    assert dataset.has(folder, "facts")
    assert not dataset.has(folder, "fcats")
    with pytest.raises(SpecError, match=r"'fcats'.*facts"):
        dataset.rows(folder, "fcats")


def test_a_folder_without_a_manifest_is_no_dataset(tmp_path):
    with pytest.raises(SpecError, match="is no dataset"):
        dataset.manifest(tmp_path)


def test_a_set_that_lost_a_row_does_not_verify(tmp_path):
    folder = make(tmp_path, "facts", '{"id": "a"}\n', "jsonl", 2)
    with pytest.raises(EvidenceError, match="holds 1 rows where the manifest says 2"):
        dataset.rows(folder, "facts")


def test_a_half_written_row_does_not_verify(tmp_path):
    folder = make(tmp_path, "facts", '{"id": "a"}\n{"id": ', "jsonl", 2)
    with pytest.raises(EvidenceError, match="unreadable"):
        dataset.rows(folder, "facts")


def test_rows_without_text_are_no_documents(tmp_path):
    folder = make(tmp_path, "facts", '{"id": "a"}\n', "jsonl", 1)
    with pytest.raises(SpecError, match="holds no documents"):
        dataset.texts(folder, "facts")


@given(st.lists(st.text(max_size=30), max_size=5))
def test_whatever_a_document_holds_is_read_back(tmp_path_factory, documents):
    folder = tmp_path_factory.mktemp("set")
    rows = [{"id": str(at), "text": text} for at, text in enumerate(documents)]
    entry = write_set(folder, "train", rows, "")
    write_manifest(folder, {"kind": "sets", "sets": {"train": entry}, "truth": {}})
    assert dataset.rows(folder, "train") == rows
    assert dataset.texts(folder, "train") == documents
