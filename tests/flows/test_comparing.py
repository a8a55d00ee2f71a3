"""Compare two models from the command line, and ask them anew or not."""

import json
import sqlite3

import pytest

from flows.home import Home
from flows.plan import make
from flows.spec import load_spec
from tasks.artifact import Artifact
from tasks.models.testing import tiny_gpt2, tiny_llama

TEXT = "\n\n".join(
    f"The baker of Ulvara sells bread {n}.\nShe lives in the old town." for n in range(12)
)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    home = tmp_path_factory.mktemp("models")
    return {
        "base": tiny_llama(home / "base"),
        "variant": tiny_llama(home / "variant", seed=1),
        "foreign": tiny_gpt2(home / "foreign", vocab=310),
        "bos": tiny_llama(home / "bos", add_bos=True),
    }


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    file = tmp_path_factory.mktemp("text") / "held.txt"
    file.write_text(TEXT, "utf-8")
    return file


@pytest.fixture
def dataset(first):
    (folder,) = (first.cli.artifacts / "sealed/data").glob("*/content")
    return folder


@pytest.fixture
def small(first):
    """The base of the first run and its variant with weights in 8 bits."""
    (base,) = (first.cli.artifacts / "sealed/train").glob("*/content")
    found = {}
    for facts in (first.cli.artifacts / "sealed/compress").glob("*/stage.json"):
        method = json.loads(json.loads(facts.read_text("utf-8"))["settings"])
        found[method["kind"]] = facts.parent / "content"
    return base, found["rtn"], found["magnitude"]


@pytest.fixture
def fresh(here, tmp_path, monkeypatch):
    """The command line in this process over an empty home."""
    monkeypatch.setenv("ASSAY_HOME", str(tmp_path / "home"))
    return here


def kept(home):
    with sqlite3.connect(home / "scores" / "scores-1.sqlite") as database:
        [[n]] = database.execute("select count(*) from answer")
    return n


def values(figures):
    return {f["name"]: f["value"] for f in figures}


def test_a_variant_of_a_run_is_compared_on_its_held_out_text_and_on_tasks(
    small, dataset, ask_json
):
    base, int8, pruned = small
    asked = ["--data", dataset, "--tasks", "world_choice", "--limit", "40",
             "--audits", "closed_world,association"]  # fmt: skip
    near, far = (ask_json("compare", base, other, *asked) for other in (int8, pruned))
    for said in (near, far):
        assert said["text"]["documents"] == 40
        assert said["text"]["source"].startswith("heldout of")
        assert [t["task"] for t in said["tasks"]] == ["world_choice"]
        (task,) = said["tasks"]
        assert 20 <= task["n"] <= 40
        gained, lost = task["counts"]["gained"], task["counts"]["lost"]
        change = (gained - lost) / task["n"]
        assert values(task["figures"])["accuracy_change"] == pytest.approx(change)
        assert len(task["changed"]) == task["counts"]["changed"]
        facts, association = said["audits"]
        assert facts["metric"] == "correct"
        assert facts["n"] > task["n"]
        assert len(facts["changed"]) == facts["counts"]["changed"]
        assert all(isinstance(e["base"], str) for e in facts["changed"])
        moved = {c["measure"]: c for c in association["changes"]}
        assert moved["deviation"]["low"] <= moved["deviation"]["value"]
        assert [m["group"] for m in moved["deviation"].get("groups", ())] in (
            [], ["balanced", "female_leaning", "male_leaning"],
        )  # fmt: skip
    kl = [values(said["text"]["figures"])["kl"] for said in (near, far)]
    assert 0 < kl[0] < kl[1], "eighty percent of the weights gone is more than rounding"


def test_a_model_compared_with_itself_has_not_changed(models, text, fresh):
    code, out, err = fresh("compare", models["base"], models["base"], "--text", text, "--json")
    assert code == 0, err
    said = json.loads(out)
    assert values(said["text"]["figures"]) == pytest.approx(
        {
            "kl": 0, "same_top": 1, "delta_p": 0, "rms_delta_p": 0, "ln_ppl_ratio": 0,
            "ppl_base": values(said["text"]["figures"])["ppl_variant"],
            "ppl_variant": values(said["text"]["figures"])["ppl_base"],
        }
    )  # fmt: skip
    assert said["text"]["documents"] == 12
    assert set(said["text"]["kl"]) == {
        "min", "0.5", "0.9", "0.95", "0.99", "0.999", "max",
    }  # fmt: skip
    assert said["base"]["conditions"]["dtype"] == "float32"


def test_people_read_a_table_and_what_is_only_screening(models, text, fresh):
    code, out, err = fresh("compare", models["base"], models["variant"], "--text", text)
    assert code == 0, err
    for words in (
        "mean KL(base‖variant)",
        "same top token",
        "RMS Δp",
        "ln PPL ratio",
        "99.9 %",
    ):
        assert words in out
    assert "for screening" in out
    assert "12 clusters" in out


def test_jsonl_is_text_too_and_a_row_without_one_is_named(models, tmp_path, fresh):
    rows = [{"id": "a", "text": "The baker."}, {"id": "b", "text": "Bread."}]
    file = tmp_path / "held.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    pair = (models["base"], models["variant"])
    code, out, err = fresh("compare", *pair, "--text", file, "--json")
    assert code == 0, err
    assert json.loads(out)["text"]["documents"] == 2
    file.write_text('{"id": "a"}\n', "utf-8")
    code, _, err = fresh("compare", *pair, "--text", file)
    assert (code, "row 'a' has no 'text'" in err) == (2, True)


@pytest.mark.parametrize(
    ("other", "why"), [("foreign", "tokenizers differ"), ("bos", "do not begin a text alike")]
)
def test_other_tokens_have_no_divergence_but_the_tasks_are_compared(
    models, text, dataset, fresh, other, why
):
    pair = (models["base"], models[other])
    code, out, err = fresh("compare", *pair, "--text", text)
    assert (code, out) == (2, "")
    assert why in err
    more = ["--tasks", "world_choice", "--limit", "10", "--data", dataset]
    code, out, err = fresh("compare", *pair, "--text", text, *more, "--json")
    assert code == 0, err
    said = json.loads(out)
    assert why in said["text"]["absent"]
    assert said["tasks"][0]["n"] == 10


def test_nothing_to_compare_on_is_said(models, fresh):
    code, _, err = fresh("compare", models["base"], models["variant"])
    assert code == 2
    assert "give --text FILE, --tasks A,B, --audits A,B" in err


def test_a_task_that_does_not_exist_is_said_in_one_sentence(models, text, dataset, fresh):
    code, _, err = fresh(
        "compare", models["base"], models["variant"], "--tasks", "world_choicee",
        "--data", dataset,
    )  # fmt: skip
    assert code == 2
    assert "there is no task 'world_choicee'" in err


def test_what_one_task_asked_another_run_need_not_compute(models, dataset, fresh, tmp_path):
    """More examples of a task are another stage, whose first questions are known."""
    home = tmp_path / "home"
    asked = ["evaluate", models["base"], "--tasks", "world_choice", "--data", dataset]
    assert fresh(*asked, "--limit", "5")[0] == 0
    before = kept(home)
    assert before > 0
    assert fresh(*asked, "--limit", "8")[0] == 0
    counts = [
        json.loads(file.read_text("utf-8"))["scores"]
        for file in (home / "artifacts/sealed/evaluate").glob("*/stage.json")
    ]
    more, fewer = sorted(counts, key=lambda c: -c["asked"])
    assert fewer == {"asked": before, "computed": before}
    assert more["computed"] == more["asked"] - before
    assert kept(home) == more["asked"]


def test_without_the_cache_nothing_is_read_or_kept_and_the_stage_is_executed_again(
    models, dataset, fresh, tmp_path
):
    home = tmp_path / "home"
    asked = ["evaluate", models["base"], "--tasks", "world_choice", "--limit", "5",
             "--data", dataset, "--json"]  # fmt: skip
    first, again = (json.loads(fresh(*asked)[1]) for _ in range(2))
    assert first["records"] == again["records"], "the sealed stage is found"
    before = kept(home)
    anew = json.loads(fresh(*asked, "--no-cache")[1])
    assert anew["records"] != first["records"]
    assert anew["measures"] == first["measures"]
    assert kept(home) == before
    (facts,) = (home / "artifacts").glob("again-*/sealed/evaluate/*/stage.json")
    counts = json.loads(facts.read_text("utf-8"))["scores"]
    assert counts["computed"] == counts["asked"] > 0


def test_audits_and_comparisons_do_without_the_cache_as_well(models, dataset, fresh, tmp_path):
    home = tmp_path / "home"
    code, _, err = fresh(
        "audit", models["base"], "association", "--data", dataset, "--no-cache"
    )
    assert code == 0, err
    code, _, err = fresh(
        "compare", models["base"], models["variant"], "--tasks", "world_choice",
        "--limit", "5", "--data", dataset, "--no-cache",
    )  # fmt: skip
    assert code == 0, err
    assert not (home / "scores").exists()
    assert len(list((home / "artifacts").glob("again-*"))) == 3


def test_a_run_keeps_its_answers(first):
    assert kept(first.cli.home) > 0


@pytest.mark.parametrize("keeps", [True, False])
def test_every_stage_of_a_run_that_asks_a_model_is_told_of_the_cache_or_not(
    tiny, first, tmp_path, keeps
):
    home = Home(tmp_path, (), "", keeps_scores=keeps)
    [made] = (first.cli.artifacts / "sealed/data").glob("*/content")
    calls = []

    def perform(wanted):
        calls.append(wanted)
        return Artifact(kind="part", path=str(made), digest=wanted.key, stage=wanted.stage)

    make(load_spec(tiny, []), home, perform)
    asking = [c for c in calls if c.stage in ("evaluate", "audit")]
    assert len(asking) == 3 * 3, "one evaluation and two audits of each of three candidates"
    told = {"scores": str(tmp_path / "scores")} if keeps else {}
    assert all(c.context == told for c in asking)
    assert not any("scores" in c.context for c in calls if c not in asking)
