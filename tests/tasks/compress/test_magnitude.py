import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.prune import l1_unstructured
from transformers import AutoModelForCausalLM

from tasks.compress import Magnitude, compress

values = st.floats(-4, 4, width=32)
matrices = st.integers(1, 6).flatmap(
    lambda rows: st.lists(
        st.lists(values, min_size=4, max_size=4), min_size=rows, max_size=rows
    ).map(torch.tensor)
)


def test_by_hand():
    weight = torch.tensor([[0.1, -3.0, 0.2], [4.0, -0.3, 0.05]])
    # |w| in order: .05 .1 .2 .3 3 4; half of 6 is 3, so .05, .1 and .2 go.
    # By signed value -3, -.3 and .05 would go; by row, one of each row only.
    pruned = Magnitude(sparsity=0.5).rewrite(weight)
    assert pruned.tolist() == torch.tensor([[0, -3.0, 0], [4.0, -0.3, 0]]).tolist()


def test_ties_go_to_the_lower_index():
    pruned = Magnitude(sparsity=0.5).rewrite(torch.tensor([[1.0, -1.0, 1.0, -1.0]]))
    assert pruned.tolist() == [[0.0, 0.0, 1.0, -1.0]]


@given(matrices, st.floats(0.01, 0.99))
def test_so_many_go_and_survivors_stay_as_they_were(weight, sparsity):
    before = weight.clone()
    pruned = Magnitude(sparsity=sparsity).rewrite(weight)
    assert torch.equal(weight, before)
    changed = pruned != weight
    assert (pruned[changed] == 0).all()
    drop = int(weight.numel() * sparsity)
    assert int(changed.sum()) <= drop
    assert int((pruned == 0).sum()) >= drop
    if 0 < drop < weight.numel():
        kept = weight.abs().flatten().sort().values[drop:]
        assert torch.equal(pruned.abs().flatten().sort().values[drop:], kept)


def test_agrees_with_torch_prune():
    weight = torch.nn.Linear(32, 16, bias=False)
    ours = Magnitude(sparsity=0.75).rewrite(weight.weight.detach())
    l1_unstructured(weight, "weight", amount=0.75)
    assert torch.equal(ours, weight.weight.detach())


def test_globally_layers_compete_with_one_another():
    small, large = torch.full((2, 2), 0.1), torch.full((2, 2), 9.0)
    pruned = Magnitude(sparsity=0.5, scope="global")._rewrite_together([small, large])
    assert [int((w == 0).sum()) for w in pruned] == [4, 0]


def test_only_linear_layers_change_and_the_file_stays_dense(job, model_folder):
    compress(Magnitude(sparsity=0.8), job)
    before = AutoModelForCausalLM.from_pretrained(model_folder).state_dict()
    after = AutoModelForCausalLM.from_pretrained(job.out).state_dict()
    for name, weight in before.items():
        if "_proj" in name:
            assert int((after[name] == 0).sum()) == int(weight.numel() * 0.8)
        else:
            assert torch.equal(after[name], weight)
    sizes = [(f / "model.safetensors").stat().st_size for f in (job.out, model_folder)]
    assert sizes[0] == sizes[1]
