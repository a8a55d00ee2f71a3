"""One candidate that fails is told as such; the others are finished, and none is made twice."""

import json
import pickle
import traceback
import weakref
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audits.errors import EvidenceError, NoRoom, SpecError, StageError
from flows.failing import Attempts, Broken, Unfinished, Unsound, complain
from flows.home import find_home
from flows.ledger import Ledger
from flows.pipeline import Performer
from flows.plan import find_candidate, make
from flows.spec import load_spec
from tasks import stages
from tasks.artifact import Artifact
from tasks.train import CheckpointSettings

PRUNED = {"kind": "magnitude", "sparsity": 0.5}
TUNED = {"kind": "finetune", "steps": 1}
PACKED = {"kind": "rtn", "bits": 8, "group_size": 32}
LEARNING = {"kind": "distill", "steps": 1}
VARIANTS = {
    "alone": [PACKED],
    "pruned": [PRUNED],
    "tuned": [PRUNED, TUNED],  # its first step is that of `pruned`
    "student": [{**LEARNING, "teachers": ["tuned"]}],
    "file": [PRUNED, TUNED, {**PACKED, "bits": 4}],
}
STEPS = {
    "alone": "compress alone",
    "pruned": "compress pruned",
    "tuned": "compress tuned step 2",
    "student": "compress student",
    "file": "compress file step 3",
}
"""The one step of each variant that no variant before it has made."""
HANGS_ON = {
    "alone": set(), "pruned": set(), "tuned": {"pruned"}, "student": {"pruned", "tuned"},
    "file": {"pruned", "tuned"},
}  # fmt: skip


class Stages:
    """Seals nothing and remembers what it was asked; some calls fail."""

    def __init__(self, errors):
        self.errors, self.tried, self.made = errors, [], {}

    def __call__(self, wanted):
        if wanted.key in self.made:
            return self.made[wanted.key]
        name = f"{wanted.stage} {wanted.label}"
        self.tried.append(name)
        if name in self.errors:
            raise self.errors[name]
        made = Artifact(kind="model", path="/a", digest=wanted.key, stage=wanted.stage)
        return self.made.setdefault(wanted.key, made)


@pytest.fixture(scope="module")
def spec(tiny):
    listed = json.dumps([{"name": n, "steps": s} for n, s in VARIANTS.items()])
    audit = "audits=[{name: facts, kind: closed_world}]"
    return load_spec(tiny, [f"variants={listed}", audit, "evaluate={}"])


@pytest.fixture
def run(spec, tmp_path):
    home = find_home({"ASSAY_HOME": str(tmp_path)})
    return lambda stages: make(spec, home, stages)


def names(candidates):
    return [one.name for one in candidates]


def test_by_hand(run):
    stages = Stages({"compress tuned step 2": StageError("the loss of step 1 is nan")})
    made = run(stages)
    assert names(made.candidates) == ["base", "alone", "pruned"]
    assert {one.name: one.sentence for one in made.failed} == dict.fromkeys(
        ["tuned", "student", "file"],
        "not made: compress tuned step 2 failed: the loss of step 1 is nan",
    )
    assert stages.tried.count("compress tuned step 2") == 1
    with pytest.raises(StageError, match="compress tuned step 2 failed"):
        find_candidate(made, "student")
    with pytest.raises(StageError, match=r"3 candidates failed .*\(tuned, student, file\)"):
        complain({"failed": made.failed})
    complain({"failed": ()})


def test_what_a_run_with_failures_ends_with_is_read_back_from_where_prefect_kept_it(run):
    made = run(Stages({"compress file step 3": RuntimeError("no")}))
    with pytest.raises(Unfinished) as told:
        complain({"promoted": True, "failed": made.failed})
    read = pickle.loads(pickle.dumps(told.value))
    assert str(read) == str(told.value)
    assert read.outcome["promoted"]
    [failed] = read.outcome["failed"]
    assert failed.sentence == "not made: compress file step 3 failed: RuntimeError: no"


@given(broken=st.sets(st.sampled_from(sorted(VARIANTS))))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_all_that_hang_on_no_failure_are_made_and_a_second_run_makes_only_the_rest(run, broken):
    stages = Stages({STEPS[name]: RuntimeError("no") for name in broken})
    made = run(stages)
    lost = {name for name in VARIANTS if {name, *HANGS_ON[name]} & broken}
    assert set(names(made.candidates)) == {"base", *VARIANTS} - lost
    assert set(names(made.failed)) == lost
    assert len(stages.tried) == len(set(stages.tried))
    done = set(stages.tried) - set(stages.errors)
    stages.errors, stages.tried = {}, []
    whole = run(stages)
    assert whole.failed == ()
    assert not set(stages.tried) & done
    assert set(names(whole.candidates)) == {"base", *VARIANTS}


def test_one_that_cannot_be_measured_is_made_and_not_judged(run):
    made = run(Stages({"audit facts of pruned": RuntimeError("index 5 is\nout of bounds")}))
    assert names(made.candidates) == ["base", "alone", "tuned", "student", "file"]
    [failed] = made.failed
    assert failed.sentence == (
        "not measured: audit facts of pruned failed: RuntimeError: index 5 is out of bounds"
    )


class Model:
    """What fills a memory."""


def test_who_comes_next_has_the_memory_of_a_stage_that_failed_and_debug_its_lines():
    held = []

    def computes(model):
        held.append(weakref.ref(model))
        raise RuntimeError("out of memory")

    def stage(wanted):
        model = Model()
        try:
            computes(model)
        except RuntimeError as error:
            raise StageError("it failed") from error

    wanted = stages.call("checkpoint", CheckpointSettings(path="./m"), {}, root=Path("/a"))
    with pytest.raises(Broken) as told:
        Attempts(stage)(wanted)
    assert [one() for one in held] == [None]
    lines = "".join(traceback.format_exception(told.value))
    assert "in computes" in lines
    assert "in stage" in lines


@pytest.mark.parametrize(
    ("stage", "error"),
    [
        ("data world", StageError("no text")),
        ("train base", StageError("nan")),
        ("audit facts of base", RuntimeError("a bug")),
        ("compress pruned", KeyboardInterrupt()),
        ("compress pruned", EvidenceError("its content differs from its sealed digest")),
        ("compress pruned", NoRoom("its disk takes no more")),
        ("compress pruned", Unsound("variants[1].steps[0]: layers: 9 are to be kept")),
    ],
    ids=lambda value: str(value) or "Ctrl-C",
)
def test_what_all_need_ends_the_run_at_once(run, stage, error):
    stages = Stages({stage: error})
    with pytest.raises(type(error)):
        run(stages)
    assert stages.tried[-1] == stage


def test_what_is_wrong_with_the_run_file_is_not_blamed_on_who_would_be_made_first(tmp_path):
    asked = []

    def first():
        asked.append(1)
        raise SpecError("data.sets.calibration: is no text") if asked == [1] else KeyError("x")

    home = find_home({"ASSAY_HOME": str(tmp_path)})
    attempts = Attempts(Performer(home, Ledger(), first))
    wanted = stages.call("checkpoint", CheckpointSettings(path="./m"), {}, root=home.artifacts)
    with pytest.raises(Unsound, match="calibration: is no text") as told:
        attempts(wanted)
    assert told.value.exit_code == 2
    with pytest.raises(Broken, match="KeyError"):
        attempts(wanted)
    other = wanted.model_copy(update={"label": "b", "code": "9"})
    with pytest.raises(Broken, match="KeyError"):  # and not made without having been asked
        attempts(other)


@pytest.fixture(scope="module")
def broken():
    """A variant whose documents are too short for what it is to continue; seen as it runs."""
    how = {"prompt_tokens": 127, "new_tokens": 1}
    step = {**LEARNING, "text": "student", "generation": how, "sequence_length": 128,
            "samples": 2}  # fmt: skip
    variants = [
        {"name": "int8", "steps": [PACKED]},
        {"name": "broken", "steps": [step]},
        {"name": "pupil", "steps": [{**LEARNING, "teachers": ["broken"]}]},
    ]
    return ["--set", f"variants={json.dumps(variants)}"]


def test_a_run_promotes_one_and_says_which_failed(copied, tiny, broken):
    why = (
        "not made: compress broken failed: generation: a step's documents are all shorter than "
        "127 tokens; lower prompt_tokens or raise batch_size"
    )
    said = copied("run", tiny, "--json", *broken)
    assert said.code == 3, said.err
    assert said.err.strip().splitlines()[-1] == (
        "assay: 2 candidates failed and cannot be judged (broken, pupil); run again to try "
        "only what failed"
    )
    assert f"note: broken is {why}" in said.err
    assert "Traceback" not in said.err
    assert said.candidate("int8")["promoted"]
    found = {"rule": "compress broken", "verdict": "inconclusive", "because": why}
    for name in ("broken", "pupil"):
        assert said.candidate(name) == {
            "name": name, "version": None, "verdict": "inconclusive", "promoted": False,
            "findings": [found],
        }  # fmt: skip
    report = (copied.home / "reports/tiny.html").read_text("utf-8")
    assert report.count("not made: compress broken failed: generation: a step") >= 2
    assert copied.versions() == [("tiny", 1), ("tiny", 2)]
    assert [m for (m,) in copied.rows("select value from metrics where key = 'failed'")] == [2]

    again = copied("run", tiny, *broken)
    assert again.code == 3, again.err
    assert "0 stages made" in again.out
    assert "compress broken …" in again.err
    assert "compress pupil …" not in again.err
    shown = [line for line in again.out.splitlines() if "│ pupil" in line]
    assert len(shown) == 1
    assert "? not proven" in shown[0]

    # What alarms somebody about a scheduled run, which is this flow, is its state.
    runs = httpx.post(f"{copied.prefect}/flow_runs/filter", json={}, timeout=10).json()
    ours = [r for r in runs if r["parameters"].get("changes") == broken[1:]]
    assert [r["state_type"] for r in ours] == ["FAILED", "FAILED"]
    assert "2 candidates failed" in ours[0]["state"]["message"]
