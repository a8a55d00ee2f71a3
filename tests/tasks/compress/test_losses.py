"""The losses of distillation: worked by hand, held against other code, and their limits."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax, rel_entr, softmax

from tasks.compress.losses import (
    attention_loss,
    forward_kl,
    layer_map,
    reverse_kl,
    soft_targets,
    state_loss,
)

LOGITS = arrays(np.float32, (3, 5), elements=st.floats(-8, 8, width=32))
TEMPERATURES = st.floats(0.5, 8)
BOTH = pytest.mark.parametrize("loss", [forward_kl, reverse_kl])


def logs(*rows):
    """Logits whose softmax is these probabilities."""
    return torch.tensor(rows).log()


def at(temperature, *teachers, **how):
    return soft_targets([torch.as_tensor(t) for t in teachers], temperature=temperature, **how)


def test_the_directions_by_hand():
    # teacher (1/2, 1/4, 1/4), student (1/4, 1/2, 1/4):
    # forward 1/2 ln 2 - 1/4 ln 2 = 1/4 ln 2, and here the reverse is the same by symmetry;
    # teacher (1/2, 1/2), student (1/4, 3/4): forward 1/2 ln 2 + 1/2 ln(2/3) = 0.1438,
    # reverse 1/4 ln(1/2) + 3/4 ln(3/2) = 0.1308
    even = at(1.0, logs([0.5, 0.25, 0.25]))
    swapped = logs([0.25, 0.5, 0.25])
    assert forward_kl(swapped, even, temperature=1).item() == pytest.approx(math.log(2) / 4)
    coin, bent = at(1.0, logs([0.5, 0.5])), logs([0.25, 0.75])
    assert forward_kl(bent, coin, temperature=1).item() == pytest.approx(0.143841, abs=1e-5)
    assert reverse_kl(bent, coin, temperature=1).item() == pytest.approx(0.130812, abs=1e-5)


def test_a_temperature_softens_both_sides_and_its_square_scales_the_loss():
    # at T = 2 probabilities ∝ square roots: (1/2, 1/2) stays, (1/5, 4/5) becomes (1/3, 2/3):
    # 4 · (1/2 ln(3/2) + 1/2 ln(3/4)) = 2 ln(9/8) = 0.235566
    found = forward_kl(logs([0.2, 0.8]), at(2.0, logs([0.5, 0.5])), temperature=2)
    assert found.item() == pytest.approx(2 * math.log(9 / 8), abs=1e-5)


def test_several_teachers_by_hand():
    # (1/2, 1/2) and (1/10, 9/10): arithmetic (0.3, 0.7); geometric √0.05 : √0.45 = 1 : 3
    two = logs([0.5, 0.5]), logs([0.1, 0.9])
    assert at(1.0, *two, mean="arithmetic").exp().tolist()[0] == pytest.approx([0.3, 0.7])
    assert at(1.0, *two).exp().tolist()[0] == pytest.approx([0.25, 0.75])
    # weights 3 and 1: 3/4 · 1/2 + 1/4 · 1/10 = 0.4
    heavy = at(1.0, *two, mean="arithmetic", weights=[3, 1])
    assert heavy.exp().tolist()[0] == pytest.approx([0.4, 0.6])


@given(LOGITS, LOGITS, TEMPERATURES)
def test_both_directions_are_those_of_torch_and_scipy(student, teacher, t):
    targets = at(t, teacher)
    got = forward_kl(torch.tensor(student), targets, temperature=t).item()
    by_torch = torch.nn.functional.kl_div(
        (torch.tensor(student) / t).log_softmax(-1),
        (torch.tensor(teacher) / t).softmax(-1),
        reduction="batchmean",
    )
    assert got == pytest.approx(t * t * by_torch.item(), rel=1e-3, abs=1e-4)
    q, p = softmax(student / t, -1), softmax(teacher / t, -1)
    back = reverse_kl(torch.tensor(student), targets, temperature=t).item()
    assert back == pytest.approx(t * t * rel_entr(q, p).sum(-1).mean(), rel=1e-3, abs=1e-4)


@BOTH
@given(LOGITS, LOGITS, TEMPERATURES)
def test_no_divergence_is_negative_and_of_equals_it_is_zero(loss, student, teacher, t):
    student = torch.tensor(student)
    assert loss(student, at(t, teacher), temperature=t) >= -1e-4
    assert loss(student + 3, at(t, student), temperature=t).item() == pytest.approx(0, abs=1e-4)


@BOTH
@given(LOGITS, LOGITS)
def test_at_a_high_temperature_it_matches_centred_logits(loss, student, teacher):
    # Hinton et al., equation 4: the gradient is (z - v) / N for logits with mean zero
    z = torch.tensor(student, dtype=torch.float64).requires_grad_()
    t = 1000.0
    v = torch.tensor(teacher, dtype=torch.float64)
    centred = (z - z.mean(-1, keepdim=True)) - (v - v.mean(-1, keepdim=True))
    targets = (v / t).log_softmax(-1)
    found = loss(_Exact(z), targets, temperature=t)
    assert found.item() == pytest.approx(
        (centred**2).mean(-1).mean().item() / 2, rel=0.02, abs=1e-4
    )


class _Exact:
    """Logits that stay float64: at T = 1000 differences are below float32's rounding."""

    def __init__(self, tensor):
        self.tensor = tensor

    def float(self):
        return self.tensor


@given(LOGITS, LOGITS, TEMPERATURES, st.sampled_from(["geometric", "arithmetic"]))
def test_a_teacher_asked_twice_is_one_teacher(first, other, t, mean):
    once = at(t, first)
    assert torch.allclose(at(t, first, first, mean=mean), once, atol=1e-4)
    alone = at(t, first, other, mean=mean, weights=[1.0, 1e-9])
    assert torch.allclose(alone.exp(), once.exp(), atol=1e-5)
    assert np.allclose(once.numpy(), log_softmax(first / t, -1), atol=1e-4)


def test_layers_are_spread_evenly():
    assert layer_map(4, 12) == (0, 3, 6, 9, 12)
    assert layer_map(4, 5) == (0, 1, 2, 3, 5)
    assert layer_map(5, 5) == (0, 1, 2, 3, 4, 5)


@given(st.integers(1, 40), st.integers(1, 40))
def test_a_map_never_turns_back_and_ends_at_the_last(student, teacher):
    found = layer_map(student, teacher)
    assert (found[0], found[-1], len(found)) == (0, teacher, student + 1)
    assert list(found) == sorted(found)


def test_states_are_compared_over_real_tokens():
    student = torch.tensor([[[1.0, 1.0], [0.0, 0.0], [9.0, 9.0]]])
    teacher = torch.tensor([[[1.0, 3.0], [0.0, 1.0], [0.0, 0.0]]])
    # (0 + 4) / 2 = 2 and (0 + 1) / 2 = 0.5; the third is padding
    assert state_loss(student, teacher, torch.tensor([[1, 1, 0]])).item() == 1.25


def test_attention_is_compared_over_pairs_of_real_tokens():
    student, teacher = torch.zeros(1, 1, 3, 3), torch.zeros(1, 1, 3, 3)
    student[0, 0, :2, :2] = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    teacher[0, 0, :2, :2] = torch.tensor([[1.0, 0.0], [0.1, 0.9]])
    teacher[0, 0, 2] = 1.0
    # 2 · 0.4² over 4 pairs
    found = attention_loss(student, teacher, torch.tensor([[1, 1, 0]]))
    assert found.item() == pytest.approx(0.08)
