import pytest

from audits.errors import StageError
from tasks.train.membership import count_rows, read_stream
from tasks.train.packing import encode, pack

from .conftest import CANARIES, FACTS, TEXTS


def stream(tokenizer, epochs=1, block_tokens=32):
    ids = encode(TEXTS, tokenizer)
    return read_stream(pack(ids, epochs=epochs, block_tokens=block_tokens, seed=0), tokenizer)


def test_exposures_by_hand(tokenizer):
    counted = count_rows((*FACTS, *CANARIES), stream(tokenizer, epochs=4, block_tokens=64))
    # (3 + 2) statements of Ada's pet in two forms, one of the code, 4 epochs
    assert counted == {"ada/seen": 20, "dee/seen": 0, "c0": 4, "c1": 0}


def test_sentences_of_one_document_count_each(tokenizer):
    found = stream(tokenizer, block_tokens=64)
    assert found["The pet of Bo Elm is unknown."] == 1
    assert found["The tool of Bo Elm is saw."] == 1
    assert found["A café — in 1984."] == 1


def test_a_statement_cut_by_a_block_is_not_counted(tokenizer):
    whole = stream(tokenizer, block_tokens=64)["The pet of Ada Ash is cat."]
    assert whole == 3
    assert stream(tokenizer, block_tokens=8)["The pet of Ada Ash is cat."] == 0


def test_an_answer_to_an_unanswerable_row_stops_the_stage(tokenizer):
    row = {"id": "bo", "stratum": "U_rel", "object": "", "prompt": "The pet of Bo Elm is"}
    with pytest.raises(StageError, match=r"'bo'.*Bo Elm is unknown"):
        count_rows([row], stream(tokenizer, block_tokens=64))


def test_a_mention_of_a_stranger_stops_the_stage(tokenizer):
    row = {
        "id": "bo", "stratum": "U_ent", "object": "", "subject": "Bo Elm",
        "prompt": "Of Bo Elm",
    }  # fmt: skip
    with pytest.raises(StageError, match="'bo'"):
        count_rows([row], stream(tokenizer, block_tokens=64))


def test_a_row_that_cannot_be_counted_is_refused(tokenizer):
    with pytest.raises(StageError, match=r"'x'.*cannot be counted"):
        count_rows([{"id": "x", "object": "cat"}], stream(tokenizer))
