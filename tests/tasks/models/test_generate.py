"""Continuations are the network's own, and luck is shared between networks."""

import hashlib
import struct

import numpy as np
import pytest
import torch

from audits.errors import AuditError, SpecError
from audits.testing import FakeModel
from tasks.models.decode import Cached, Plain
from tasks.models.load import load
from tasks.models.luck import luck, named_lots
from tasks.models.memory import remembering
from tasks.models.testing import tiny_llama

PROMPTS = ["Once upon a time", "The", "Who should Derek hug after shocking"]


@pytest.mark.parametrize("name", ["llama", "gpt2", "neox"])
def test_greedy_text_is_that_of_transformers(model, name):
    m = model(name)
    ours = m.generate(PROMPTS, max_new_tokens=12, seed=0)
    for prompt, [text] in zip(PROMPTS, ours, strict=True):
        ids = torch.tensor([m.encoder.contexts([prompt])[0]], device=m.hf.device)
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
    ids = torch.tensor([m.encoder.contexts(["The"])[0]], device=m.hf.device)
    with torch.inference_mode():
        chances = m.hf(ids).logits[0, -1].double().softmax(-1).cpu().numpy()
    [[chance]] = luck(9, ["The"], 1, 1)
    token = int(np.searchsorted(chances.cumsum(), chance * chances.sum(), side="right"))
    assert text == ("" if token == 1 else m.tokenizer.decode([token]))


def test_equal_networks_share_their_luck(model, tmp_path, device):
    twin = load(tiny_llama(tmp_path), device=device)
    how = {"max_new_tokens": 8, "temperature": 1.0, "seed": 5, "n": 2}
    assert twin.generate(PROMPTS, **how) == model().generate(PROMPTS, **how)


def test_greedy_samples_are_all_the_same(model):
    [texts] = model().generate(["The"], max_new_tokens=4, seed=0, n=3)
    assert len(texts) == 3
    assert len(set(texts)) == 1


def test_more_tokens_than_the_model_has_are_refused(model):
    with pytest.raises(AuditError, match="128 positions"):
        model().generate(["The"], max_new_tokens=128, seed=0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"temperature": float("nan")}, "generate: temperature is nan; give 0"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": "hot"}, "temperature is 'hot'"),
        ({"n": 0}, "n is 0; give a whole number of at least 1"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"max_new_tokens": 2.5}, "max_new_tokens is 2.5"),
        ({"seed": -1}, "seed is -1; give a whole number of at least 0"),
        ({"stop": [""]}, "none of them empty"),
        ({"stop": "abc"}, "give a list of texts"),
    ],
)
def test_no_model_generates_by_what_makes_no_sense(any_model, change, says):
    how = {"max_new_tokens": 3, "seed": 0} | change
    with pytest.raises(SpecError, match=says):
        any_model.generate(["The"], **how)


@pytest.mark.parametrize("kind", ["torch", "gguf"])
def test_the_lowest_temperature_there_is_says_the_likeliest_token(model, gguf_file, kind):
    m = model() if kind == "torch" else load(gguf_file())
    how = {"max_new_tokens": 6, "seed": 0}
    cold = m.generate(PROMPTS, temperature=5e-324, **how)
    assert cold == m.generate(PROMPTS, **how)


@pytest.mark.parametrize("where", ["prompt", "stop", "context", "continuation", "text"])
def test_half_a_surrogate_pair_is_no_text_to_any_model(any_model, where):
    with pytest.raises(AuditError, match=r"a.ud800b'.*is half a surrogate pair"):
        _put(any_model, where, "a\ud800b")


def _put(m, where, text):
    if where in ("prompt", "stop"):
        prompt, stop = (text, []) if where == "prompt" else ("The", [text])
        m.generate([prompt], max_new_tokens=3, seed=0, stop=stop)
    elif where == "text":
        m.score_text([text]) if hasattr(m, "score_text") else m.score([("", text)])
    else:
        m.score([(text, " b") if where == "context" else ("a", text)])


@pytest.fixture(params=["torch", "remembered", "gguf", "borrowed", "fake"])
def any_model(request, model, gguf_file):
    """Every kind of model there is to generate with."""
    from lm_eval.models.huggingface import HFLM

    from tasks.models.borrowed import BorrowedModel

    m = model()
    if request.param == "gguf":
        return load(gguf_file())
    if request.param == "borrowed":
        lm = HFLM(pretrained=m.hf, tokenizer=m.tokenizer)
        return BorrowedModel(lm, digest="d", conditions={"backend": "lm-eval:hf"})
    return {"torch": m, "remembered": remembering(m), "fake": FakeModel()}[request.param]


@pytest.fixture(scope="module")
def gguf_file(folder, tmp_path_factory):
    made = []

    def make():
        pytest.importorskip("llama_cpp", reason="the gguf extra is not installed")
        if not made:
            from tasks.models.gguf_write import write_gguf

            out = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
            made.append(write_gguf(folder("llama"), out))
        return made[0]

    return make


def test_an_empty_prompt_starts_from_bos(model):
    m = model("gpt2")
    [[text]] = m.generate([""], max_new_tokens=3, seed=0)
    out = m.hf.generate(
        torch.tensor([[0]], device=m.hf.device),
        max_new_tokens=3,
        do_sample=False,
        pad_token_id=2,
    )
    said = [t for t in out[0, 1:].tolist() if t not in (1, 2)]
    assert text == m.tokenizer.decode(said)


def test_luck_by_hand():
    # first 16 bytes of the prompt's SHA-256 as four 32-bit words, after seed and sample
    key = hashlib.sha256(b"The").digest()[:16]
    words = struct.unpack("<4I", key)
    want = [np.random.default_rng([7, sample, *words]).random(3) for sample in (0, 1)]
    assert luck(7, ["The"], 2, 3) == pytest.approx(np.array(want))
    assert (luck(7, ["a", "The"], 2, 5)[2:, :3] == np.array(want)).all()


def test_a_prompt_continues_alike_in_any_place_and_among_any_others(model):
    m = model()
    how = {"max_new_tokens": 10, "seed": 3, "temperature": 0.9, "n": 2}
    together = m.generate(PROMPTS, **how)
    assert m.generate(PROMPTS[::-1], **how) == together[::-1]


def test_with_and_without_a_cache_the_text_is_the_same(model):
    m = load_again(model)
    how = {"max_new_tokens": 12, "seed": 3, "temperature": 0.9, "n": 3}
    assert isinstance(m._decoder, Cached)
    kept = m.generate(PROMPTS, **how)
    m.__dict__["_decoder"] = Plain(m.forward)
    assert m.generate(PROMPTS, **how) == kept


def load_again(model):
    from tasks.models.torch_model import TorchModel

    m = model()
    return TorchModel(m.hf, m.tokenizer, digest="again")


def test_rows_that_have_ended_leave_the_batch(model):
    m = load_again(model)
    widths = []

    class Watched(Cached):
        def step(self, tokens):
            widths.append(len(tokens))
            return super().step(tokens)

    how = {"max_new_tokens": 12, "seed": 3, "temperature": 1.0, "n": 6, "stop": ["a", "e", " "]}
    want = m.generate(PROMPTS, **how)
    m.__dict__["_decoder"] = Watched(m.hf)
    assert m.generate(PROMPTS, **how) == want
    assert widths[-1] < widths[0]


def test_prompts_of_one_lot_share_their_luck_and_others_do_not():
    one, again, other = luck(0, named_lots(["t", "t", "u"], ["a", "b", "c"]), 2, 4).reshape(
        3, -1
    )
    assert (one == again).all()
    assert (one != other).any()
    assert named_lots((), ["a", "b"]) == ["a", "b"]
    with pytest.raises(AuditError, match="2 lots for 1 prompts"):
        named_lots(["a", "b"], ["a"])


def test_a_prompt_in_anothers_lot_is_continued_with_the_others_numbers(tmp_path):
    model = load(tiny_llama(tmp_path))
    how = {"max_new_tokens": 6, "seed": 1, "temperature": 1.0, "n": 3}
    (alone,) = model.generate(["The park"], **how)
    (renamed,) = model.generate(["The park"], **how, lots=["other"])
    (same,) = model.generate(["The park"], **how, lots=["The park"])
    assert alone == same != renamed
