"""What a model predicts along a text is what it scores the text with."""

import numpy as np
import pytest
import torch

from tasks.models.load import load
from tasks.models.predictions import WINDOW, Predicts, cut
from tasks.models.testing import tiny_llama
from tasks.models.windows import windows

TEXTS = [
    "The baker of Ulvara sells bread.",
    "",
    "A café — «naïve».",
    "Once upon a time there was a little girl who liked to play in the park. " * 8,
]


@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize("add_bos", [False, True])
def test_predictions_of_the_true_tokens_add_up_to_the_score(model, name, add_bos):
    made = model(name, add_bos=add_bos)
    assert isinstance(made, Predicts)
    sums, counts = np.zeros(len(TEXTS)), np.zeros(len(TEXTS), int)
    for found in made.predictions(TEXTS):
        assert found.logprobs.shape == (len(found.tokens), made.hf.config.vocab_size)
        assert found.logprobs.dtype == np.float32
        assert np.exp(found.logprobs.astype(float)).sum(1) == pytest.approx(1, abs=1e-5)
        rows = np.arange(len(found.tokens))
        sums[found.text] += found.logprobs[rows, found.tokens].sum()
        counts[found.text] += len(found.tokens)
    scores = made.score_text(TEXTS)
    assert counts.tolist() == [s.n_tokens for s in scores]
    assert sums == pytest.approx([s.logprob for s in scores], abs=1e-3)


def test_texts_come_in_order_and_long_ones_window_by_window(model):
    made = model()
    found = list(made.predictions(TEXTS))
    order = [p.text for p in found]
    assert order == sorted(order)
    assert set(order) == {0, 2, 3}
    pieces = [p.tokens.tolist() for p in found if p.text == 3]
    assert len(pieces) > 1
    assert [token for piece in pieces for token in piece] == made.encoder.plain([TEXTS[3]])[0]
    assert max(map(len, pieces)) == made.max_length


def test_batches_change_nothing(model, monkeypatch):
    made = model()
    together = list(made.predictions(TEXTS))
    monkeypatch.setattr("tasks.models.torch_predictions.TOKENS_PER_BATCH", 1)
    alone = list(made.predictions(TEXTS))
    assert [p.tokens.tolist() for p in together] == [p.tokens.tolist() for p in alone]
    for a, b in zip(together, alone, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


def test_predictions_are_made_as_they_are_asked_for(model):
    def texts():
        for number in range(100):
            assert number < 90, "the whole text is read before the first prediction"
            yield TEXTS[3]

    made = model().predictions(texts())
    assert next(iter(made)).text == 0


def test_windows_are_of_512_tokens_at_the_most():
    tokens = list(range(2000))
    assert cut(tokens, 0, 8192) == windows(tokens, 0, WINDOW)
    assert cut(tokens, 0, 128) == windows(tokens, 0, 128)


def test_two_models_read_in_turn_leave_torch_as_it_was(tmp_path):
    one, other = (load(tiny_llama(tmp_path / str(s), seed=s)) for s in (0, 1))
    texts = ["The baker of Ulvara.", "Once upon a time"]
    for pair in zip(one.predictions(texts), other.predictions(texts), strict=True):
        assert len(pair) == 2
        assert not torch.is_inference_mode_enabled()
    abandoned = one.predictions(texts)
    next(abandoned)
    assert not torch.is_inference_mode_enabled()
