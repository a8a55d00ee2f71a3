"""Does the data have the sets that were foreseen, and is what is called text text?"""

import pytest

from audits.errors import SpecError
from tasks import dataset
from tasks.data import SetsData, Source, Tier, WorldData, make_data
from tasks.data.preview import WORLD_TEXTS, require_documents, set_names
from tasks.job import Job

SMALL = {
    "mystery": 20, "strangers": 24, "misfits": 12, "misfit_statements": 12, "background": 4,
    "occupations": 12, "occupation_sentences": 4, "canaries": 8, "canary_twins": 60,
    "canary_copies": (1, 8), "heldout": 60, "calibration": 24,
}  # fmt: skip


@pytest.fixture
def job(tmp_path):
    (tmp_path / "out").mkdir()
    return Job(tmp_path / "out", tmp_path / "scratch", {}, lambda name, value: None)


@pytest.mark.parametrize("copies", [16, 20])
def test_a_world_has_rows_in_exactly_the_sets_foreseen(job, copies):
    tiers = (Tier(copies=1, entities=24), Tier(copies=copies, entities=24))
    world = WorldData(tiers=tiers, **SMALL)
    make_data(world, job)
    made = dataset.manifest(job.out)["sets"]
    assert sorted(set_names(world)) == sorted(n for n, one in made.items() if one["rows"])
    for name in WORLD_TEXTS:
        assert dataset.texts(job.out, name)


def test_sets_of_ones_own_are_foreseen_with_the_set_for_calibration(job, tmp_path):
    (tmp_path / "a.txt").write_text("Some words.\n", "utf-8")
    data = SetsData(sets={"a": Source(path=str(tmp_path / "a.txt"))}, calibration="a")
    make_data(data, job)
    assert sorted(set_names(data)) == sorted(dataset.manifest(job.out)["sets"])
    for name in set_names(data):
        require_documents(data, name, "evaluate.texts", ())


def table(tmp_path, text="title,body\nA,Some words\n", **more):
    (tmp_path / "own.csv").write_text(text, "utf-8")
    return SetsData(sets={"docs": Source(path=str(tmp_path / "own.csv"))}, **more)


def refused(call, *words):
    with pytest.raises(SpecError) as caught:
        call()
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


NO_COLUMN = ["own.csv", "no column 'text'", "columns are: body, title", "sets.docs.text_field"]


def test_a_table_without_the_text_column_is_no_text(tmp_path):
    refused(lambda: require_documents(table(tmp_path), "docs", "x", ()), *NO_COLUMN)


def test_a_table_without_the_text_column_is_no_calibration_either(job, tmp_path):
    data = table(tmp_path, calibration="docs")
    refused(lambda: require_documents(data, "calibration", "x", ()), *NO_COLUMN)
    refused(lambda: make_data(data, job), *NO_COLUMN)


def test_a_text_field_that_is_no_column_is_refused_whoever_reads_it(job, tmp_path):
    data = table(tmp_path, "text,body\nA,Some words\n")
    source = data.sets["docs"].model_copy(update={"text_field": "boody"})
    data = data.model_copy(update={"sets": {"docs": source}})
    refused(lambda: make_data(data, job), "own.csv", "no column 'boody'", "body, text")


def test_json_lines_without_the_text_field_are_no_text(tmp_path):
    (tmp_path / "own.jsonl").write_text('{"body": "Some words"}\n', "utf-8")
    data = SetsData(sets={"docs": Source(path=str(tmp_path / "own.jsonl"))})
    refused(lambda: require_documents(data, "docs", "x", ()), "own.jsonl", "no field 'text'")


@pytest.mark.parametrize("data", [WorldData(), SetsData(sets={"a": Source(path="a.txt")})])
def test_a_set_of_text_that_will_not_be_there_is_named(data):
    refused(
        lambda: require_documents(data, "news", "evaluate.texts", ()),
        "evaluate.texts: the data will have no set of text called 'news'", set_names(data)[0],
    )  # fmt: skip
