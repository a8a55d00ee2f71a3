"""One command goes from data to a decision, and does nothing twice."""

import pytest

from tasks.artifact import Artifact, Vault

CONTRACT = {
    "run", "spec", "model", "tracking_uri", "report", "stages", "overhead", "candidates",
}  # fmt: skip
STRICT = "policy.rules.0.bound=0.01"


def half_made(cli):
    """Sealed artifacts that are not whole, and content that was left unsealed."""
    vault = Vault(cli.artifacts)
    folders = [f for stage in (cli.artifacts / "sealed").iterdir() for f in stage.iterdir()]
    assert folders
    for folder in folders:
        stored = Artifact.model_validate_json((folder / "artifact.json").read_text())
        vault.facts(stored.model_copy(update={"path": str(folder / "content")}))
        vault.verify(stored.model_copy(update={"path": str(folder / "content")}))
    return [p for p in (cli.artifacts / "work").rglob("*") if p.name == "content"]


def test_the_first_run_promotes_one_candidate_and_refuses_another(first):
    assert first.said.code == 0, first.said.err
    verdicts = {c["name"]: c["verdict"] for c in first.said.document["candidates"]}
    assert verdicts == {"base": "pass", "int8": "pass", "pruned80": "fail"}
    promoted = [c["name"] for c in first.said.document["candidates"] if c["promoted"]]
    assert promoted == ["int8"]  # the smallest of those that pass
    assert first.cli.champion() == [(int(first.said.candidate("int8")["version"]),)]


def test_its_document_has_exactly_the_keys_scripts_rely_on(first):
    document = first.said.document
    assert set(document) == CONTRACT
    assert all(set(s) == {"name", "seconds", "cached"} for s in document["stages"])
    for candidate in document["candidates"]:
        assert set(candidate) == {"name", "version", "verdict", "promoted", "findings"}
        assert all(set(f) == {"rule", "verdict", "because"} for f in candidate["findings"])
        assert candidate["findings"]
    assert (document["run"], document["model"]) == ("tiny", "tiny")
    assert document["tracking_uri"] == f"sqlite:///{first.cli.home}/mlflow.db"


def test_its_report_is_one_file_that_names_every_candidate(first):
    report = first.cli.home / "reports/tiny.html"
    assert first.said.document["report"] == str(report)
    text = report.read_text("utf-8")
    assert all(name in text for name in ("base", "int8", "pruned80"))
    assert "<script src" not in text
    assert "https://cdn" not in text


def test_every_stage_is_made_once_and_whole(first):
    assert half_made(first.cli) == []
    names = [s["name"] for s in first.said.document["stages"]]
    assert len(names) == len(set(names))
    assert first.said.executed() == names


def test_what_it_says_to_people_is_free_of_other_programs_noise(first):
    for noise in ("Traceback", "Warning", "INFO", "ERROR", "ephemeral", "telemetry"):
        assert noise not in first.said.err


def test_the_refusal_is_a_sentence_with_numbers(first):
    (refused,) = [
        f for f in first.said.candidate("pruned80")["findings"] if f["verdict"] == "fail"
    ]
    assert refused["rule"] == "evaluate/bits_per_byte/heldout no worse than parent by 0.01"
    assert "worse than the parent" in refused["because"]
    assert "95 % confidence" in refused["because"]
    assert "may be 0.01 worse" in refused["because"]


@pytest.fixture(scope="module")
def unchanged(first, again, tiny):
    before = (again.versions(), again.champion(), again.rows("select count(*) from runs"))
    said = again("run", tiny, "--json")
    after = (again.versions(), again.champion(), again.rows("select count(*) from runs"))
    return said, before, after


def test_an_unchanged_run_executes_no_stage(unchanged):
    said, _, _ = unchanged
    assert said.code == 0, said.err
    assert said.executed() == []


def test_an_unchanged_run_makes_no_version_and_no_run_and_keeps_its_champion(unchanged):
    said, before, after = unchanged
    assert after == before
    assert said.candidate("int8")["promoted"]


def test_a_cached_stage_keeps_the_seconds_it_took(unchanged, first):
    said, _, _ = unchanged
    assert [s["seconds"] for s in said.document["stages"]] == [
        s["seconds"] for s in first.said.document["stages"]
    ]


def test_a_changed_audit_runs_again_with_the_publishing_and_nothing_else(first, again, tiny):
    before = again.versions()
    said = again("run", tiny, "--json", "--set", "audits.1.balanced=0.2")
    assert said.code == 0, said.err
    candidates = ("base", "int8", "pruned80")
    assert sorted(said.executed()) == sorted(
        [f"audit association of {c}" for c in candidates] + [f"publish {c}" for c in candidates]
    )
    assert again.versions() == before
    assert said.candidate("int8")["version"] == first.said.candidate("int8")["version"]


def test_a_policy_that_nothing_meets_refuses_all_and_leaves_the_champion(first, again, tiny):
    before = again.champion()
    said = again("run", tiny, "--json", "--set", STRICT)
    assert said.code == 1, said.err
    assert not any(c["promoted"] for c in said.document["candidates"])
    for candidate in said.document["candidates"]:
        assert candidate["verdict"] == "fail"
        bound = candidate["findings"][0]
        assert "must be at most 0.01" in bound["because"]
    assert again.champion() == before
    assert [v for v in again.versions() if v[0] == "tiny"] == [
        ("tiny", 1), ("tiny", 2), ("tiny", 3)
    ]  # fmt: skip


def test_two_runs_at_once_share_what_they_make(copied, tiny):
    changes = ["--set", "model.seed=1", "--set", "audits=[]", "--set", "profile.enabled=false"]
    changes += ["--set", "policy.prefer.measure=evaluate/bits_per_byte/heldout"]
    before = copied.sealed("train")
    both = [copied.start("run", tiny, "--json", *changes) for _ in range(2)]
    answers = [process.communicate(timeout=240) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    assert half_made(copied) == []
    assert len(set(copied.sealed("train")) - set(before)) == 1  # both use it
    assert copied.versions() == [("tiny", 1), ("tiny", 2), ("tiny", 3)]
    assert len(copied.sealed("publish")) == 3
