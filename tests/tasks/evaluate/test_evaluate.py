"""Benchmarks through lm-eval, and bits per byte, on a tiny random model."""

import json
import math
import subprocess
import sys
from dataclasses import replace

import pytest

from audits.errors import SpecError
from registry import parts
from tasks.evaluate import EvaluateSettings, evaluate
from tasks.evaluate.settings import bits_per_byte
from tasks.models.load import load
from tasks.models.testing import tiny_llama

ALL = EvaluateSettings(tasks=("world_cloze", "world_choice", "blimp"), texts=("held",))


@pytest.fixture(scope="module")
def part(job):
    work = job()
    evaluate(ALL, work)
    return parts.read(work.out), work


def test_every_document_is_recorded_once_with_its_cluster(part):
    records = part[0].records
    assert records["example"].is_unique
    assert sorted(records["example"]) == sorted(part[0].expected)
    assert records["question"].value_counts().to_dict() == {
        "task/world_choice": 8, "task/blimp": 6, "task/world_cloze": 4, "text/held": 3,
    }  # fmt: skip
    choice = records[records["question"] == "task/world_choice"]
    # facts 0 and 1 are about entity e0, 2 and 3 about e1, ...
    assert sorted(set(choice["cluster"])) == [f"world_choice/e{i}" for i in range(4)]
    blimp = records[records["question"] == "task/blimp"]
    assert set(blimp["group"]) == {"agreement", "islands"}
    assert set(blimp["cluster"]) == {"blimp/agreement_1", "blimp/island_2"}


def test_accuracies_are_those_of_lm_eval_and_of_scoring_by_hand(part, tiny_model):
    found, work = part
    results = json.loads((work.out / "lm_eval.json").read_text("utf-8"))["results"]
    frame = found.records
    for task in ("world_cloze", "world_choice", "blimp"):
        ours = frame.loc[frame["question"] == f"task/{task}", "acc"].mean()
        assert ours == pytest.approx(results[task]["acc,none"])
    model = load(tiny_model, device="cpu")
    rows = [
        json.loads(line) for line in (work.inputs["dataset"].folder / "choice.jsonl").open()
    ]
    for row in rows:
        scores = model.score([(row["prompt"], f" {choice}") for choice in row["choices"]])
        best = max(range(4), key=lambda i: scores[i].logprob)
        record = frame.set_index("example").loc[f"world_choice/{row['id']}"]
        assert (record["chosen"], record["acc"]) == (best, float(best == row["gold"]))


def test_bits_per_byte_are_all_bits_over_all_bytes(part, tiny_model):
    found = part[0]
    rows = [
        json.loads(line) for line in (part[1].inputs["dataset"].folder / "held.jsonl").open()
    ]
    texts = [row["text"] for row in rows]
    scores = load(tiny_model, device="cpu").score_text(texts)
    bits = -sum(s.logprob for s in scores) / math.log(2)
    n_bytes = sum(len(text.encode()) for text in texts)
    assert bits_per_byte("held").estimate(found.records, level=0.95).value == pytest.approx(
        bits / n_bytes, abs=1e-4
    )


def test_everything_declared_is_measured(part):
    measures, absent = part[0].measures()
    assert not absent
    assert [m.name for m in measures] == [f"evaluate/{d.name}" for d in ALL.declares()]


def test_the_table_has_a_line_for_each_task_and_text(part):
    text = (part[1].out / "table.md").read_text("utf-8").replace(" ", "")
    for name in ("world_cloze", "world_choice", "blimp", "held"):
        assert f"|{name}|" in text
    assert "|bits_per_byte|" in text


def test_the_basis_is_about_the_questions_and_not_about_the_model(part, job, tmp_path):
    other = job(model=tiny_llama(tmp_path / "other", seed=1))
    evaluate(ALL, other)
    new = parts.read(other.out)
    assert new.basis == part[0].basis
    assert not new.records["logprob"].equals(part[0].records["logprob"])
    fewer = job()
    evaluate(ALL.model_copy(update={"limit": 3}), fewer)
    assert parts.read(fewer.out).basis != part[0].basis


def test_the_same_evaluation_writes_the_same_bytes(part, job):
    again = job()
    evaluate(ALL, again)
    for name in ("part.json", "records.parquet", "lm_eval.json", "table.md"):
        assert (again.out / name).read_bytes() == (part[1].out / name).read_bytes(), name


def test_limits_keep_the_first_documents(job):
    work = job()
    settings = EvaluateSettings(tasks=("world_choice",), limit=3, texts=("held",), text_limit=1)
    evaluate(settings, work)
    assert parts.read(work.out).expected == (
        "world_choice/e0.r0", "world_choice/e0.r1", "world_choice/e1.r2", "held/d0",
    )  # fmt: skip


def test_an_empty_document_is_an_invalid_record(job):
    texts = [{"id": str(i), "text": "The park." if i else ""} for i in range(60)]
    work = job({"held": texts})
    evaluate(EvaluateSettings(texts=("held",)), work)
    records = parts.read(work.out).records.set_index("example")
    assert records.loc["held/0", "why"] == "the document is empty"
    assert (records.drop("held/0")["why"] == "").all()


TASK = """
task: {name}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{prompt}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{gold}}}}"
metric_list:
  - metric: acc
  - metric: acc_norm
metadata:
  version: 3
  set: choice
"""


def test_a_task_from_an_include_path_may_read_a_set(job, tmp_path):
    home = tmp_path / "mine"
    home.mkdir()
    (home / "mine.yaml").write_text(TASK.format(name="mine"), "utf-8")
    work = job()
    settings = EvaluateSettings(
        tasks=("mine", "world_choice"), metrics=("acc", "acc_norm"), include_path=str(home)
    )
    evaluate(settings, work)
    found = parts.read(work.out)
    # world_choice gives no acc_norm: that measure does not exist
    assert [d.name for d in found.declared] == ["acc/mine", "acc_norm/mine", "acc/world_choice"]
    assert found.notes["task/mine"]["mine"]["version"] == "3"
    assert not found.measures()[1]


@pytest.mark.parametrize("field", ["tasks", "texts", "metrics"])
def test_what_stands_twice_is_refused(field):
    with pytest.raises(ValueError, match="'acc' stands twice; name it once"):
        EvaluateSettings.model_validate({field: ("acc", "acc_norm", "acc")})


def test_a_metric_no_document_has_is_refused(job):
    with pytest.raises(SpecError, match=r"world_choice gives \['acc'\] and none"):
        evaluate(EvaluateSettings(tasks=("world_choice",), metrics=("f1",)), job())


def test_a_misspelt_task_is_answered_with_the_nearest_names(job):
    with pytest.raises(SpecError, match=r"no task 'world_clozy'.*world_cloze"):
        evaluate(EvaluateSettings(tasks=("world_clozy",)), job())


def test_a_missing_include_path_is_refused(job):
    with pytest.raises(SpecError, match="is no folder"):
        evaluate(EvaluateSettings(tasks=("x",), include_path="/no/such/place"), job())


def test_a_missing_set_is_refused(job):
    with pytest.raises(SpecError, match="no set 'news'"):
        evaluate(EvaluateSettings(texts=("news",)), job())


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (EvaluateSettings(tasks=("world_choice",)), "choice"),
        (EvaluateSettings(texts=("held",)), "held"),
    ],
)
def test_an_empty_set_is_refused_in_one_sentence(job, asked, name):
    with pytest.raises(SpecError, match=f"set '{name}' of the dataset") as caught:
        evaluate(asked, job({name: []}))
    assert "has no" in str(caught.value)
    assert "leave the" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_to_evaluate_is_refused(job):
    with pytest.raises(SpecError, match="name at least one"):
        evaluate(EvaluateSettings(), job())


def test_reading_settings_loads_no_heavy_library():
    code = (
        "import sys, tasks.evaluate\n"
        "heavy = {'torch','transformers','lm_eval','datasets','pandas','scipy','mlflow'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_two_models_with_one_score_cache_are_as_if_each_were_alone(job, tmp_path):
    """lm-eval's own cache gives the second model the first one's answers (its issue 4063)."""
    folders = [tiny_llama(tmp_path / str(seed), seed=seed) for seed in (0, 1)]

    def evaluated(folder, context):
        work = job(model=folder)
        counted = {}
        work = replace(work, context=context, note=counted.__setitem__)
        evaluate(ALL, work)
        return parts.read(work.out).records, counted["scores"]

    alone = [evaluated(folder, {})[0] for folder in folders]
    assert not alone[0]["logprob"].equals(alone[1]["logprob"])
    shared = {"scores": str(tmp_path / "scores")}
    for expected, folder in zip(alone, folders, strict=True):
        records, counts = evaluated(folder, shared)
        assert records.equals(expected)
        assert counts["computed"] == counts["asked"] > 0
    for expected, folder in zip(alone, folders, strict=True):
        records, counts = evaluated(folder, shared)
        assert records.equals(expected)
        assert counts["computed"] == 0
