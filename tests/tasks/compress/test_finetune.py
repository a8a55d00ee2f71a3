"""Training a compressed model further: what was pruned stays pruned, and the loss falls."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from audits.errors import StageError
from tasks.artifact import Artifact, fingerprint
from tasks.compress import FineTune, Wanda, compress
from tasks.compress.training import batched, loss_of
from tasks.models.testing import tiny_gpt2


@pytest.fixture(scope="module")
def pruned(tmp_path_factory, model_folder, dataset_folder):
    """The tiny model with two zeros in every four."""
    from tasks.job import Job

    folder = tmp_path_factory.mktemp("pruned")
    inputs = {
        "model": Artifact(kind="model", path=str(model_folder), digest="m"),
        "dataset": Artifact(kind="dataset", path=str(dataset_folder), digest="d"),
    }
    job = Job(folder, folder, inputs, {}.__setitem__)
    compress(Wanda(sparsity=0.5, pattern="2:4"), job)
    return folder


def on(job, folder, out):
    out.mkdir(exist_ok=True)
    model = Artifact(kind="model", path=str(folder), digest="x")
    return replace(job, inputs=dict(job.inputs, model=model), out=out)


def linear(folder):
    state = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    return {name: weight for name, weight in state.items() if "_proj" in name}


def test_zeros_survive_exactly_and_all_else_learns(job, pruned, tmp_path):
    compress(FineTune(steps=6, learning_rate=1e-2), on(job, pruned, tmp_path / "tuned"))
    before, after = linear(pruned), linear(tmp_path / "tuned")
    for name in before:
        assert torch.equal(before[name] == 0, after[name] == 0)
        assert not torch.equal(before[name], after[name])
    report = json.loads((tmp_path / "tuned" / "compression.json").read_text("utf-8"))
    remarks = report["remarks"]
    assert remarks["share_of_zeros"] == remarks["share_of_zeros_before"] == 0.5
    assert remarks["loss_last"] < 0.9 * remarks["loss_first"]


def test_unless_asked_zeros_fill_again_and_that_is_said(job, pruned, tmp_path):
    compress(FineTune(steps=2, keep_zeros=False), on(job, pruned, tmp_path / "tuned"))
    report = json.loads((tmp_path / "tuned" / "compression.json").read_text("utf-8"))
    assert report["remarks"]["share_of_zeros_before"] == 0.5
    assert report["remarks"]["share_of_zeros"] < 0.01


def test_equal_settings_give_equal_files_and_another_seed_others(job, pruned, tmp_path):
    made = []
    for at, seed in enumerate((0, 0, 1)):
        compress(
            FineTune(steps=2, batch_size=4, seed=seed), on(job, pruned, tmp_path / f"{at}")
        )
        made.append(fingerprint(tmp_path / f"{at}"))
    assert made[0] == made[1] != made[2]


def test_transposed_weights_keep_their_zeros_too(job, tmp_path):
    folder = tiny_gpt2(tmp_path / "gpt2")
    compress(Wanda(sparsity=0.5), on(job, folder, tmp_path / "pruned"))
    compress(FineTune(steps=2), on(job, tmp_path / "pruned", tmp_path / "tuned"))
    report = json.loads((tmp_path / "tuned" / "compression.json").read_text("utf-8"))
    assert report["remarks"]["share_of_zeros"] == report["remarks"]["share_of_zeros_before"]


def test_padding_changes_no_loss(model_folder):
    model = AutoModelForCausalLM.from_pretrained(model_folder).eval()
    short, long = ({"input_ids": torch.arange(5, 5 + n)[None]} for n in (4, 9))
    # 3 tokens are predicted in one, 8 in the other: the mean weighs them by that.
    apart = (3 * loss_of(model, [short]) + 8 * loss_of(model, [long])) / 11
    assert loss_of(model, [short, long]).item() == pytest.approx(apart.item(), rel=1e-5)


def test_tokens_that_are_not_labels_are_read_and_not_predicted(model_folder):
    model = AutoModelForCausalLM.from_pretrained(model_folder).eval()
    ids = torch.arange(5, 11)[None]
    labels = torch.tensor([[-100, -100, -100, -100, 9, 10]])
    # of 6 tokens the last 2 count; alone, their loss is that of the whole less that of the rest
    whole, rest = (loss_of(model, [{"input_ids": i}]).item() for i in (ids, ids[:, :4]))
    found = loss_of(model, [{"input_ids": ids, "labels": labels}])
    assert found.item() == pytest.approx((5 * whole - 3 * rest) / 2, rel=1e-4)


@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 99))
def test_every_epoch_has_each_document_once(n, size, seed):
    seen = [{"input_ids": torch.tensor([[at]])} for at in range(n)]
    found = [int(one["input_ids"]) for batch in batched(seen, size, n, seed) for one in batch]
    assert len(found) == n * size
    for epoch in range(size):
        assert sorted(found[epoch * n : (epoch + 1) * n]) == list(range(n))


def test_a_loss_that_is_no_number_is_named(model_folder):
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(StageError, match="the loss of step 1 is nan; lower learning_rate"):
        FineTune(steps=1).train(
            model,
            [{"input_ids": torch.tensor([[1, 2, 3]])}],
            lambda batch: {"loss": loss_of(model, batch)},
        )
