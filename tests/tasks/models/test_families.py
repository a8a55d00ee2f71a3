"""Networks that bear no trees, no padding or no cache are scored and continued plainly."""

import math

import pytest
import torch

from audits.errors import AuditError, SpecError
from tasks.models.load import _require_masked, load
from tasks.models.masked import MaskedModel
from tasks.models.testing import REQUESTS, by_hand

RECURRENT = ["mamba2", "rwkv"]
PROMPTS = ["Once upon a time", "The", "Who should Derek hug after shocking"]


@pytest.mark.parametrize("name", RECURRENT)
def test_a_recurrent_network_scores_as_one_by_one(model, name):
    m = model(name)
    assert not m.forward.trees
    assert not m.forward.keeps
    for request, score in zip(REQUESTS, m.score(REQUESTS, per_token=True), strict=True):
        assert score.tokens == pytest.approx(by_hand(m, *request), abs=1e-3)
    assert m.recheck() <= 1e-3


@pytest.mark.parametrize("name", RECURRENT)
def test_a_recurrent_network_continues_beside_others_as_alone(model, name):
    m = model(name)
    together = m.generate(PROMPTS, max_new_tokens=6, seed=0)
    for prompt, [text] in zip(PROMPTS, together, strict=True):
        ids = m.encoder.contexts([prompt])[0]
        said = []
        for _ in range(6):  # the whole sequence anew for every token, nothing padded
            with torch.inference_mode():
                token = int(
                    m.hf(torch.tensor([ids + said], device=m.hf.device)).logits[0, -1].argmax()
                )
            if token in (1,):
                break
            said.append(token)
        assert text == m.tokenizer.decode(said)


def masked_by_hand(m, context, continuation):
    """Mask each token of the continuation in turn, one sequence at a time."""
    tok = m.tokenizer
    head = tok.encode(context, add_special_tokens=False)
    tail = tok.encode(continuation.strip(), add_special_tokens=False)
    whole = [tok.cls_token_id, *head, *tail, tok.sep_token_id]
    found = []
    for at in range(1 + len(head), 1 + len(head) + len(tail)):
        ids = list(whole)
        ids[at] = tok.mask_token_id
        with torch.inference_mode():
            logp = m.hf(torch.tensor([ids], device=m.hf.device)).logits[0, at].log_softmax(-1)
        found.append(float(logp[whole[at]]))
    return found


def test_an_encoder_is_scored_by_pseudo_log_likelihood(model):
    m = model("mobilebert")
    assert isinstance(m, MaskedModel)
    asked = [r for r in REQUESTS if len(r[0]) < 80]
    for request, score in zip(asked, m.score(asked, per_token=True), strict=True):
        want = masked_by_hand(m, *request)
        assert score.tokens == pytest.approx(want, abs=1e-3)
        assert score.logprob == pytest.approx(sum(want), abs=1e-3)
        assert score.n_tokens == len(want)
    assert m.conditions["scoring"] == "pseudo-log-likelihood"
    assert m.bos_policy == "empty:[CLS],context:[CLS],end:[SEP]"
    assert m.recheck() <= 1e-3


def test_an_encoder_keeps_its_first_token_when_a_context_does_not_fit(model):
    m = model("mobilebert")
    [pair] = m.encoder.pairs([("the park " * 60, "bread")])
    cut = m.scorer.network.fit(pair)
    assert len(cut.context) + len(cut.continuation) + 1 == 64  # and [SEP]
    assert cut.context[0] == m.tokenizer.cls_token_id
    assert cut.context[1:] == pair.context[-len(cut.context) + 1 :]
    [score] = m.score([("the park " * 60, "bread")])
    assert math.isfinite(score.logprob)
    assert score.truncated == len(pair.context) - len(cut.context) > 0
    assert m.score_text(["the park " * 60])[0].truncated == 0


def test_long_texts_pass_an_encoder_in_windows(model):
    m = model("mobilebert")
    text = "the baker sells bread to everyone. " * 20
    [score] = m.score_text([text])
    assert score.n_tokens == len(m.encoder.plain([text])[0]) > 64
    assert score.n_bytes == len(text)


def test_an_encoder_does_not_continue_text(model):
    with pytest.raises(AuditError, match=r"mobilebert.*cannot continue"):
        model("mobilebert").generate(["The"], max_new_tokens=3, seed=0)


def test_an_encoder_needs_a_mask_token(folder):
    m = load(folder("mobilebert"), device="cpu")
    m.tokenizer.mask_token = None
    with pytest.raises(AuditError, match="no mask token"):
        MaskedModel(m.hf, m.tokenizer, digest="x")


def test_a_masked_head_on_a_network_that_sees_no_later_word_is_refused(tmp_path):
    said = torch.zeros(5)
    with pytest.raises(SpecError, match=r"config\.json: describes no masked language model"):
        _require_masked(tmp_path / "config.json", said, said)
    _require_masked(tmp_path / "config.json", said, said + 1)
