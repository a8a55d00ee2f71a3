"""A run file says everything, and a mistake in it is one sentence with place and remedy."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits.errors import SpecError
from flows.spec import load_spec
from registry.planning import plan
from tasks.data.preview import preview

ROOT = Path(__file__).parents[2]
RUNS = sorted((ROOT / "infra/runs").rglob("*.yaml"))
QUICKSTART = ROOT / "infra/runs/quickstart.yaml"
GOOD = QUICKSTART.read_text("utf-8").replace("../policies", str(ROOT / "infra/policies"))


def write(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return path


def test_there_are_run_files():
    assert len(RUNS) >= 3


@pytest.mark.parametrize("path", RUNS, ids=lambda p: p.name)
def test_every_shipped_run_file_loads_and_loads_equal(path):
    assert load_spec(path).identity == load_spec(path).identity


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seed: 0", "sed: 0", r"sed: unknown key \(did you mean 'seed'\?\)"),
        ("seed: 0", 'seed: "0"', "seed"),
        ("seed: 0", "seed: 0\nseed: 1", "'?seed'? .*twice|seed.*line"),
        ("bits: 8", "bits: eight", "variants"),
        ("kind: gptq, bits: 8", "kind: gptk, bits: 8", r"gptk.*did you mean 'gptq'"),
        ("kind: closed_world", "kind: closedworld", "closedworld.*closed_world"),
        ("- name: int4", "- name: int8", "two variants are called 'int8'"),
        ("- name: int4", "- name: base", "two variants are called 'base'"),
        ("name: calibration, kind", "name: facts, kind", "two audits are called 'facts'"),
        ("sparsity: 0.8", "sparsity: 8", "sparsity"),
        ("default.yaml", "nowhere.yaml", r"nowhere.yaml.*cannot be read"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path, old, new, said):
    assert old in GOOD
    with pytest.raises(SpecError, match=said) as caught:
        load_spec(write(tmp_path, GOOD.replace(old, new, 1)))
    assert str(tmp_path) in str(caught.value) or "nowhere" in str(caught.value)


def test_a_missing_file_is_named():
    with pytest.raises(SpecError, match=r"gone\.yaml"):
        load_spec(Path("gone.yaml"))


@pytest.mark.parametrize("text", ["", "- 1", "just text", "{", "name: [", "\x00"])
def test_what_is_no_mapping_is_refused(tmp_path, text):
    with pytest.raises(SpecError, match=r"run\.yaml"):
        load_spec(write(tmp_path, text))


def test_a_change_reaches_into_lists_and_keeps_its_type():
    spec = load_spec(QUICKSTART, ["variants.0.steps.0.bits=4", "seed=7"])
    assert (spec.variants[0].steps[0].bits, spec.seed) == (4, 7)


@pytest.mark.parametrize("change", ["seed", "variants.9.name=x", "seed=[", "name.x.y=1"])
def test_a_change_to_no_place_is_refused(change):
    with pytest.raises(SpecError, match="--set"):
        load_spec(QUICKSTART, [change])


@given(st.text(max_size=40))
def test_any_text_is_a_run_file_or_a_spec_error(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("fuzz") / "run.yaml"
    path.write_text(text, "utf-8", errors="replace", newline="")
    with pytest.raises(SpecError):
        load_spec(path)


def test_declared_measures_carry_the_names_of_the_run_file():
    declared = load_spec(QUICKSTART).declares()
    assert "facts/recall/known" in declared
    assert "profile/size_bytes" in declared
    assert all(name.count("/") >= 1 for name in declared)


@pytest.mark.parametrize("path", RUNS, ids=lambda p: p.name)
def test_no_shipped_policy_bounds_a_diagnostic_hard(path):
    spec = load_spec(path)
    assert plan(spec.policy, spec.declares(), {}) == ()


def test_the_nursery_has_enough_of_everything_to_ask(monkeypatch):
    monkeypatch.chdir(ROOT)
    spec = load_spec(ROOT / "infra/runs/truth.yaml")
    facts = preview(
        spec.data.model_copy(update={"sets": {"facts": spec.data.sets["facts"]}}), []
    )
    asked = [a for a in spec.audits if a.source == "facts"]
    assert len(asked) == 6
    for audit in asked:
        examples = audit.examples(facts["facts"])
        assert len({e.cluster for e in examples}) >= 100, audit.kind
