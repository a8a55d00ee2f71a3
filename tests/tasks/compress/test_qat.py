"""Training on rounded weights."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from audits.errors import SpecError
from tasks.artifact import Artifact, fingerprint
from tasks.compress import FineTune, Magnitude, Qat, Rtn, compress
from tasks.compress.folder import linear_layers
from tasks.compress.qat import rounded, rounded_loss
from tasks.compress.scheme import Scheme
from tasks.compress.training import loss_of
from tasks.models.testing import tiny_tokenizer

HOW = {"steps": 12, "learning_rate": 3e-3, "batch_size": 4, "sequence_length": 32}
TWO = {"bits": 2, "group_size": 32}


def documents(n=4):
    rows = [tiny_tokenizer()(text).input_ids for text in ("The baker sells bread.",) * n]
    return [{"input_ids": torch.tensor([row])} for row in rows]


def unpacked(folder):
    model = AutoModelForCausalLM.from_pretrained(folder)
    loss = loss_of(model, documents())
    return model, loss.item()


def of(job, folder, out):
    out.mkdir()
    model = Artifact(kind="model", path=str(folder), digest=out.name)
    return replace(job, inputs=dict(job.inputs, model=model), out=out)


def test_two_bits_are_four_levels_of_which_one_is_zero():
    # the step is 1 / 1.5, levels -2, -1, 0, 1: of 1.5, -0.6, 0.15 and 0.9 steps, 1.5 is
    # past the last level and the others round
    weight = torch.tensor([[1.0, -0.4, 0.1, 0.6]])
    found = rounded(weight, Scheme(2, None))
    assert torch.allclose(found, torch.tensor([[2 / 3, -2 / 3, 0.0, 2 / 3]]))


@given(st.lists(st.floats(-8, 8, width=32), min_size=8, max_size=8), st.booleans())
def test_rounding_moves_a_weight_by_less_than_a_step_and_keeps_zeros(values, symmetric):
    weight = torch.tensor([values])
    found = rounded(weight, Scheme(4, 4, symmetric=symmetric))
    step = weight.abs().max() * 2 / 15
    assert float((found - weight).abs().max()) <= float(step) * 1.01
    assert bool((found[weight == 0] == 0).all())


@pytest.mark.parametrize("symmetric", [True, False])
def test_what_is_trained_is_what_is_written(symmetric, job, model_folder):
    compress(Rtn(bits=3, group_size=32, symmetric=symmetric), job)
    before = AutoModelForCausalLM.from_pretrained(model_folder)
    scheme = Scheme(3, 32, symmetric=symmetric)
    written, loss = unpacked(job.out)
    layers = linear_layers(before)
    assert rounded_loss(before, layers, scheme, documents()).item() == pytest.approx(loss)
    for name, layer in layers.items():
        assert torch.equal(rounded(layer.weight, scheme), written.get_submodule(name).weight)


def test_gradients_pass_through_rounding(model_folder):
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    layers, scheme = linear_layers(model), Scheme(4, 32)
    rounded_loss(model, layers, scheme, documents()).backward()
    through = {name: layer.weight.grad for name, layer in layers.items()}
    model.zero_grad()
    for layer in layers.values():
        layer.weight.data = rounded(layer.weight, scheme)
    loss_of(model, documents()).backward()
    for name, layer in layers.items():
        assert torch.allclose(through[name], layer.weight.grad, atol=1e-6)


def test_training_on_rounded_weights_beats_as_many_steps_before_rounding(job, tmp_path):
    compress(Qat(**TWO, **HOW), job)
    plain = replace(job, out=tmp_path / "plain")
    plain.out.mkdir()
    compress(FineTune(**HOW), plain)
    after = of(job, plain.out, tmp_path / "after")
    compress(Rtn(**TWO), after)
    sizes = [(f / "model.safetensors").stat().st_size for f in (job.out, after.out)]
    assert sizes[0] == sizes[1]
    assert unpacked(job.out)[1] < unpacked(after.out)[1]
    found = json.loads((job.out / "compression.json").read_text("utf-8"))["remarks"]
    assert found["loss_last"] < found["loss_first"]


def test_zeros_stay_and_equal_settings_give_equal_files(job, tmp_path):
    compress(Magnitude(sparsity=0.5, pattern="2:4"), job)
    once, again = (of(job, job.out, tmp_path / name) for name in ("once", "again"))
    for each in (once, again):
        compress(Qat(bits=4, group_size=32, **(HOW | {"steps": 2})), each)
    assert fingerprint(once.out) == fingerprint(again.out)
    pruned, _ = unpacked(job.out)
    packed, _ = unpacked(once.out)
    for name, layer in linear_layers(pruned).items():
        weight = packed.get_submodule(name).weight
        assert bool((weight[layer.weight == 0] == 0).all())


def test_groups_are_looked_at_before_training(job):
    with pytest.raises(SpecError, match="group_size 48 does not divide the width 64"):
        compress(Qat(bits=4, group_size=48, **HOW), job)
    assert not any(job.out.iterdir())
