"""The numbers are those of lm-eval's own backend, and company changes none of them."""

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from audits.errors import AuditError
from tasks.models.load import load
from tasks.models.torch_model import TorchModel

SHOTS = "Q: Who sells bread? A: the baker.\n\nQ: Who likes the park? A: a girl.\n\n" * 2
REQUESTS = [
    ("", "Once upon a time"),
    ("", " bread"),
    ("", "Once upon a café — «naïve» coöperation 你好 🙂"),
    ("Once upon a time", " there was a girl"),
    ("Once upon a time", " there were two"),
    ("Once upon a time ", "there"),
    ("The park\n", "bread"),
    ("«quotes» 你好", " 🙂 é"),
    ("The park." + " The park." * 40, " bread and more bread"),
    *[(SHOTS[:100] + f"Q: {who} {i}? A:", f" {a}") for who in ("Who", "Why")
      for i in range(4) for a in ("bread", "the doctor", "park")],
]  # fmt: skip


def theirs(model, requests, add_bos, batch_size=3):
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    lm = HFLM(
        pretrained=model.hf, tokenizer=model.tokenizer, batch_size=batch_size,
        add_bos_token=add_bos, max_length=model.max_length,
    )  # fmt: skip
    asked = [
        Instance(request_type="loglikelihood", doc={}, arguments=r, idx=0) for r in requests
    ]
    return lm.loglikelihood(asked, disable_tqdm=True)


@pytest.mark.parametrize("add_bos", [False, True])
@pytest.mark.parametrize("name", ["llama", "gpt2", "neox"])
def test_log_probabilities_and_greedy_flags_are_those_of_lm_eval(model, name, add_bos):
    m = model(name, add_bos=add_bos)
    assert m.forward.projects
    assert m.forward.keeps
    assert m.encoder.adds_bos == add_bos
    # a greedy continuation, so that the flag is not always false
    [[said]] = m.generate(["The park"], max_new_tokens=3, seed=0)
    asked = [*REQUESTS, ("The park", said)] if said else REQUESTS
    ours = m.score(asked)
    for request, score, (logprob, greedy) in zip(
        asked, ours, theirs(m, asked, add_bos), strict=True
    ):
        assert score.logprob == pytest.approx(logprob, abs=1e-3), request
        assert score.greedy == greedy, request
    assert m.recheck() <= 1e-3


@settings(max_examples=12, deadline=None)
@given(
    order=st.permutations(range(len(REQUESTS))),
    first=st.integers(1, len(REQUESTS)),
    budget=st.sampled_from([1, 40, 200, 4096]),
    call=st.sampled_from([0.0, 20.0, 1e9]),
    attention=st.sampled_from([0.0, 0.001, 0.1]),
)
def test_batches_trees_and_kept_beginnings_change_no_score(
    model, order, first, budget, call, attention
):
    m = model()
    alone = {r: m.score([r])[0] for r in REQUESTS}
    forward, chosen = m.forward, [REQUESTS[i] for i in order[:first]]
    before = forward.budget, forward.costs
    forward.budget = budget
    forward.costs = type(forward.costs)(attention, call)
    try:
        found = m.score(chosen)
    finally:
        forward.budget, forward.costs = before
    for request, score in zip(chosen, found, strict=True):
        assert score.logprob == pytest.approx(alone[request].logprob, abs=1e-3)
        assert score.greedy == alone[request].greedy


def test_few_shots_are_run_once(model):
    m = model()
    fed, run = [], m.forward._run
    costs = m.forward.costs
    m.forward._run = lambda ids, **more: fed.append(ids.numel()) or run(ids, **more)
    m.forward.costs = type(costs)(costs.attention, 1.0)
    shots = SHOTS[:140]
    asked = [(f"{shots}{'abcdefghij'[i]} Who?", f" {a}") for i in range(10) for a in "xy"]
    try:
        m.score(asked)
    finally:
        del m.forward._run
        m.forward.costs = costs
    [whole, *_] = m.encoder.plain([asked[0][0]])
    # ten questions of their own, and the shots once instead of ten times
    assert sum(fed) < 3 * len(whole)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_tokenizer_without_bos_begins_with_eos_as_in_lm_eval(folder, name):
    m = load(folder(name), device="cpu")
    m.tokenizer.bos_token = None
    m = TorchModel(m.hf, m.tokenizer, digest="no bos")
    assert m.bos_policy == "empty:eos,context:none"
    for score, (logprob, greedy) in zip(
        m.score(REQUESTS), theirs(m, REQUESTS, False), strict=True
    ):
        assert score.logprob == pytest.approx(logprob, abs=1e-3)
        assert score.greedy == greedy


def test_a_tokenizer_with_neither_bos_nor_eos_is_refused(folder):
    m = load(folder("gpt2"), device="cpu")
    m.tokenizer.bos_token = m.tokenizer.eos_token = None
    with pytest.raises(AuditError, match="neither a BOS nor an EOS"):
        TorchModel(m.hf, m.tokenizer, digest="nothing")
