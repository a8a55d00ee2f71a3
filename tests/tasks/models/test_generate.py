"""Continuations are the network's own, and luck is shared between networks."""

import numpy as np
import pytest
import torch

from audits.errors import AuditError
from tasks.models.load import load
from tasks.models.testing import tiny_llama

PROMPTS = ["Once upon a time", "The", "Who should Derek hug after shocking"]


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_greedy_text_is_that_of_transformers(model, name):
    m = model(name)
    ours = m.generate(PROMPTS, max_new_tokens=12, seed=0)
    for prompt, [text] in zip(PROMPTS, ours, strict=True):
        ids = torch.tensor([m.encoder.contexts([prompt])[0]])
        out = m.hf.generate(ids, max_new_tokens=12, do_sample=False, pad_token_id=2)
        said = [t for t in out[0, ids.shape[1] :].tolist() if t not in (1, 2)]
        assert text == m.tokenizer.decode(said)


def test_a_prompt_among_others_continues_as_alone(model):
    m = model()
    how = {"max_new_tokens": 10, "seed": 3, "temperature": 0.9, "n": 2}
    together = m.generate(PROMPTS, **how)
    assert m.generate(PROMPTS[:1], **how)[0] == together[0]


def test_text_ends_before_the_first_stop_string(model):
    m = model()
    [[free]] = m.generate(["Once upon a time"], max_new_tokens=20, seed=1)
    stop = free[3:5]
    [[cut]] = m.generate(["Once upon a time"], max_new_tokens=20, seed=1, stop=[stop, "@@"])
    assert cut == free[: free.find(stop)]


def test_seeds_and_samples_are_different_luck(model):
    m = model()
    how = {"max_new_tokens": 8, "temperature": 1.0, "n": 3}
    one, again, other = (m.generate(["The"], seed=s, **how)[0] for s in (1, 1, 2))
    assert one == again
    assert one != other
    assert len(set(one)) == 3


def test_the_first_sample_does_not_depend_on_how_many_are_asked(model):
    m = model()
    how = {"max_new_tokens": 8, "temperature": 1.0, "seed": 5}
    assert m.generate(["The"], n=1, **how)[0] == m.generate(["The"], n=3, **how)[0][:1]


def test_a_sampled_token_is_the_inverse_of_the_cumulative_distribution(model):
    m = model()
    [[text]] = m.generate(["The"], max_new_tokens=1, seed=9, temperature=1.0)
    ids = torch.tensor([m.encoder.contexts(["The"])[0]])
    with torch.inference_mode():
        chances = m.hf(ids).logits[0, -1].double().softmax(-1).numpy()
    luck = np.random.default_rng([9, 0, 0]).random()
    token = int(np.searchsorted(chances.cumsum(), luck * chances.sum(), side="right"))
    assert text == ("" if token == 1 else m.tokenizer.decode([token]))


def test_equal_networks_share_their_luck(model, tmp_path):
    twin = load(tiny_llama(tmp_path), device="cpu")
    how = {"max_new_tokens": 8, "temperature": 1.0, "seed": 5, "n": 2}
    assert twin.generate(PROMPTS, **how) == model().generate(PROMPTS, **how)


def test_greedy_samples_are_all_the_same(model):
    [texts] = model().generate(["The"], max_new_tokens=4, seed=0, n=3)
    assert len(texts) == 3
    assert len(set(texts)) == 1


def test_more_tokens_than_the_model_has_are_refused(model):
    with pytest.raises(AuditError, match="128 positions"):
        model().generate(["The"], max_new_tokens=128, seed=0)


def test_an_empty_prompt_starts_from_bos(model):
    m = model("gpt2")
    [[text]] = m.generate([""], max_new_tokens=3, seed=0)
    out = m.hf.generate(torch.tensor([[0]]), max_new_tokens=3, do_sample=False, pad_token_id=2)
    said = [t for t in out[0, 1:].tolist() if t not in (1, 2)]
    assert text == m.tokenizer.decode(said)
