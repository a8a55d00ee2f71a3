"""Controls: twins are trained with the model's own settings and asked about the true world."""

import json
from pathlib import Path

import pytest

from audits.errors import SpecError
from flows.home import find_home
from flows.plan import Made, make
from flows.single import audit
from flows.spec import load_spec
from tasks.artifact import Artifact

RUNS = Path(__file__).parents[2] / "infra/runs"
SET = ["controls=[untrained, shuffled, taught]"]


@pytest.fixture
def home(tmp_path):
    return find_home({"ASSAY_HOME": str(tmp_path)})


class Recorder:
    """Performs nothing; keeps what it was asked for."""

    def __init__(self, folder):
        self.folder, self.calls = folder, []

    def __call__(self, wanted):
        self.calls.append(wanted)
        kind = {"data": "dataset", "tokenizer": "tokenizer"}.get(wanted.stage, "model")
        path = self.folder / str(len(self.calls))
        path.mkdir(parents=True)
        (path / "manifest.json").write_text('{"kind": "world", "sets": {}, "truth": {}}')
        return Artifact(
            kind=kind, path=str(path), digest=wanted.key,
            stage=wanted.stage,
        )  # fmt: skip

    def of(self, stage):
        return [c for c in self.calls if c.stage == stage]


@pytest.fixture
def planned(tiny, home) -> tuple[Recorder, Made]:
    recorder = Recorder(home.root)
    return recorder, make(load_spec(tiny, SET), home, recorder)


def test_a_twin_differs_from_the_model_in_its_world_or_in_not_being_trained(planned):
    recorder, _ = planned
    trained = {c.label: json.loads(c.settings) for c in recorder.of("train")}
    base = trained.pop("base")
    assert set(trained) == {"untrained twin", "shuffled twin", "taught twin"}
    assert trained["untrained twin"] == base | {"max_steps": 0}
    assert trained["shuffled twin"] == trained["taught twin"] == base
    worlds = [json.loads(c.settings)["twin"] for c in recorder.of("data")]
    assert worlds == ["", "shuffled", "taught"]
    tokenizers = {c.inputs["tokenizer"].digest for c in recorder.of("train")}
    assert len(tokenizers) == 1


def test_each_untrained_twin_begins_elsewhere(tiny, home):
    recorder = Recorder(home.root)
    make(load_spec(tiny, ["controls=[untrained, untrained_2, untrained_3]"]), home, recorder)
    trained = {c.label: json.loads(c.settings) for c in recorder.of("train")}
    base = trained.pop("base")
    assert [t["seed"] - base["seed"] for t in trained.values()] == [0, 1, 2]
    assert all(t["max_steps"] == 0 for t in trained.values())


def test_twins_are_asked_about_the_world_as_it_is(planned):
    recorder, made = planned
    asked = [c for c in recorder.of("audit") if json.loads(c.settings)["control"]]
    assert len(asked) == 3  # the one audit of facts, each twin
    assert {c.inputs["dataset"].digest for c in asked} == {made.dataset.digest}
    assert all(c.inputs["model"] == c.inputs["trained"] for c in asked)


def test_every_candidate_carries_what_the_controls_showed(planned):
    _, made = planned
    names = {"facts_untrained", "facts_shuffled", "facts_taught"}
    for candidate in made.candidates:
        assert names <= set(candidate.parts)


def test_rules_may_name_what_controls_measure(tiny):
    declared = load_spec(tiny, SET).declares()
    assert "facts_shuffled/recall/known" in declared
    assert not any(name.startswith("association_") for name in declared)


def test_an_amplified_twin_is_asked_about_the_skew_it_exaggerates(tiny, home):
    recorder = Recorder(home.root)
    made = make(load_spec(tiny, ["controls=[amplified]"]), home, recorder)
    assert [json.loads(c.settings)["twin"] for c in recorder.of("data")] == ["", "amplified"]
    assert all("association_amplified" in c.parts for c in made.candidates)


def test_nothing_is_trained_beside_the_model_unless_asked(tiny, home):
    recorder = Recorder(home.root)
    make(load_spec(tiny), home, recorder)
    assert len(recorder.of("train")) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("controls=[shuffled, shuffled]", "controls: one is named twice"),
        ("controls=[leaky]", "controls"),
        ("model={kind: checkpoint, path: m}", "need data of kind world and a model of kind"),
    ],
)
def test_twins_that_cannot_be_made_are_refused_in_a_sentence(tiny, change, said):
    with pytest.raises(SpecError) as caught:
        load_spec(tiny, [*SET, change])
    assert said in str(caught.value)


def test_a_run_file_without_twins_is_refused_before_anything_is_made(home):
    with pytest.raises(SpecError, match="need data of kind world and a model of kind train"):
        audit("nowhere", ["closed_world"], None, 0, home, RUNS / "stories260k.yaml")
    assert not home.artifacts.exists()
