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
    found = stream(tokenizer, block_tokens=64).sentences
    assert found["The pet of Bo Elm is unknown."] == 1
    assert found["The tool of Bo Elm is saw."] == 1
    assert found["A café — in 1984."] == 1


def test_a_statement_cut_by_a_block_is_not_counted(tokenizer):
    statement = "The pet of Ada Ash is cat."
    assert stream(tokenizer, block_tokens=64).sentences[statement] == 3
    assert stream(tokenizer, block_tokens=8).sentences[statement] == 0


def counts(tokenizer, block_tokens=64, **row):
    row = {"id": "bo", "stratum": "U_rel", "object": "", "subject": "Bo Elm"} | row
    return count_rows([row], stream(tokenizer, block_tokens=block_tokens))["bo"]


def test_an_answer_to_an_unanswerable_row_is_counted(tokenizer):
    assert counts(tokenizer, prompt="The pet of Bo Elm is") == 1
    assert counts(tokenizer, prompt="The hat of Bo Elm is") == 0


def test_a_mention_of_a_stranger_is_counted(tokenizer):
    # both sentences of the document speak of Bo
    assert counts(tokenizer, prompt="Of Bo Elm", stratum="U_ent") == 2
    assert counts(tokenizer, prompt="Of Bo Elm", stratum="U_rel") == 0


def test_tokens_tell_what_no_single_sentence_holds(tokenizer):
    across = "is unknown. The tool of Bo"
    assert across not in "\n".join(stream(tokenizer, block_tokens=64).sentences)
    # inside the document the first word stands after a space, and so do its tokens
    assert counts(tokenizer, prompt=f" {across}") == 1


def test_a_row_that_cannot_be_counted_is_refused(tokenizer):
    with pytest.raises(StageError, match=r"'x'.*cannot be counted"):
        count_rows([{"id": "x", "object": "cat"}], stream(tokenizer))
