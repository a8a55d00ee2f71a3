"""What a step will do to a model is told by shapes: as the step itself would tell it."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audits.errors import SpecError
from tasks.artifact import Artifact
from tasks.compress import (
    Awq,
    Depth,
    Distill,
    Gptq,
    Magnitude,
    Rtn,
    SmoothQuant,
    SparseGpt,
    Student,
    Svd,
    Wanda,
    Width,
    compress,
)
from tasks.compress.rehearse import Rehearsal
from tasks.models.outline import outline, probe, write_outline
from tasks.models.stored import tensors
from tasks.models.testing import (
    CORPUS,
    tiny_gpt2,
    tiny_llama,
    tiny_mamba2,
    tiny_neox,
    tiny_qwen,
    tiny_rwkv,
)

TEXTS = CORPUS * 4
SHORT = {"sequence_length": 16, "samples": 4}


def shapes(folder):
    """By tensor of the file of weights, its shape."""
    return {name: shape for name, _, shape in tensors(folder / "model.safetensors")}


def words(act):
    """The sentence of a refusal without torch's own words, which stand in brackets."""
    try:
        act()
    except SpecError as error:
        return str(error).partition(" (")[0]
    return ""


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    made = {"llama": tiny_llama, "gpt2": tiny_gpt2, "neox": tiny_neox, "qwen": tiny_qwen}
    return {n: make(tmp_path_factory.mktemp("f") / n) for n, make in made.items()}


@pytest.fixture
def rehearse(tmp_path):
    """Rehearses one step; the folder that it leaves."""

    def step(method, model, teachers=(), out="out"):
        told = Rehearsal(TEXTS, bytewise=False).step(method, model, teachers, tmp_path / out)
        assert told == ""
        return tmp_path / out

    return step


@pytest.mark.parametrize("family", ["llama", "gpt2", "neox", "qwen"])
def test_an_outline_has_the_shapes_of_the_file_and_is_read_again(families, family, tmp_path):
    write_outline(outline(families[family]), tmp_path)
    assert shapes(tmp_path) == shapes(families[family])
    again = outline(tmp_path)
    assert all(weight.device.type == "meta" for weight in again.parameters())
    assert probe(again) is not None


def test_a_chain_is_rehearsed_on_what_each_step_will_leave(families, rehearse):
    # 128 neurons of which 96 stay, 2 of 4 heads of 16: queries are (32, 64), keys (16, 64)
    smaller = rehearse(Width(feed_forward=96, heads=2, **SHORT), families["llama"], out="1")
    found = shapes(smaller)
    assert found["model.layers.0.mlp.down_proj.weight"] == (64, 96)
    assert found["model.layers.1.self_attn.q_proj.weight"] == (32, 64)
    assert found["model.layers.1.self_attn.k_proj.weight"] == (16, 64)
    rehearse(Gptq(bits=4, group_size=32, **SHORT), smaller, out="2")
    with pytest.raises(SpecError, match="group_size 64 does not divide the width 32 of layer"):
        rehearse(Gptq(bits=4, group_size=64, **SHORT), smaller, out="3")


SHAPES = st.one_of(
    st.builds(
        Width, feed_forward=st.integers(90, 140), heads=st.none() | st.integers(1, 5),
        samples=st.just(2), sequence_length=st.sampled_from([16, 4096]),
    ),
    st.builds(Depth, layers=st.integers(1, 4), samples=st.just(2), sequence_length=st.just(16)),
    st.builds(
        Svd, rank=st.integers(1, 70), layers=st.sampled_from(["*", "*mlp*", "*.nothing"])
    ),
    st.builds(
        Student,
        config=st.fixed_dictionaries(
            {"hidden_size": st.sampled_from([30, 32, 48])},
            optional={"num_attention_heads": st.integers(1, 4), "nothing": st.just(1)},
        ),
    ),
    st.builds(Rtn, bits=st.just(8), group_size=st.sampled_from([16, 48, 128, None])),
    st.builds(Magnitude, sparsity=st.just(0.5), pattern=st.just("2:4")),
)  # fmt: skip


@given(family=st.sampled_from(["llama", "gpt2", "neox", "qwen"]), method=SHAPES)
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_rehearsal_refuses_what_the_step_refuses_and_leaves_its_shapes(
    families, job, family, method
):
    model = families[family]
    with tempfile.TemporaryDirectory() as aside:
        told, made = Path(aside) / "told", Path(aside) / "made"
        made.mkdir()
        artifact = Artifact(kind="model", path=str(model), digest=family)
        real = replace(job, out=made, inputs=dict(job.inputs, model=artifact))
        said = words(lambda: Rehearsal(TEXTS, bytewise=False).step(method, model, (), told))
        assert said == words(lambda: compress(method, real))
        if not said and not getattr(method, "ends", ""):
            assert shapes(told) == shapes(made)


@pytest.mark.parametrize(
    ("family", "method", "said"),
    [
        ("neox", Awq(bits=8, group_size=16, **SHORT), "does not know between which layers"),
        ("neox", SmoothQuant(**SHORT), "does not know between which layers"),
        ("gpt2", Rtn(bits=8, group_size=16), "has no linear layers that can be compressed"),
        ("gpt2", Width(heads=2, **SHORT), "has no attention heads that can be told apart"),
        ("llama", Wanda(sparsity=0.5, sequence_length=4096), "less than one sequence of 4096"),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_a_family_that_a_method_cannot_handle_is_named(
    families, rehearse, family, method, said
):
    with pytest.raises(SpecError, match=said):
        rehearse(method, families[family])


def test_teachers_are_compared_by_what_they_will_be(families, rehearse):
    few = rehearse(Width(heads=2, **SHORT), families["llama"], out="few")
    listening = Distill(steps=1, attention=1, teachers=("base",), **SHORT)
    with pytest.raises(SpecError, match="the student has 2 heads and its teacher 4"):
        rehearse(listening, few, [families["llama"]])
    rehearse(listening, few, [few])


@pytest.mark.parametrize("make", [tiny_mamba2, tiny_rwkv], ids=lambda make: make.__name__)
def test_a_family_that_cannot_run_without_weights_is_left_to_the_step(make, rehearse, tmp_path):
    model = make(tmp_path / "m")
    rehearse(SparseGpt(sparsity=0.5, **SHORT), model)


@pytest.mark.parametrize("error", [RuntimeError, ValueError, KeyError])
def test_a_library_that_fails_on_an_outline_tells_nothing_and_leaves_nothing(
    families, error, tmp_path
):
    class Odd(Magnitude):
        def outline(self, source, model):
            (tmp_path / "out").mkdir()
            raise error("of a library")

    told = Rehearsal(TEXTS, bytewise=False).step(
        Odd(sparsity=0.5), families["llama"], (), tmp_path / "out"
    )
    assert told is None
    assert not (tmp_path / "out").exists()
