"""Wanda and SparseGPT: what goes, what makes up for it, and what the walk records."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from transformers import AutoModelForCausalLM

from audits.errors import SpecError, StageError
from tasks.artifact import Artifact, fingerprint
from tasks.compress import Magnitude, SparseGpt, Wanda, compress
from tasks.compress.walk import lost_share
from tasks.models.testing import tiny_gpt2, tiny_mamba2, tiny_neox

HALF = {"sparsity": 0.5}
ALL = [Magnitude, Wanda, SparseGpt]


def layer(seed: int, rows: int = 6, width: int = 24):
    """A weight, and 200 tokens of inputs that go together and differ in size."""
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, width, generator=draw)
    mixed = torch.randn(width, width, generator=draw)
    inputs = torch.randn(200, width, generator=draw) @ mixed
    return weight, inputs * torch.logspace(-1, 1, width)[torch.randperm(width, generator=draw)]


def pruned(method, weight, inputs):
    if isinstance(method, Magnitude):
        return method.rewrite(weight)
    return method.rewrite(weight, method.observe(method.start(weight), inputs))


def test_wanda_by_hand():
    weight = torch.tensor([[3.0, -2.0, 1.0, 5.0], [1.0, 1.0, 1.0, -1.0]])
    inputs = torch.tensor([[1.0, 0.0, 3.0, 0.0], [0.0, 2.0, 4.0, 0.0]])
    # ||X_j|| = 1, 2, 5, 0, so row one scores 3, 4, 5, 0: columns 0 and 3 go. By the squared
    # norm (1, 4, 25, 0) it would be the same; by |w| columns 1 and 2. Row two scores 1, 2, 5,
    # 0: again 0 and 3, though all of it would go where rows compete.
    new = pruned(Wanda(**HALF), weight, inputs)
    assert new.tolist() == [[0, -2.0, 1.0, 0], [0, 1.0, 1.0, 0]]


def test_wanda_takes_the_norm_not_its_square():
    weight, inputs = torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 2.0]])
    # 3 * 1 against 1 * 2: column 1 goes; with squares it would be 3 against 4.
    assert pruned(Wanda(**HALF), weight, inputs).tolist() == [[3.0, 0.0]]


def test_sparsegpt_by_hand():
    weight, inputs = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    # X^T X = [[1, 1], [1, 2]], its inverse [[2, -1], [-1, 1]]; the scores are w^2 over
    # [H^-1]_00 = 2 and, with column 0 done, 1 / 2: 1 / 2 against 4 * 2, so column 0 goes.
    # Column 1 moves by -(1 / 2) * -1: to 2.5, the least squares answer x1 . (x0 + 2 x1) / 2.
    new = pruned(SparseGpt(**HALF, dampening=1e-9), weight, inputs)
    assert new.tolist() == [[0.0, pytest.approx(2.5, abs=1e-5)]]


@pytest.mark.parametrize("pattern", ["2:4", "4:8"])
def test_sparsegpt_is_brain_surgery_with_the_inverse_worked_out_at_every_column(pattern):
    weight, inputs = layer(4, rows=3, width=16)
    zeros, of = map(int, pattern.split(":"))
    hessian = 2 / 200 * inputs.double().T @ inputs.double()
    hessian += 0.01 * hessian.diagonal().mean() * torch.eye(16)
    inverse = [torch.linalg.inv(hessian[c:, c:]) for c in range(16)]
    expected = weight.double()
    for row in expected:
        for c in range(16):
            if c % of == 0:
                scores = [float(row[j] ** 2 / inverse[j][0, 0]) for j in range(c, c + of)]
                gone = [c + at for at in sorted(range(of), key=scores.__getitem__)[:zeros]]
            if c in gone:
                row[c:] -= row[c] / inverse[c][0, 0] * inverse[c][0]
                row[c] = 0
    new = pruned(SparseGpt(**HALF, pattern=pattern), weight, inputs)
    assert torch.allclose(new.double(), expected, atol=1e-3)
    assert torch.equal(new == 0, expected == 0)


def test_two_of_four_by_magnitude_agrees_with_torch():
    from torch.ao.pruning import WeightNormSparsifier

    network = torch.nn.Sequential(torch.nn.Linear(32, 16, bias=False))
    ours = Magnitude(**HALF, pattern="2:4").rewrite(network[0].weight.detach())
    theirs = WeightNormSparsifier(1.0, sparse_block_shape=(1, 4), zeros_per_block=2)
    theirs.prepare(network, [{"tensor_fqn": "0.weight"}])
    theirs.step()
    assert torch.equal(ours, network[0].weight.detach())


def test_sparsegpt_across_blocks_updates_what_comes_later():
    weight, inputs = layer(3, rows=4, width=160)
    new = pruned(SparseGpt(**HALF, dampening=0.05), weight, inputs)
    assert int((new[:, :128] == 0).sum()) == 4 * 128 // 2
    assert int((new[:, 128:] == 0).sum()) == 4 * 32 // 2
    assert not torch.isclose(new, weight)[:, 128:].any()


@given(st.integers(0, 10_000), st.floats(0.05, 0.95))
def test_so_many_go_exactly(seed, sparsity):
    weight, inputs = layer(seed)
    wanda = pruned(Wanda(sparsity=sparsity), weight, inputs)
    assert ((wanda == 0).sum(1) == int(24 * sparsity)).all()
    assert torch.equal(wanda[wanda != 0], weight[wanda != 0])
    surgeon = pruned(SparseGpt(sparsity=sparsity), weight, inputs)
    assert int((surgeon == 0).sum()) == int(6 * 24 * sparsity)


@pytest.mark.parametrize("method", ALL, ids=lambda m: m.__name__)
@pytest.mark.parametrize(("pattern", "of"), [("2:4", 4), ("4:8", 8)])
def test_of_every_group_a_half_goes_and_the_remainder_stays(method, pattern, of):
    weight, inputs = layer(1, width=26)
    new = pruned(method(**HALF, pattern=pattern), weight, inputs)
    zeros = (new[:, :24].reshape(6, -1, of) == 0).sum(-1)
    assert (zeros == of // 2).all()
    assert (new[:, 24:] != 0).all()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("pattern", ["unstructured", "2:4"])
def test_sparsegpt_loses_no_more_than_magnitude_on_identical_inputs(seed, pattern):
    weight, inputs = layer(seed)
    lost = [
        lost_share(weight, pruned(method(**HALF, pattern=pattern), weight, inputs), [inputs])
        for method in (SparseGpt, Magnitude)
    ]
    assert lost[0] < lost[1]


@given(st.integers(0, 10_000))
def test_with_a_diagonal_hessian_sparsegpt_is_wanda(seed):
    weight, _ = layer(seed, width=16)
    inputs = torch.diag(torch.linspace(0.5, 4, 16))
    ours = pruned(SparseGpt(**HALF, pattern="4:8", dampening=1e-9), weight, inputs)
    theirs = pruned(Wanda(**HALF, pattern="4:8"), weight, inputs)
    assert torch.equal(ours, theirs)


def test_batches_may_be_cut_as_one_likes():
    weight, inputs = layer(2)
    for method in (Wanda(**HALF), SparseGpt(**HALF)):
        stats = method.start(weight)
        for part in inputs.split(33):
            stats = method.observe(stats, part)
        assert torch.allclose(
            method.rewrite(weight, stats), pruned(method, weight, inputs), atol=1e-4
        )


def test_a_hessian_without_an_inverse_is_named():
    method = SparseGpt(**HALF, dampening=1e-12)
    with pytest.raises(StageError, match="give more calibration text or raise dampening"):
        pruned(method, torch.ones(2, 24), torch.full((3, 24), 0.3))


@pytest.mark.parametrize("method", ALL, ids=lambda m: m.__name__)
def test_the_artifact_says_what_each_layer_lost(method, job, model_folder):
    original = fingerprint(model_folder)
    compress(method(**HALF), job)
    assert fingerprint(model_folder) == original
    report = json.loads((job.out / "compression.json").read_text("utf-8"))
    assert report["reconstruction_error"].keys() == report["layers"].keys()
    assert all(0 < error < 1 for error in report["reconstruction_error"].values())
    assert report["remarks"]["share_of_zeros"] == pytest.approx(0.5, abs=0.01)
    assert "no run-time gain on this backend" in report["remarks"]["run_time"]
    before = AutoModelForCausalLM.from_pretrained(model_folder).state_dict()
    after = AutoModelForCausalLM.from_pretrained(job.out).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name + ".weight" for name in report["layers"]}


def test_each_layer_sees_what_the_pruned_blocks_before_it_give(job, model_folder):
    compress(SparseGpt(**HALF), job)
    first = "model.layers.1.self_attn.q_proj"
    report = json.loads((job.out / "compression.json").read_text("utf-8"))
    lost = report["reconstruction_error"][first]
    small = AutoModelForCausalLM.from_pretrained(job.out)
    old = AutoModelForCausalLM.from_pretrained(model_folder).get_submodule(first).weight
    from tasks.compress.calibration import batches
    from tasks.compress.folder import Source
    from tasks.compress.walk import HELD, inputs_of
    from tasks.dataset import texts

    source = Source(model_folder, texts(job.inputs["dataset"].folder, "calibration"), job.out)
    caught = []
    with (
        torch.no_grad(),
        inputs_of({first: small.get_submodule(first)}, lambda _, x: caught.append(x[0])),
    ):
        for batch in batches(source, samples=HELD, length=256):
            small(**batch)
        new = small.get_submodule(first).weight
        assert lost == pytest.approx(lost_share(old, new, caught), rel=1e-3)


@pytest.mark.parametrize("make", [tiny_gpt2, tiny_neox, tiny_mamba2], ids=lambda m: m.__name__)
def test_other_families_are_walked_too(make, job, tmp_path):
    folder = make(tmp_path / "model")
    inputs = dict(job.inputs, model=Artifact(kind="model", path=str(folder), digest="o"))
    compress(Wanda(**HALF, pattern="2:4"), replace(job, inputs=inputs))
    report = json.loads((job.out / "compression.json").read_text("utf-8"))
    assert report["remarks"]["share_of_zeros"] == pytest.approx(0.5, abs=0.01)
    assert report["reconstruction_error"]


def test_a_width_that_groups_do_not_divide_is_stated(job, tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig.from_pretrained(job.inputs["model"].path, intermediate_size=134)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "odd")
    for file in job.inputs["model"].folder.glob("tokenizer*"):
        (tmp_path / "odd" / file.name).write_bytes(file.read_bytes())
    odd = Artifact(kind="model", path=str(tmp_path / "odd"), digest="o")
    compress(Magnitude(**HALF, pattern="2:4"), replace(job, inputs={"model": odd}))
    remarks = json.loads((job.out / "compression.json").read_text("utf-8"))["remarks"]
    assert (
        "in no group of 4 and stay dense: 2 of model.layers.0.mlp.down_proj"
        in (remarks["remainder"])
    )


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"sparsity": 1.0}, "less than 1"),
        ({"sparsity": 0.6, "pattern": "2:4"}, "pattern 2:4 zeroes one half"),
        ({"sparsity": 0.5, "pattern": 124}, "without quotes"),
    ],
)
@pytest.mark.parametrize("method", ALL, ids=lambda m: m.__name__)
def test_what_cannot_be_is_refused_before_anything_runs(method, asked, said):
    with pytest.raises(ValidationError, match=said):
        method(**asked)


def test_too_little_text_is_refused(job):
    with pytest.raises(SpecError, match=r"has \d+ tokens in all, less than one sequence of"):
        compress(Wanda(**HALF, samples=1), job)
    with pytest.raises(SpecError, match="holds no documents"):
        compress(SparseGpt(**HALF), replace(job, inputs={"model": job.inputs["model"]}))
    assert list(job.out.iterdir()) == []
