"""Every command by itself answers people in words and scripts in JSON."""

import json
import re

import pytest

from tasks.models.folder import weights_digest

NUMBER = {"name", "value", "low", "high", "n", "clusters", "better", "unit", "method"}


@pytest.fixture
def ask(here):
    """Runs a command with `--json` and returns its document."""

    def run(*arguments, code=0):
        got, out, err = here(*arguments, "--json")
        assert got == code, err
        return json.loads(out)

    return run


@pytest.fixture
def base(first):
    (folder,) = (first.cli.artifacts / "sealed/train").glob("*/content")
    return folder


@pytest.fixture
def dataset(first):
    (folder,) = (first.cli.artifacts / "sealed/data").glob("*/content")
    return folder


def test_check_says_what_a_run_will_measure(ask, first, tiny):
    said = ask("check", tiny)
    assert said["spec"] == first.said.document["spec"]
    assert said["candidates"] == ["base", "int8", "pruned80"]
    assert "facts/recall/known" in said["measures"]
    assert said["rules"] == 2


def test_train_finds_the_model_it_has_and_copies_it_out(ask, tiny, tmp_path, base, dataset):
    said = ask("train", tiny, "--out", tmp_path / "model")
    assert said["model"] == str(tmp_path / "model")
    assert said["dataset"] == str(dataset)
    assert weights_digest(tmp_path / "model") == weights_digest(base)


def test_train_does_not_write_over_anything(here, tiny, tmp_path):
    (tmp_path / "model").mkdir()
    code, _, err = here("train", tiny, "--out", tmp_path / "model")
    assert code == 2
    assert "is already there; give a new folder" in err


def test_compress_makes_a_smaller_folder(ask, tmp_path, base):
    method = '{"kind": "rtn", "bits": 8, "group_size": 32}'
    said = ask("compress", base, "--method", method, "--out", tmp_path / "small")
    assert said["model"] == str(tmp_path / "small")
    size = {f: (f / "model.safetensors").stat().st_size for f in (base, tmp_path / "small")}
    assert size[tmp_path / "small"] < size[base]


def test_evaluate_gives_measures_with_intervals(ask, base, dataset):
    said = ask("evaluate", base, "--tasks", "world_choice", "--limit", "20", "--data", dataset)
    (accuracy,) = said["measures"]
    assert set(accuracy) == NUMBER
    assert (accuracy["name"], accuracy["n"], accuracy["better"]) == (
        "evaluate/acc/world_choice", 20, "higher",
    )  # fmt: skip
    assert 0 <= accuracy["low"] <= accuracy["value"] <= accuracy["high"] <= 1


def test_evaluate_shows_people_the_table_of_lm_eval(here, base, dataset):
    code, out, _ = here("evaluate", base, "--tasks", "world_choice", "--limit", "20",
                        "--data", dataset)  # fmt: skip
    assert code == 0
    assert re.search(r"world_choice.*acc", out)


def test_audit_runs_every_kind_it_is_given(ask, base, dataset):
    said = ask("audit", base, "closed_world", "association", "--data", dataset)
    assert [a["part"] for a in said["audits"]] == ["closed_world", "association"]
    assert all(a["measures"] for a in said["audits"])


def test_a_registered_version_is_a_model_like_any_other(ask, first, dataset):
    tasks = ["--tasks", "world_choice", "--limit", "5", "--data", dataset]
    champion = ask("evaluate", "models:/tiny@champion", *tasks)
    number = first.said.candidate("int8")["version"]
    assert ask("evaluate", f"models:/tiny/{number}", *tasks) == champion


def test_altered_weights_of_a_version_are_refused(here, first, base):
    number = first.said.candidate("pruned80")["version"]
    ((run,),) = first.cli.rows(
        f"select run_id from model_versions where name = 'tiny' and version = {number}"
    )
    (weights,) = (first.cli.home / "runs" / run).rglob("model.safetensors")
    kept = weights.read_bytes()
    weights.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    code, out, err = here("profile", f"models:/tiny/{number}")
    weights.write_bytes(kept)
    assert (code, out) == (4, "")
    assert "not the weights of this version" in err


def test_profile_measures_size_speed_and_memory(ask, first, base):
    names = {m["name"]: m for m in ask("profile", base)["measures"]}
    assert names["profile/size_bytes"]["unit"] == "bytes"
    assert names["profile/size_bytes"]["value"] > 0
    assert any("rss" in name for name in names)
    assert any("token" in name for name in names)


def test_report_writes_one_file(ask, first, tmp_path):
    number = first.said.candidate("pruned80")["version"]
    said = ask("report", f"tiny/{number}", "--out", tmp_path / "card.html")
    assert said == {"version": f"tiny/{number}", "report": str(tmp_path / "card.html")}
    text = (tmp_path / "card.html").read_text("utf-8")
    assert "pruned80" in text
    assert "no worse than parent" in text


def test_a_version_is_reproduced_to_the_bit(ask, first):
    number = first.said.candidate("int8")["version"]
    said = ask("reproduce", f"tiny/{number}")
    assert (said["verdict"], said["weights_identical"]) == ("identical", True)
    assert {m["is"] for m in said["measures"]} == {"identical"}
    assert not list(first.cli.home.glob("reproduce-*"))


def test_another_seed_puts_the_noise_of_every_measure_on_record(ask, here, first, tiny):
    number = first.said.candidate("base")["version"]
    said = ask("reproduce", f"tiny/{number}", "--seed", 1)
    assert not said["weights_identical"]
    noise = first.cli.home / "noise/tiny.json"
    held = json.loads(noise.read_text())["evaluate/bits_per_byte/heldout"]
    assert held["value"] > 0
    assert held["origin"] == f"tiny/{number} made again with seed 1"
    margin = f"policy.rules.1.margin={held['value'] / 2}"
    (one,) = [
        o for o in ask("check", tiny, "--set", margin)["outlook"] if o["problem"] == "noise"
    ]
    assert "inside the noise floor" in one["said"]
    code, _, err = here("reproduce", f"tiny/{number}", "--seed", "0")
    assert (code, "trained with seed 0" in err) == (2, True)
    noise.unlink()


def test_check_refuses_a_run_that_could_promote_nothing(ask, here, tiny):
    code, out, _ = here("check", tiny, "--set", "evaluate.limit=1", "--set",
                        "policy.rules.0={kind: at_least, bound: 0.1, "
                        "measure: evaluate/acc/world_choice}")  # fmt: skip
    assert code == 2
    assert "it can promote nothing" in out
    assert "1 item, the rule asks for 30 in 10 clusters" in out


def test_data_list_names_source_revision_licence_and_sum(ask):
    for entry in ask("data", "list")["sets"]:
        assert entry["source"]
        assert entry["revision"]
        assert entry["licence"]
        assert re.fullmatch(r"[0-9a-f]{64}", entry["sha256"])


def test_doctor_says_what_this_machine_can_do(ask, first):
    said = ask("doctor")
    assert said["cores"] >= 1
    assert said["home"] == str(first.cli.home)
    assert None not in said["libraries"].values()
    assert said["notes"] == [note for note in said["notes"] if note.strip()]


def test_policy_lint_judges_a_policy_alone_and_against_a_run(ask, here, tmp_path, tiny):
    policy = tmp_path / "policy.yaml"
    policy.write_text("name: p\nrules: [{kind: at_least, measure: facts/recal, bound: 0.5}]\n")
    assert ask("policy", "lint", policy)["problems"] == []
    (problem,) = ask("policy", "lint", policy, "--spec", tiny, code=2)["problems"]
    assert "no stage of this run measures 'facts/recal'" in problem
    code, out, _ = here("policy", "lint", policy, "--spec", tiny)
    assert (code, out.strip()) == (2, problem)
