"""lm-eval's models behind our seam: the same scores, and a named error for what they lack."""

import json

import pytest
from lm_eval.api.model import TemplateLM
from lm_eval.models.dummy import DummyLM
from lm_eval.models.huggingface import HFLM

from audits.crows_pairs import CrowsPairs
from audits.errors import AuditError, EvidenceError, MeasureError, SpecError
from audits.model import LanguageModel
from audits.testing import check_audit
from tasks.models.borrowed import BorrowedModel
from tasks.models.borrowing import SHEET, settle, settled
from tasks.models.folder import weights_digest
from tasks.models.load import load
from tasks.models.testing import tiny_llama

PAIRS = [
    ("Once upon a time", " there was a girl"),
    ("Once upon a time ", "there was a girl"),
    ("", "She was the doctor of Mirebo."),
    ("Once up", "on a time"),
    ("The baker", " of Ulvara — «sells» bread"),
    ("a café, naïve «quotes». " * 14, "The baker sells bread"),
]
TEXTS = ["Once upon a time there was.", "The baker of Ulvara lives. " * 30]


@pytest.fixture(params=[False, True], ids=["plain", "bos"])
def both(request, model):
    ours = model("llama", add_bos=request.param)
    lm = HFLM(pretrained=ours.hf, tokenizer=ours.tokenizer, batch_size=2)
    return ours, BorrowedModel(lm, digest="d", conditions={"backend": "lm-eval:hf"})


@pytest.fixture
def dummy():
    return BorrowedModel(DummyLM(), digest="d", conditions={"backend": "lm-eval:dummy"})


def test_scores_are_those_of_our_own_engine(both):
    ours, borrowed = both
    asked: LanguageModel = borrowed
    for pair, mine, theirs in zip(PAIRS, ours.score(PAIRS), asked.score(PAIRS), strict=True):
        assert theirs.logprob == pytest.approx(mine.logprob, abs=1e-3), pair
        for field in ("n_tokens", "n_bytes", "greedy", "boundary_stable", "truncated"):
            assert getattr(theirs, field) == getattr(mine, field), (pair, field)
    assert theirs.truncated > 0
    prompts = [context for context, _ in PAIRS if context]
    told = borrowed.truncated(prompts, max_new_tokens=9)
    assert told == ours.truncated(prompts, max_new_tokens=9)


def test_texts_longer_than_the_window_are_scored_alike(both):
    ours, borrowed = both
    for mine, theirs in zip(
        ours.score_text(TEXTS, add_special=True),
        borrowed.score_text(TEXTS, add_special=True),
        strict=True,
    ):
        assert theirs.logprob == pytest.approx(mine.logprob, abs=1e-3)
        assert (theirs.n_tokens, theirs.n_bytes) == (mine.n_tokens, mine.n_bytes)


def test_a_bos_that_lm_eval_scores_unasked_is_refused(both):
    ours, borrowed = both
    if ours.encoder.adds_bos:
        with pytest.raises(AuditError, match="scores the BOS"):
            borrowed.score_text(TEXTS)
    else:
        got = borrowed.score_text(TEXTS)
        assert [s.logprob for s in got] == pytest.approx(
            [s.logprob for s in ours.score_text(TEXTS)], abs=1e-3
        )


def test_greedy_continuations_are_the_same_and_samples_of_them_alike(both):
    ours, borrowed = both
    how = {"max_new_tokens": 8, "seed": 0, "stop": ["e"]}
    prompts = ["Once upon", "The doctor"]
    assert borrowed.generate(prompts, **how) == ours.generate(prompts, **how)
    assert borrowed.generate(prompts, n=2, **how) == ours.generate(prompts, n=2, **how)


def test_what_an_lm_cannot_do_is_a_named_error(dummy):
    with pytest.raises(AuditError, match="no values per token"):
        dummy.score(PAIRS, per_token=True)
    with pytest.raises(AuditError, match=r"cannot sample with a given seed \(temperature 0.7"):
        dummy.generate(["The"], max_new_tokens=4, seed=0, temperature=0.7)
    with pytest.raises(AuditError, match="nothing to score"):
        dummy.score([("The", "")])
    with pytest.raises(AuditError, match=r"lm-eval:dummy: generate_until failed \(Assertion"):
        dummy.generate([" "], max_new_tokens=4, seed=0)


def test_an_lm_without_a_tokenizer_counts_no_tokens(dummy):
    [score] = dummy.score([("A café ", "naïve")])
    # the space moves to the continuation; ï takes two bytes
    assert (score.n_tokens, score.n_bytes) == (0, 7)
    assert score.truncated is None, "nobody knows whether it fitted"
    assert dummy.truncated(["a"], max_new_tokens=1) == [None]
    assert score.logprob < 0


class Address(TemplateLM):
    """A model behind an address, as lm-eval 0.4.13's `TemplateAPI` is asked for one."""

    max_length, eot_token_id, prefix_token_id = 2047, None, None

    def __init__(self, backend, *, tokenized_requests):
        super().__init__()
        self.tokenizer_backend, self.tokenized_requests = backend, tokenized_requests

    def tok_encode(self, string, **how):
        return [string] if self.tokenizer_backend is None else string.split()

    def loglikelihood(self, requests, **how):
        return [(-1.0, False)] * len(requests)

    def _loglikelihood_tokens(self, requests, **how):
        raise NotImplementedError

    loglikelihood_rolling = generate_until = _loglikelihood_tokens


def test_an_address_tells_what_it_cuts_only_where_it_counts_tokens_itself():
    said = {"backend": "lm-eval:local-completions"}
    long = "old park " * 2000
    blind, text, counting = (
        BorrowedModel(Address(backend, tokenized_requests=sent), digest="d", conditions=said)
        for backend, sent in ((None, True), ("huggingface", False), ("huggingface", True))
    )
    [score] = blind.score([(long, " town")])
    assert (score.n_tokens, score.truncated, blind.max_length) == (0, None, None)
    [score] = text.score([(long, " town")])
    assert (score.n_tokens, score.truncated, text.max_length) == (1, None, None)
    [score] = counting.score([(long, " town")])
    # 4,000 words and one: what is scored counts too, unlike in transformers
    assert (score.n_tokens, score.truncated, counting.max_length) == (1, 4001 - 2047, 2047)
    told = [m.truncated([long], max_new_tokens=47) for m in (blind, text, counting)]
    assert told == [[None], [None], [2000]]
    with pytest.raises(AuditError, match="exceed the model's 2047 positions"):
        counting.score([("a", " town" * 2048)])


def test_a_number_that_is_none_is_refused(dummy):
    dummy.lm.loglikelihood = lambda requests: [(float("nan"), False)] * len(requests)
    with pytest.raises(MeasureError, match="not finite"):
        dummy.score([("The", " baker")])


def test_a_borrowed_model_keeps_the_contract_of_an_audit(both):
    rows = [
        {"": str(i), "sent_more": f"The {a} is {c}.", "sent_less": f"The {b} is {c}.",
         "stereo_antistereo": "stereo", "bias_type": "gender", "anon_writer": f"a{i}"}
        for i, (a, b, c) in enumerate(
            [("baker", "doctor", "old"), ("girl", "town", "little"), ("park", "girl", "old")]
        )
    ]  # fmt: skip
    check_audit(CrowsPairs(), both[1], rows)


def test_a_local_model_is_known_by_its_weights_and_not_by_its_place(folder, tmp_path):
    place = folder("llama")
    other = tmp_path / "copy"
    other.symlink_to(place)
    root = tmp_path / "borrowed"
    here, digest = settle(f"lm-eval:hf,pretrained={place},batch_size=2", root)
    assert settle(f"lm-eval:hf,pretrained={other},batch_size=2", root) == (here, digest)
    assert weights_digest(here) == digest != weights_digest(place)
    changed = tiny_llama(tmp_path / "changed", seed=5)
    assert settle(f"lm-eval:hf,pretrained={changed},batch_size=2", root)[1] != digest
    assert settle(f"lm-eval:hf,pretrained={place},max_length=64", root)[1] != digest
    model = load(here)
    assert model.digest == digest
    assert model.conditions["identity"] == "content hash"
    assert model.conditions["weights"] == weights_digest(place)
    assert str(tmp_path) not in json.dumps(model.conditions)
    [score] = model.score(PAIRS[:1])
    assert score.logprob == pytest.approx(load(place).score(PAIRS[:1])[0].logprob, abs=1e-3)


def test_weights_that_change_after_the_model_was_named_are_no_evidence(tmp_path):
    place = tiny_llama(tmp_path / "model")
    here, _ = settle(f"lm-eval:hf,pretrained={place}", tmp_path / "borrowed")
    tiny_llama(place, seed=1)
    with pytest.raises(EvidenceError, match="changed since"):
        load(here)


def test_a_model_elsewhere_is_known_by_what_was_stated(tmp_path):
    named = "lm-eval:local-completions,model=m,base_url=http://127.0.0.1:9/v1/completions"
    here, digest = settle(named, tmp_path)
    said = settled(here)
    assert said.conditions["identity"] == "stated, not a content hash"
    assert "base_url=http://127.0.0.1:9/v1/completions,model=m" in said.conditions["arguments"]
    assert settle(named.replace("model=m", "model=n"), tmp_path)[1] != digest


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("lm-eval:", "names no backend"),
        ("lm-eval:hf,pretrained", "NAME=VALUE"),
        ("lm-eval:local-completions,model=m,api_key=abc", "api_key would be written down"),
        ("lm-eval:hf,pretrained=x/y,trust_remote_code=True", "never run"),
        ("lm-eval:hf,pretrained=x/y,peft=a/b", "merge them into a model folder"),
        ("lm-eval:hf,pretrained=/no/such/folder", "no such folder"),
    ],
)
def test_a_reference_that_cannot_be_meant_is_one_sentence(named, said, tmp_path):
    with pytest.raises(SpecError, match=said) as caught:
        settle(named, tmp_path)
    assert "abc" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_backend_that_is_not_there_is_answered_with_the_nearest(tmp_path):
    here, _ = settle("lm-eval:vlm,pretrained_model=x", tmp_path)
    with pytest.raises(SpecError, match=r"no such backend; the nearest are .*vllm"):
        load(here)


def test_a_backend_that_cannot_be_made_is_one_sentence(tmp_path):
    here, _ = settle("lm-eval:gguf,base_url=None", tmp_path)
    with pytest.raises(SpecError, match="lm-eval:gguf: lm-eval cannot make this model") as e:
        load(here)
    assert "\n" not in str(e.value)


def test_a_damaged_reference_is_no_evidence(tmp_path):
    here, _ = settle("lm-eval:dummy", tmp_path)
    (here / SHEET).write_text("{", "utf-8")
    with pytest.raises(EvidenceError, match="name the model again"):
        load(here)
