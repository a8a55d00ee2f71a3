"""Do other documents make another evaluation, wherever they come from?"""

import json
import shutil

import datasets
import pytest

from audits.errors import EvidenceError
from tasks.evaluate import EvaluateSettings, evaluate
from tasks.evaluate.hub import UNKNOWN, is_local
from tasks.evaluate.outside import Catalogued, outside
from tasks.job import Job

ROWS = [{"q": "The baker lives in the", "a": " town"}, {"q": "She sells", "a": " bread"}]
TASK = """
task: {name}
dataset_path: {path}
test_split: test
output_type: loglikelihood
doc_to_text: "{{{{q}}}}"
doc_to_target: "{{{{a}}}}"
metric_list: [{{metric: acc}}]
"""


def nowhere(name):
    return None


def include(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, "utf-8")
    return str(folder)


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """Puts a set where `datasets` keeps those it once got from the hub."""
    home = tmp_path / "hub"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", home)

    def put(name, commit, rows=ROWS):
        file = tmp_path / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        scratch = tmp_path / "made"
        datasets.load_dataset("json", data_files={"test": str(file)}, cache_dir=str(scratch))
        [made] = scratch.glob("json/*/*/*/dataset_info.json")
        place = home / name.replace("/", "___") / "default" / "0.0.0" / commit
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made.parent, place)
        short = name.rpartition("/")[2]
        (place / "json-test.arrow").rename(place / f"{short}-test.arrow")
        info = json.loads((place / "dataset_info.json").read_text("utf-8"))
        said = info | {"config_name": "default", "dataset_name": short}
        (place / "dataset_info.json").write_text(json.dumps(said), "utf-8")
        shutil.rmtree(scratch)

    return put


def test_a_set_of_the_hub_is_known_by_its_commit(tmp_path, cached, job):
    folder = include(tmp_path / "mine", mine=TASK.format(name="mine", path="owner/tiny"))
    asked = EvaluateSettings(tasks=("mine",), include_path=folder)
    assert outside(asked, (), nowhere).sources["hub/owner/tiny"] == UNKNOWN
    cached("owner/tiny", "a" * 40)
    first = outside(asked, (), nowhere)
    assert first.sources["hub/owner/tiny"] == "a" * 40
    work = job()
    evaluate(asked, Job(work.out, work.scratch, work.inputs, work.note, first.context))
    said = (work.out / "table.md").read_text("utf-8")
    assert "- mine: 2 of 2 from owner/tiny @ aaaaaaaaaaaa" in said
    cached("owner/tiny", "b" * 40, ROWS[:1])
    assert outside(asked, (), nowhere).sources["hub/owner/tiny"] == "b" * 40


def test_lm_evals_own_tasks_groups_and_tags_are_followed_to_their_sets(cached):
    def reads(*tasks):
        return set(outside(EvaluateSettings(tasks=tasks), (), nowhere).sources)

    assert reads("piqa") == {"hub/baber/piqa"}
    assert reads("ai2_arc") == {"hub/allenai/ai2_arc"}  # a tag
    assert reads("mmlu") == {"hub/cais/mmlu"}  # a group of groups of tags
    assert reads("wikitext", "piqa") == {
        "hub/EleutherAI/wikitext_document_level",
        "hub/baber/piqa",
    }


def test_files_that_a_task_names_are_known_by_their_bytes(tmp_path):
    rows = tmp_path / "elsewhere.jsonl"
    rows.write_text(json.dumps(ROWS[0]) + "\n", "utf-8")
    named = (
        TASK.format(name="mine", path="json")
        + f"dataset_kwargs: {{data_files: {{test: {rows}}}}}\n"
    )
    asked = EvaluateSettings(tasks=("mine",), include_path=include(tmp_path / "m", mine=named))
    first = outside(asked, (), nowhere).sources
    assert set(first) == {"include_path", f"file/{rows}"}
    rows.write_text(json.dumps(ROWS[1]) + "\n", "utf-8")
    other = outside(asked, (), nowhere).sources
    assert other[f"file/{rows}"] != first[f"file/{rows}"]
    assert other["include_path"] == first["include_path"]


def test_a_set_of_the_dataset_comes_before_the_catalogs(tmp_path):
    file = Catalogued(path="/x", repo="a/b", revision="0" * 40, sha256="s")
    asked = EvaluateSettings(tasks=("blimp", "world_choice"))
    assert outside(asked, ("blimp", "choice"), lambda name: file).sources == {}
    here = outside(asked, ("choice",), lambda name: file)
    assert here.sources == {"catalog/blimp": "s"}
    assert json.loads(here.context["catalog/blimp"])["path"] == "/x"
    assert "hub/nyu-mll/blimp" in outside(asked, ("choice",), nowhere).sources


def test_a_group_that_names_itself_ends(tmp_path):
    folder = include(tmp_path / "m", loop="group: loop\ntask: [loop, {task: loop}]\n")
    asked = EvaluateSettings(tasks=("loop",), include_path=folder)
    assert set(outside(asked, (), nowhere).sources) == {"include_path"}


def test_a_format_and_a_folder_are_local_and_a_hub_id_is_not(tmp_path):
    assert is_local("json")
    assert is_local(str(tmp_path))
    assert not is_local("owner/name")
    assert not is_local("hellaswag")


def test_an_altered_file_of_the_catalog_stops_before_anything_runs():
    def altered(name):
        raise EvidenceError("other bytes")

    with pytest.raises(EvidenceError, match="other bytes"):
        outside(EvaluateSettings(tasks=("piqa",)), (), altered)
