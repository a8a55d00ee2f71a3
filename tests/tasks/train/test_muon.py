"""Muon moves a matrix by the same amount in every direction its gradient has."""

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from tasks.train.muon import Muon, orthogonal  # noqa: E402


def test_singular_vectors_stay_and_values_become_nearly_one():
    # diag(3, 0.5): both directions count alike afterwards, and nothing is mixed.
    made = orthogonal(torch.diag(torch.tensor([3.0, 0.5])), steps=5)
    assert made[0, 1] == pytest.approx(0, abs=1e-6)
    assert 0.6 < made[0, 0].item() < 1.3
    assert 0.6 < made[1, 1].item() < 1.3


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 99))
def test_no_direction_of_a_random_matrix_is_left_behind(rows, columns, seed):
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    values = torch.linalg.svdvals(orthogonal(matrix, steps=12))
    assert values.max() < 1.3
    assert values.min() > 0.3


def test_it_agrees_with_the_library_which_works_in_half_precision():
    ours = torch.nn.Parameter(torch.randn(8, 6, generator=torch.Generator().manual_seed(1)))
    theirs = torch.nn.Parameter(ours.detach().clone())
    one = Muon([{"params": [ours]}], lr=0.02, weight_decay=0.1)
    other = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, momentum=0.95)
    for step in range(3):
        for weight in (ours, theirs):
            weight.grad = torch.randn(8, 6, generator=torch.Generator().manual_seed(9 + step))
        one.step()
        other.step()
    # bfloat16 keeps 8 bits: updates of 0.02 agree to about 2 % of their length.
    assert (ours - theirs).abs().max() < 1e-3
