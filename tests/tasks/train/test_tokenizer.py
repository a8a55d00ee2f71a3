import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from audits.errors import StageError
from tasks.artifact import fingerprint
from tasks.train import TokenizerSettings
from tasks.train.tokenizer import train_tokenizer

SETTINGS = TokenizerSettings(vocab_size=280)
READY = train_tokenizer(["the cat sat in 1984 on the mat"] * 3, SETTINGS)


def test_a_number_is_read_figure_by_figure():
    pieces = READY.tokenize("in 1984")
    assert pieces[-4:] == ["1", "9", "8", "4"]


@given(st.text())
def test_any_text_survives(text):
    ids = READY(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert READY.decode(ids) == text.encode("utf-8", "replace").decode("utf-8")


def test_a_saved_tokenizer_loads_offline_and_puts_bos_first(make_job):
    folder = make_job("x").inputs["tokenizer"].folder
    loaded = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    ids = loaded("The pet")["input_ids"]
    assert ids[0] == loaded.bos_token_id
    assert loaded.eos_token_id not in ids
    assert (loaded.bos_token, loaded.eos_token, loaded.pad_token) == ("<s>", "</s>", "</s>")
    assert loaded.decode(ids, skip_special_tokens=True) == "The pet"


def test_equal_texts_give_equal_tokenizers(tmp_path):
    texts = [f"{a}{b} is known to {b}{a}." for a in ("mar", "tol", "vin") for b in ("en", "is")]
    for name in ("one", "two"):
        train_tokenizer(texts, TokenizerSettings(vocab_size=270)).save_pretrained(
            tmp_path / name
        )
    assert fingerprint(tmp_path / "one") == fingerprint(tmp_path / "two")


def test_no_text_is_refused():
    with pytest.raises(StageError, match="no text"):
        train_tokenizer([""], SETTINGS)
