"""Adapters that are trained beside the weights, and nothing after."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from tasks.compress import Distill, Magnitude
from tasks.compress.adapter import Adapter, adapt, merge
from tasks.compress.blocks import linears_of, weight_of
from tasks.compress.folder import Source
from tasks.models.testing import CORPUS, tiny_gpt2, tiny_llama

IDS = torch.arange(5, 25)[None]


@pytest.mark.parametrize("family", [tiny_llama, tiny_gpt2])
def test_a_merged_adapter_equals_the_unmerged(tmp_path, family):
    model = AutoModelForCausalLM.from_pretrained(family(tmp_path / "m")).eval()
    names = set(model.state_dict())
    with torch.no_grad():
        whole = model(IDS).logits
        factors = adapt(model, Adapter(rank=3), keep_zeros=True, seed=0)
        assert torch.equal(model(IDS).logits, whole)  # B is zero at first
        for factor in factors:
            factor += 0.05 * torch.randn(
                factor.shape, generator=torch.Generator().manual_seed(1)
            )
        unmerged = model(IDS).logits
        merge(model)
        assert torch.equal(model(IDS).logits, unmerged)
    assert not torch.allclose(unmerged, whole, atol=1e-2)
    assert set(model.state_dict()) == names


def test_the_sum_by_hand(tmp_path):
    model = AutoModelForCausalLM.from_pretrained(tiny_llama(tmp_path / "m"))
    before = {name: weight_of(layer).clone() for name, layer in linears_of(model).items()}
    with torch.no_grad():
        before_first = next(iter(before))
        weight_of(linears_of(model)[before_first])[0, 0] = 0.0
        factors = adapt(model, Adapter(rank=2, alpha=6.0), keep_zeros=True, seed=0)
        for factor in factors:
            factor.fill_(0.5)
    merge(model)
    after = {name: weight_of(layer) for name, layer in linears_of(model).items()}
    for name, weight in before.items():
        expected = weight + 3 * (2 * 0.25)  # alpha / rank = 3, each entry of B A is 2 · 0.25
        if name == before_first:
            expected[0, 0] = 0.0
        assert torch.allclose(after[name], expected, atol=1e-5)


def test_distilling_by_adapters_moves_linear_layers_alone_and_keeps_zeros(tmp_path):
    teacher = tiny_llama(tmp_path / "teacher")
    for name in ("sparse", "made"):
        (tmp_path / name).mkdir()
    Magnitude(sparsity=0.5).apply(Source(teacher, (), tmp_path / "sparse"))
    source = Source(tmp_path / "sparse", CORPUS * 2, tmp_path / "made", (teacher,))
    Source(teacher, (), tmp_path / "sparse").copy_rest()
    method = Distill(steps=3, learning_rate=1e-2, sequence_length=32, adapter=Adapter(rank=4))
    said = method.handed(["t"]).apply(source).remarks
    before, after = (
        AutoModelForCausalLM.from_pretrained(tmp_path / name).state_dict()
        for name in ("sparse", "made")
    )
    assert set(before) == set(after)
    for name in before:
        assert torch.equal(before[name], after[name]) == ("_proj" not in name)
        if "_proj" in name:
            assert torch.equal(before[name] == 0, after[name] == 0)
    assert said["loss_last"] < said["loss_first"]
    # rank 4 beside q, k, v, o and gate, up, down of 2 layers of width 64 (keys: 32, inner: 128)
    assert said["adapter_parameters"] == 2 * 4 * (128 + 96 + 96 + 128 + 3 * 192)
