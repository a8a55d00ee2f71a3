"""What decides whether a stage runs again, and what a failing one leaves."""

import json
import sys
from types import ModuleType

import pytest

from audits.association import Association
from audits.closed_world import ClosedWorld
from audits.errors import StageError
from flows.ledger import Entry, Ledger
from tasks import stages
from tasks.artifact import Artifact, Vault
from tasks.audit import AuditRun
from tasks.profile import ProfileSettings
from tasks.stages import TABLE, Row, call, perform
from tasks.train import CheckpointSettings, TokenizerSettings

DATASET = Artifact(kind="dataset", path="/a", digest="d" * 64)
CALLS = []


def writes(settings, job):
    """A stage that can be told to fail, and counts how often it is run."""
    CALLS.append(settings)
    (job.scratch / "checkpoint").write_text("step 5")
    if settings.path == "fails":
        (job.out / "half").write_text("half")
        raise StageError("checkpoint: it failed; try again")
    if settings.path != "nothing":
        (job.out / "model").write_text(settings.path)
        job.note("seen", "yes")


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Performs a call of a stage of our own, under the name of one in the table."""
    monkeypatch.setitem(
        TABLE, "checkpoint",
        Row("model", "own_stage:writes", "tasks.train:CheckpointSettings", 1, metered=False),
    )  # fmt: skip
    module = ModuleType("own_stage")
    module.writes = writes
    monkeypatch.setitem(sys.modules, "own_stage", module)
    CALLS.clear()
    return lambda path: perform(
        call("checkpoint", CheckpointSettings(path=path), {}, root=tmp_path)
    )


def key(settings=TokenizerSettings(), stage="tokenizer", inputs=None, **more):  # noqa: B008
    given = {"dataset": DATASET} if inputs is None else inputs
    return call(stage, settings, given, root="/r", **more).key


def test_what_changes_the_result_changes_the_key():
    other = DATASET.model_copy(update={"digest": "e" * 64})
    keys = [
        key(),
        key(TokenizerSettings(vocab_size=300)),
        key(inputs={"dataset": other}),
        key(inputs={"data": DATASET}),
        key(sources={"file": "1"}),
        key(stage="train"),
    ]
    assert len(set(keys)) == len(keys)


def test_what_does_not_change_the_result_does_not_change_the_key():
    elsewhere = DATASET.model_copy(update={"path": "/b"})
    assert key() == key(label="x", context={"run": "1"}) == key(inputs={"dataset": elsewhere})
    assert key() == call("tokenizer", TokenizerSettings(), {"dataset": DATASET}, root="/q").key


def test_a_gpu_has_keys_of_its_own_for_what_runs_a_network():
    scored = AuditRun(audit=ClosedWorld())
    assert key(scored, "audit", device="cuda") != key(scored, "audit", device="cpu")
    assert key(device="cuda") == key(device="cpu")
    on_gpu = {name for name, row in TABLE.items() if row.on_device}
    assert on_gpu == {"compress", "evaluate", "audit"}


def test_a_new_library_or_stage_version_changes_the_key(monkeypatch):
    before = key()
    monkeypatch.setattr(stages.metadata, "version", lambda name: "99")
    assert key() != before
    monkeypatch.undo()
    row = TABLE["tokenizer"]
    monkeypatch.setitem(
        TABLE, "tokenizer", Row(row.makes, row.run, row.settings, 2, row.libraries)
    )
    assert key() != before


def test_a_new_version_of_an_audit_changes_that_audit_alone(monkeypatch):
    def keys():
        return [key(AuditRun(audit=a), "audit") for a in (Association(), ClosedWorld())]

    before = keys()
    monkeypatch.setattr(Association, "version", Association.version + 1)
    after = keys()
    assert (before[0] == after[0], before[1] == after[1]) == (False, True)


def test_every_stage_names_code_and_settings_that_exist():
    for name, row in TABLE.items():
        assert callable(stages._load(row.run)), name
        assert stages._load(row.settings) is not None, name


def test_a_stage_is_made_once(run, tmp_path):
    made = run("a")
    assert run("a") == made
    assert len(CALLS) == 1
    assert (made.folder / "model").read_text() == "a"
    facts = Vault(tmp_path).facts(made)
    assert facts["seen"] == "yes"
    assert facts["seconds"] >= 0
    assert [p.name for p in (tmp_path / "work").iterdir() if p.is_dir()] == []


def test_a_stage_that_writes_nothing_fails(run, tmp_path):
    with pytest.raises(StageError, match="wrote nothing"):
        run("nothing")
    assert not (tmp_path / "sealed").exists()


def test_a_failing_stage_keeps_its_checkpoint_and_nothing_half_made(run, tmp_path):
    with pytest.raises(StageError, match="it failed"):
        run("fails")
    (work,) = [p for p in (tmp_path / "work").iterdir() if p.is_dir()]
    assert (work / "scratch/checkpoint").read_text() == "step 5"
    assert not (work / "content").exists()
    assert not (tmp_path / "sealed").exists()


def test_a_metered_stage_carries_its_energy_card(run, monkeypatch, tmp_path):
    monkeypatch.setitem(
        TABLE, "checkpoint",
        Row("model", "own_stage:writes", "tasks.train:CheckpointSettings", 1, metered=True),
    )  # fmt: skip
    energy = Vault(tmp_path).facts(run("a"))["energy"]
    assert energy["status"] in {"measured", "estimated", "mixed", "none"}


def entry(ledger, *, cached, seconds, elapsed, stage="profile", measuring=0.0):
    wanted = call(stage, ProfileSettings(), {}, root="/r", label="base")
    facts = {"seconds": seconds, "energy": {"energy_j": 3.0}, "seconds_measuring": measuring}
    ledger.add(Entry.of(wanted, DATASET, facts, cached=cached, elapsed=elapsed))
    return ledger.entries[-1]


def test_a_ledger_tells_what_was_made_from_what_was_found():
    ledger = Ledger()
    made = entry(ledger, cached=False, seconds=2.0, elapsed=2.5)
    found = entry(ledger, cached=True, seconds=9.0, elapsed=0.1)
    assert ledger.executed == (made,)
    assert (found.name, found.seconds) == ("profile base", 9.0)  # as when it was made
    assert found.settings == json.loads(ProfileSettings().model_dump_json())
    assert found.energy == {"energy_j": 3.0}


def test_overhead_is_what_the_stages_did_not_use():
    ledger = Ledger()
    ledger.began -= 10  # as if ten seconds had passed
    entry(ledger, cached=False, seconds=2.0, elapsed=2.5)  # 0.5 s of ours
    entry(ledger, cached=True, seconds=9.0, elapsed=0.25)  # all of it ours
    # a publication is counted below, but for the statistics that it computed
    entry(ledger, cached=False, seconds=1.0, elapsed=1.0, stage="publish", measuring=0.5)
    entry(ledger, cached=True, seconds=1.0, elapsed=0.0, stage="publish", measuring=9.0)
    ledger.spent["publish"] = 0.75
    cost = ledger.overhead()
    assert cost["prefect_and_hashing_s"] == 0.75
    assert cost["mlflow_s"] == 0.25
    assert cost["share"] == pytest.approx(0.1, abs=0.005)  # (0.5 + 0.25 + 0.25) / 10


def test_time_on_records_adds_up_even_when_it_fails():
    ledger = Ledger()
    with ledger.records("publish"):
        pass
    first = ledger.spent["publish"]
    with pytest.raises(ValueError, match="no"), ledger.records("publish"):
        raise ValueError("no")
    assert ledger.spent["publish"] > first
