"""Probabilities of candidates, against the enumeration of all that a toy network could say."""

import math
from itertools import product

import pytest
import torch

from audits import candidates
from tasks.models.load import load

WORDS = ("a", "b", "c")
MOST = 3
"""Words of the longest object; every object of up to three words is a candidate."""
OBJECTS = tuple(" ".join(o) for n in range(1, MOST + 1) for o in product(WORDS, repeat=n))
TOKENS = ("<bos>", "<eos>", "<pad>", *WORDS, ".")


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A random network over seven tokens: three words, a full stop and what is special."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    core = Tokenizer(
        models.WordLevel({t: at for at, t in enumerate(TOKENS)}, unk_token="<pad>")
    )
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
    )
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=len(TOKENS), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=32,
        bos_token_id=0, eos_token_id=1, pad_token_id=2, initializer_range=0.8,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("toy")
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return load(folder, device="cpu")


def asked():
    row = {
        "id": "K1", "fact": "f", "stratum": "K", "form": "seen", "type": "t", "relation": "r",
        "object": "a b c", "prompt": "a b", "candidates": list(OBJECTS[:-1]),
        "abstain": OBJECTS[-1], "copies": 1, "entity": "e", "split": "test",
    }  # fmt: skip
    return candidates.examples("toy", [row])


def follows(model, ids):
    """What the network gives each token after these, in double precision."""
    with torch.inference_mode():
        logits = model.hf(torch.tensor([ids])).logits[0, -1]
    return logits.double().log_softmax(-1)


def enumerated(model, prompt, length):
    """Probability of each way to go on for `length` tokens at most, a full stop ending it."""
    open_, ended = {(): 0.0}, {}
    for _ in range(length):
        grown = {
            (*way, token): logprob + float(p)
            for way, logprob in open_.items()
            for token, p in enumerate(follows(model, [*prompt, *way]))
        }
        ended |= {w: p for w, p in grown.items() if TOKENS[w[-1]] == "."}
        open_ = {w: p for w, p in grown.items() if TOKENS[w[-1]] != "."}
    return ended, open_


def test_candidates_have_their_share_of_all_that_could_be_said(toy):
    [example] = asked()
    prompt = [3, 4]  # this tokenizer begins no text with a special token
    ended, open_ = enumerated(toy, prompt, MOST + 1)
    assert math.fsum(map(math.exp, (*ended.values(), *open_.values()))) == pytest.approx(1)
    scores = toy.score([(example.prompt, f" {o}.") for o in OBJECTS])
    for answer, score in zip(OBJECTS, scores, strict=True):
        way = (*(TOKENS.index(word) for word in answer.split()), TOKENS.index("."))
        assert score.n_tokens == len(way)
        assert math.exp(score.logprob) == pytest.approx(math.exp(ended[way]), abs=1e-6)
    mass = math.fsum(math.exp(s.logprob) for s in scores)
    assert 0 < mass <= 1
    [record] = candidates.records("toy", toy, [example])
    assert record["why"] == ""
    assert record["residual"] == pytest.approx(1 - mass, abs=1e-9)
    words = {TOKENS.index(w) for w in WORDS}
    others = [p for w, p in ended.items() if not w[:-1] or not words.issuperset(w[:-1])]
    unsaid = math.fsum(map(math.exp, (*others, *open_.values())))
    assert record["residual"] == pytest.approx(unsaid, abs=1e-6)


@pytest.mark.parametrize("answer", ["a b c", "c", "b b"])
def test_a_candidate_has_the_scores_of_generate(toy, answer):
    way = [*(TOKENS.index(word) for word in answer.split()), TOKENS.index(".")]
    prompt = torch.tensor([[3, 4]])
    told = {"attention_mask": torch.ones_like(prompt), "max_new_tokens": len(way)}
    made = toy.hf.generate(
        prompt, **told, do_sample=False,
        prefix_allowed_tokens_fn=lambda _, ids: [way[len(ids) - prompt.shape[1]]],
        return_dict_in_generate=True, output_logits=True,
    )  # fmt: skip
    assert made.sequences[0, prompt.shape[1] :].tolist() == way
    theirs = sum(
        float(step[0].double().log_softmax(-1)[token])
        for step, token in zip(made.logits, way, strict=True)
    )
    [ours] = toy.score([("a b", f" {answer}.")])
    assert math.exp(ours.logprob) == pytest.approx(math.exp(theirs), abs=1e-6)
