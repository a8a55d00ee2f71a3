"""Min-K%++ standardises by these: worked by hand, and against another formula."""

import math

import numpy as np
import pytest
import torch

from audits.testing import FakeModel
from tasks.models.head import Head
from tasks.models.testing import REQUESTS


def test_moments_of_three_words_by_hand():
    # p = 1/2, 1/4, 1/4 and L = ln 2: log p = -L, -2L, -2L; mean = -L/2 - L/2 - L/2 = -3L/2;
    # deviations L/2, -L/2, -L/2, so that sigma is L/2
    logits = torch.tensor([[math.log(0.5), math.log(0.25), math.log(0.25)]])
    said = Head(None, 3).read(logits, np.array([0]), np.array([0]), moments=True)
    assert said.moments[0] == pytest.approx([-1.5 * math.log(2), 0.5 * math.log(2)])
    assert said.logprobs[0] == pytest.approx(-math.log(2))
    assert said.greedy[0]


def test_a_word_without_any_chance_adds_nothing():
    logits = torch.tensor([[0.0, 0.0, -torch.inf]])
    said = Head(None, 3).read(logits, np.array([0]), np.array([1]), moments=True)
    assert said.moments[0] == pytest.approx([-math.log(2), 0.0])


def test_a_sure_word_keeps_a_small_deviation():
    # p = 1 - q and q: mean^2 cancels in fp32; sigma = sqrt(q (1 - q)) * |log p - log q|
    q = 1e-9
    logits = torch.tensor([[math.log1p(-q), math.log(q)]], dtype=torch.float64)
    said = Head(None, 2).read(logits.float(), np.array([0]), np.array([0]), moments=True)
    assert said.moments[0, 1] == pytest.approx(math.sqrt(q) * abs(math.log(q)), rel=1e-6)


@pytest.mark.parametrize("name", ["llama", "gpt2", "mobilebert"])
def test_moments_stand_beside_each_token_and_change_no_score(model, name):
    m = model(name)
    plain = m.score(REQUESTS[:4], per_token=True)
    for request, score, known in zip(
        REQUESTS, m.score(REQUESTS[:4], per_token=True, moments=True), plain, strict=False
    ):
        assert len(score.moments) == score.n_tokens
        assert score.tokens == pytest.approx(known.tokens, abs=1e-4)
        assert all(mean < 0 < spread for mean, spread in score.moments), request
        assert known.moments == ()


def test_moments_are_those_of_the_network_s_distribution(model):
    m = model()
    [score] = m.score([("Once upon a time", " bread")], moments=True)
    [pair] = m.encoder.pairs([("Once upon a time", " bread")])
    with torch.inference_mode():
        logits = m.hf(torch.tensor([pair.context], device=m.hf.device)).logits[0, -1].double()
    logp = logits.log_softmax(-1).cpu().numpy()
    p = np.exp(logp)
    mean = np.average(logp, weights=p)
    assert score.moments[0] == pytest.approx(
        (mean, math.sqrt(np.average(logp**2, weights=p) - mean**2)), abs=1e-5
    )


@pytest.mark.parametrize("size", [1, 7, 300, 5000])
def test_the_tiles_of_a_vocabulary_sum_to_the_whole(size):
    torch.manual_seed(0)
    layer = torch.nn.Linear(16, size)
    layer.weight.data *= 20
    states = torch.randn(600, 16)
    rng = np.random.default_rng(0)
    nodes, tokens = rng.integers(0, 600, 900), rng.integers(0, size, 900)
    head = Head(layer, size)
    assert head.tiles
    with torch.inference_mode():
        said = head.read(states, nodes, tokens)
        logp = layer(states).log_softmax(-1)
    assert said.logprobs == pytest.approx(logp[nodes, tokens].double().numpy(), abs=1e-4)
    assert (said.greedy == (logp.argmax(-1)[nodes].numpy() == tokens)).all()


def test_the_fake_has_moments_of_two_words():
    # p = 1/4 and 3/4
    [score] = FakeModel(lambda *_: math.log(0.25)).score([("", "word")], moments=True)
    mean = 0.25 * math.log(0.25) + 0.75 * math.log(0.75)
    assert score.moments == (pytest.approx((mean, math.sqrt(3) / 4 * math.log(3))),)
