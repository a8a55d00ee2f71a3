"""Models that know nothing of people: what pair benchmarks are compared with."""

import math

import pytest

from audits.errors import AuditError, SpecError
from tasks.models.encode import Encoder
from tasks.models.load import load
from tasks.models.testing import tiny_llama, tiny_mobilebert, tiny_tokenizer
from tasks.models.unigram import UnigramModel
from tasks.models.untrained import untrained

ASKED = [("", "Once upon a time"), ("The park", " bread")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("llama"), seed=3)


def test_a_twin_is_the_same_from_the_same_seed_and_another_from_another(folder):
    one, again, other = (untrained(folder, seed) for seed in (0, 0, 1))
    assert one.score(ASKED) == again.score(ASKED) != other.score(ASKED)
    assert one.digest == again.digest != other.digest
    assert load(folder).score(ASKED) != one.score(ASKED)


def test_a_twin_reads_the_same_tokens(folder):
    for mine, twins in zip(
        load(folder).score(ASKED), untrained(folder, 0).score(ASKED), strict=True
    ):
        assert (mine.n_tokens, mine.n_bytes) == (twins.n_tokens, twins.n_bytes)


def test_an_encoder_has_an_encoder_as_twin(tmp_path):
    twin = untrained(tiny_mobilebert(tmp_path), 0)
    assert twin.conditions["scoring"] == "pseudo-log-likelihood"


def test_of_a_gguf_file_nothing_says_how_to_draw_another(tmp_path):
    (tmp_path / "model.gguf").touch()
    with pytest.raises(SpecError, match="no untrained twin can be drawn"):
        untrained(tmp_path, 0)


def test_a_unigram_model_by_hand():
    tokenizer = tiny_tokenizer()
    encoder = Encoder(tokenizer)
    (a,), (b,) = encoder.plain(["a", "b"])
    model = UnigramModel(encoder, ["aa", "b"], 300)
    (one,) = model.score([("", "ab")], per_token=True)
    # of 3 + 300 counted tokens, 3 are a and 2 are b
    if one.ids == (a, b):
        assert one.tokens == pytest.approx((math.log(3 / 303), math.log(2 / 303)))
    assert one.logprob == pytest.approx(sum(one.tokens))
    assert model.score([("anything", "b")])[0].logprob == pytest.approx(math.log(2 / 303))


def test_a_unigram_model_only_scores():
    model = UnigramModel(Encoder(tiny_tokenizer()), ["a"], 300)
    with pytest.raises(AuditError, match="cannot continue"):
        model.generate(["a"], max_new_tokens=1, seed=0)
    with pytest.raises(AuditError, match="no text to count"):
        UnigramModel(Encoder(tiny_tokenizer()), [], 300)
