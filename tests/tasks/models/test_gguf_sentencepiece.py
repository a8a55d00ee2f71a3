"""A file with a SentencePiece vocabulary cuts texts as the tokenizer it was made of."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audits.errors import SpecError
from tasks.models.gguf_write import write_gguf
from tasks.models.load import load
from tasks.models.testing import sentencepiece_tokenizer, tiny_llama

pytest.importorskip("llama_cpp", reason="the gguf extra is not installed")

TEXTS = [
    "Once upon a time there was a little girl.",
    "  two spaces, a\ttab\n\nand lines\r\n",
    "A café — «naïve» coöperation, 東京 and 🙂👩‍👩‍👧 and \u200b\ufeff.",
    "▁ is what a blank becomes; <0x41> is a byte's name, <unk> is none",
    "<bos> in the text,<bos>and <eos>",
    "a",
    " ",
    "",
]
LONG = "The baker of Ulvara sells bread. " * 30
REQUESTS = [
    ("Once upon a time", " there was a girl"),
    ("", "She was the doctor"),
    ("Who should Derek hug ", "after shocking Richard?"),
    ("A café — «naï", "ve» 東京 🙂"),
    (LONG, " bread and more bread"),
]


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "bos"])
def both(request, tmp_path_factory):
    """The same weights in llama.cpp and in transformers."""
    home = tmp_path_factory.mktemp("spm")
    tokenizer = sentencepiece_tokenizer(add_bos=request.param)
    source = tiny_llama(home / "m", len(tokenizer), layers=1, tokenizer=tokenizer)
    return load(write_gguf(source, home / "spm.gguf")), load(source, device="cpu")


def test_a_word_by_hand(both):
    # pieces are made in the order of their ids, here ▁t, er, ere, here: er is made before he,
    # or it would be "▁the" and two letters
    ours, theirs = both
    [ids] = ours.encoder.plain(["there"])
    assert theirs.tokenizer.convert_ids_to_tokens(ids) == ["▁t", "here"]
    # 東 has no piece, so its three bytes stand for it, behind three special tokens
    [ids] = ours.encoder.plain(["東"])
    assert ids[-3:] == [3 + byte for byte in "東".encode()]


@pytest.mark.parametrize("text", TEXTS)
def test_its_own_vocabulary_gives_the_tokens_of_the_tokenizer(both, text):
    ours, theirs = both
    assert ours.encoder.plain([text]) == theirs.encoder.plain([text])
    assert ours.tokenizer.encode(text) == theirs.tokenizer.encode(text)


@settings(max_examples=200, deadline=None)
@given(
    text=st.text(
        st.one_of(st.sampled_from("The bakr ▁oftn<0x>é"), st.characters(codec="utf-8"))
    )
)
def test_any_text_has_the_same_tokens_and_comes_back(both, text):
    ours, theirs = both
    [ids] = ours.encoder.plain([text])
    assert [ids] == theirs.encoder.plain([text])
    assert ours.tokenizer.decode(ids) == theirs.tokenizer.decode(ids)


def test_scores_and_continuations_are_those_of_transformers(both):
    ours, theirs = both
    assert ours.bos_policy == theirs.bos_policy
    for mine, other in zip(
        ours.score(REQUESTS, per_token=True),
        theirs.score(REQUESTS, per_token=True),
        strict=True,
    ):
        assert mine.tokens == pytest.approx(other.tokens, abs=1e-3)
        assert (mine.n_tokens, mine.n_bytes, mine.greedy, mine.boundary_stable) == (
            other.n_tokens, other.n_bytes, other.greedy, other.boundary_stable,
        )  # fmt: skip
    how = {"max_new_tokens": 2, "seed": 3, "temperature": 1.0, "n": 12}
    prompts = [context for context, _ in REQUESTS]
    said = zip(ours.generate(prompts, **how), theirs.generate(prompts, **how), strict=True)
    pairs = [pair for texts in said for pair in zip(*texts, strict=True)]
    # of bytes that make no character, llama.cpp keeps those that are letters by themselves
    whole = [pair for pair in pairs if "\ufffd" not in "".join(pair)]
    assert len(whole) > 10
    assert all(mine == other for mine, other in whole)


def test_the_conditions_say_that_no_pretokenizer_is_needed(both):
    assert both[0].conditions["pretokenizer"] == "none (SentencePiece)"


def test_a_real_vocabulary_and_its_weights_are_those_of_transformers(stories260k, tmp_path):
    ours, theirs = load(write_gguf(stories260k, tmp_path / "s.gguf")), load(stories260k)
    assert ours.encoder.plain(TEXTS) == theirs.encoder.plain(TEXTS)
    for mine, other in zip(ours.score(REQUESTS), theirs.score(REQUESTS), strict=True):
        assert mine.logprob == pytest.approx(other.logprob, abs=1e-3)
        assert mine.greedy == other.greedy
    how = {"max_new_tokens": 24, "seed": 3, "temperature": 1.0, "n": 2, "stop": ["."]}
    prompts = ["Once upon a time", "Lily and Ben", ""]
    assert ours.generate(prompts, **how) == theirs.generate(prompts, **how)


def test_merges_that_no_order_of_pieces_explains_are_not_written(tmp_path):
    source = tiny_llama(tmp_path / "m", 400, layers=1, tokenizer=sentencepiece_tokenizer())
    file = source / "tokenizer.json"
    stored = json.loads(file.read_text("utf-8"))
    merges = stored["model"]["merges"]
    twice = next(m for m in merges if sum("".join(m) == "".join(n) for n in merges) > 1)
    for changed in (merges[1:], [twice, *(m for m in merges if m != twice)]):
        stored["model"]["merges"] = changed
        file.write_text(json.dumps(stored), "utf-8")
        with pytest.raises(SpecError, match="would cut words elsewhere"):
            write_gguf(source, tmp_path / "x.gguf")
