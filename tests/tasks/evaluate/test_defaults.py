"""Do our benchmarks over local files ask and score exactly what lm-eval's own do?"""

import hashlib
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from audits.errors import EvidenceError
from tasks.evaluate import EvaluateSettings
from tasks.evaluate.documents import read
from tasks.evaluate.finding import Finder
from tasks.evaluate.ours import OURS, reads
from tasks.evaluate.outside import Catalogued
from tasks.evaluate.scoring import mc2

_GIVEN = json.loads(Path(__file__).with_name("published.json").read_text("utf-8"))
PUBLISHED = _GIVEN["published"]
"""Invented rows as the files of the data catalog hold them, by name in the catalog."""
HUB = _GIVEN["hub"]
"""The same documents in the fields of the hub's sets, written by hand, by task."""
LM_EVAL = {
    "hellaswag": "hellaswag/hellaswag.yaml",
    "blimp": "blimp/adjunct_island.yaml",
    "arc_easy": "arc/arc_easy.yaml",
    "piqa": "piqa/piqa.yaml",
    "boolq": "super_glue/boolq/default.yaml",
    "copa": "super_glue/copa/default.yaml",
    "lambada_openai": "lambada/lambada_openai.yaml",
    "truthfulqa_mc1": "truthfulqa/truthfulqa_mc1.yaml",
    "truthfulqa_mc2": "truthfulqa/truthfulqa_mc2.yaml",
    "wikitext2": "wikitext/wikitext.yaml",
}
"""lm-eval's own definition of each task."""

TASKS = sorted(LM_EVAL)


def catalogued(file: Path) -> Catalogued:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return Catalogued(path=str(file), repo="a/b", revision="0" * 40, sha256=digest)


def ours(task, folder, text):
    """Our task over a publisher's file."""
    name = reads(task)["catalog"]
    file = folder / name
    file.write_text(text, "utf-8")
    context = {f"catalog/{name}": catalogued(file).model_dump_json()}
    finder = Finder(EvaluateSettings(tasks=(task,)), None, folder / "scratch", context)
    found = finder.find(task)
    assert found.documents[0].startswith(f"{task}: {len(found.leaves[0].docs)} of ")
    assert "a/b @ 000000000000 (sha256 " in found.documents[0]
    return found.leaves[0].task


def theirs(task, folder, rows):
    """lm-eval's own definition over the same documents as its hub's set has them."""
    import lm_eval
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._yaml_loader import load_yaml

    file = folder / "hub.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    config = load_yaml(Path(lm_eval.__file__).parent / "tasks" / LM_EVAL[task])
    config |= {
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {
            "data_files": {"test": str(file)}, "cache_dir": str(folder / "cache"),
        },
        # examples come from the documents themselves: there is no other split here
        "training_split": None, "validation_split": None, "test_split": "test",
    }  # fmt: skip
    [built] = TaskManager(include_defaults=False).load([config])["tasks"].values()
    return built


def requests(task, shots):
    """What the model is asked about each document, and what is the right answer."""
    if task.get_config("num_fewshot") != 0:
        task.set_config(key="num_fewshot", value=shots)
    task.set_fewshot_seed(seed=0)
    task.build_all_requests(rank=0, world_size=1)
    return [
        (request.doc_id, request.idx, request.request_type, request.arguments,
         task.doc_to_target(request.doc))
        for request in task.instances
    ]  # fmt: skip


def scoring(task):
    names = [*task.aggregation()]
    return {
        name: (task.aggregation()[name].__name__, task.higher_is_better()[name])
        for name in names
    }


def same(task, mine, lm_evals):
    for shots in (0, 2):
        assert requests(mine, shots) == requests(lm_evals, shots)
        assert len(mine.instances) > 0
    assert scoring(mine) == scoring(lm_evals)
    assert str(mine.VERSION) == str(lm_evals.VERSION)
    luck = np.random.default_rng(0)
    for ours_asked, theirs_asked in zip(by_document(mine), by_document(lm_evals), strict=True):
        given = [(-luck.exponential(20), bool(luck.integers(2))) for _ in ours_asked]
        if task == "wikitext2":
            given = [logprob for logprob, _ in given]
        got = mine.process_results(ours_asked[0].doc, given)
        want = lm_evals.process_results(theirs_asked[0].doc, given)
        assert got.keys() == want.keys()
        for name in got:
            assert np.allclose(got[name], want[name], rtol=1e-12, atol=0), name


def by_document(task):
    found = {}
    for request in task.instances:
        found.setdefault(request.doc_id, []).append(request)
    return list(found.values())


def test_every_task_of_the_catalog_is_compared_here():
    of_catalog = {f.stem for f in OURS.glob("*.yaml") if "catalog" in reads(f.stem)}
    assert of_catalog == set(TASKS)
    assert {reads(task)["catalog"] for task in TASKS} == set(PUBLISHED)


@pytest.mark.parametrize("task", TASKS)
def test_a_task_asks_and_scores_what_lm_evals_own_does(task, tmp_path):
    text = PUBLISHED[reads(task)["catalog"]]
    same(task, ours(task, tmp_path, text), theirs(task, tmp_path, HUB[task]))


@pytest.mark.parametrize("task", [t for t in TASKS if t not in ("blimp", "wikitext2")])
def test_a_task_over_the_real_file_asks_what_lm_evals_own_does(task, tmp_path, shared_data):
    from tasks.data.catalog import entry

    about = entry(reads(task)["catalog"])
    lines = (shared_data / about.file).read_text("utf-8").split("\n")[:12]
    text = "\n".join(lines) + "\n"
    if task.startswith("truthfulqa"):
        text = json.dumps(json.loads((shared_data / about.file).read_text("utf-8"))[:12])
    (tmp_path / "head").write_text(text, "utf-8")
    rows = read(about.name, tmp_path / "head")
    same(task, ours(task, tmp_path, text), theirs(task, tmp_path, rows))


def test_real_files_turn_into_as_many_documents_as_their_publishers_count(shared_data):
    from tasks.data.catalog import entry

    for task in TASKS:
        about = entry(reads(task)["catalog"])
        found = read(about.name, shared_data / about.file)
        # lm-eval's set of pages has 62 for the test split of WikiText-2
        assert len(found) == (62 if task == "wikitext2" else about.rows), task


def test_true_answers_share_the_probability_even_where_every_one_underflows():
    from lm_eval.tasks.truthfulqa.utils import process_results_mc2

    doc = {"mc2_targets": {"labels": [1, 0]}}
    # e^-1 of 1 + e^-1 goes to the second answer
    far = [(-900.0, False), (-901.0, False)]
    assert mc2(doc, far) == {"acc": pytest.approx(1 / (1 + math.exp(-1)))}
    with np.errstate(invalid="ignore"):
        assert math.isnan(process_results_mc2(doc, far)["acc"])
    near = [(-3.0, False), (-2.0, False)]
    assert mc2(doc, near)["acc"] == pytest.approx(process_results_mc2(doc, near)["acc"])


def test_a_file_that_changed_since_it_was_verified_is_no_evidence(tmp_path):
    file = tmp_path / "piqa"
    file.write_text(PUBLISHED["piqa"], "utf-8")
    context = {"catalog/piqa": catalogued(file).model_dump_json()}
    file.write_text(PUBLISHED["piqa"] + "\n", "utf-8")
    finder = Finder(EvaluateSettings(tasks=("piqa",)), None, tmp_path, context)
    with pytest.raises(EvidenceError, match="changed since it was verified"):
        finder.find("piqa")


def test_an_include_path_comes_before_the_catalog(tmp_path):
    home = tmp_path / "mine"
    home.mkdir()
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"q": "Is it?", "a": "Yes"}\n', "utf-8")
    (home / "piqa.yaml").write_text(
        "task: piqa\ndataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{test: '{rows}'}}, cache_dir: '{tmp_path}/c'}}\n"
        "test_split: test\noutput_type: loglikelihood\n"
        "doc_to_text: '{{q}}'\ndoc_to_target: ' {{a}}'\nmetric_list: [{metric: acc}]\n",
        "utf-8",
    )
    file = tmp_path / "piqa"
    file.write_text(PUBLISHED["piqa"], "utf-8")
    context = {"catalog/piqa": catalogued(file).model_dump_json()}
    settings = EvaluateSettings(tasks=("piqa",), include_path=str(home))
    found = Finder(settings, None, tmp_path / "scratch", context).find("piqa")
    assert found.documents == ("piqa: 1 of 1 from json",)
    assert os.listdir(home) == ["piqa.yaml"]
