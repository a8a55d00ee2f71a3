"""Weights of low rank: the nearest one, and the one that its inputs miss least."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from audits.errors import SpecError
from tasks.artifact import Artifact
from tasks.compress import ActivationSvd, Svd, compress
from tasks.compress.walk import lost_share
from tasks.models.testing import tiny_gpt2


def aware(rank, weight, inputs):
    method = ActivationSvd(rank=rank)
    return method.rewrite(weight, method.observe(method.start(weight), inputs))


def drawn(seed, rows=6, width=8):
    draw = torch.Generator().manual_seed(seed)
    mixed = torch.randn(width, width, generator=draw)
    return torch.randn(rows, width, generator=draw), torch.randn(
        40, width, generator=draw
    ) @ mixed


def test_by_hand():
    weight, inputs = torch.diag(torch.tensor([2.0, 1.0])), torch.diag(torch.tensor([1.0, 4.0]))
    # Singular values 2 and 1: the first row stays. Of the outputs, 2 * 1 and 1 * 4, it is the
    # second.
    assert Svd(rank=1).rewrite(weight, None).tolist() == [[2.0, 0.0], [0.0, 0.0]]
    assert aware(1, weight, inputs).tolist() == [[0.0, 0.0], [0.0, 1.0]]


@given(st.integers(0, 10_000), st.integers(1, 5))
def test_the_aware_one_loses_least_on_its_inputs_and_the_plain_one_in_itself(seed, rank):
    weight, inputs = drawn(seed)
    plain, seeing = Svd(rank=rank).rewrite(weight, None), aware(rank, weight, inputs)
    for new in (plain, seeing):
        assert torch.linalg.matrix_rank(new, rtol=1e-4) == rank
    assert lost_share(weight, seeing, [inputs]) <= lost_share(weight, plain, [inputs]) + 1e-6
    eye = [torch.eye(8)]
    assert lost_share(weight, plain, eye) <= lost_share(weight, seeing, eye) + 1e-6


def test_what_is_lost_is_the_tail_of_the_outputs_spectrum():
    weight, inputs = drawn(5)
    values = torch.linalg.svdvals((inputs @ weight.T).double()).square()
    expected = float(values[3:].sum() / values.sum())
    lost = lost_share(weight, aware(3, weight, inputs), [inputs])
    assert lost == pytest.approx(expected, rel=1e-4)


def test_inputs_without_a_direction_are_no_problem():
    weight, _ = drawn(6)
    inputs = torch.zeros(3, 8)
    inputs[:, 0] = torch.tensor([1.0, 2.0, 3.0])
    assert lost_share(weight, aware(1, weight, inputs), [inputs]) < 1e-10


def test_equal_inputs_make_both_the_same():
    weight, _ = drawn(7)
    same = aware(3, weight, torch.eye(8))
    assert torch.allclose(same, Svd(rank=3).rewrite(weight, None), atol=1e-5)


@pytest.mark.parametrize("method", [Svd, ActivationSvd], ids=lambda m: m.__name__)
def test_only_the_chosen_layers_change_and_no_byte_is_said_to_be_saved(
    method, job, model_folder
):
    compress(method(rank=8, layers="*.mlp.*"), job)
    report = json.loads((job.out / "compression.json").read_text("utf-8"))
    before = AutoModelForCausalLM.from_pretrained(model_folder).state_dict()
    after = AutoModelForCausalLM.from_pretrained(job.out).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"{name}.weight" for name in report["layers"]}
    assert len(changed) == 6
    assert all(".mlp." in name for name in changed)
    assert all(torch.linalg.matrix_rank(after[name], rtol=1e-4) == 8 for name in changed)
    assert all(0 < error < 1 for error in report["reconstruction_error"].values())
    assert "no byte and no time saved" in report["remarks"]["run_time"]
    assert report["remarks"]["weights_as_factors"] == 6 * 8 * (64 + 128)
    sizes = [(f / "model.safetensors").stat().st_size for f in (job.out, model_folder)]
    assert sizes[0] == sizes[1]


def test_weights_that_lie_transposed_are_taken_upright(job, tmp_path):
    folder = tiny_gpt2(tmp_path / "gpt2")
    model = Artifact(kind="model", path=str(folder), digest="g")
    compress(ActivationSvd(rank=8), replace(job, inputs=dict(job.inputs, model=model)))
    errors = json.loads((job.out / "compression.json").read_text("utf-8"))
    assert all(0 < error < 1 for error in errors["reconstruction_error"].values())


@pytest.mark.parametrize("method", [Svd, ActivationSvd], ids=lambda m: m.__name__)
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"rank": 8, "layers": "*.nothing"}, "matches none of the 14 linear layers, which are"),
        ({"rank": 64}, "rank 64: layer .*q_proj has at most rank 64 to begin with"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(method, asked, said, job):
    with pytest.raises(SpecError, match=said):
        compress(method(**asked), job)
    assert list(job.out.iterdir()) == []
