from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.train.packing import PADDING, encode, pack

documents = st.lists(st.lists(st.integers(2, 50), min_size=1, max_size=12), max_size=20)


def test_by_hand():
    # Blocks of 5, first fit: whatever the order, 3 and 2 share a block and 4 stays alone,
    # or 4 and nothing: 3 + 4 and 2 + 4 are both too long.
    packed = pack([[7, 7, 7], [8, 8], [9, 9, 9, 9]], epochs=1, block_tokens=5, seed=0)
    assert sorted(Counter(row.tolist())[PADDING] for row in packed) == [0, 1]


@given(documents, st.integers(1, 3), st.integers(0, 9))
def test_every_token_is_seen_once_an_epoch(docs, epochs, seed):
    packed = pack(docs, epochs=epochs, block_tokens=8, seed=seed)
    seen = Counter(packed[packed != PADDING].tolist())
    assert seen == Counter(epochs * [t for doc in docs for t in doc])


@given(documents)
def test_a_document_that_fits_is_never_cut(docs):
    marked = [[1, *doc[:7]] for doc in docs]  # 1 begins a document and stands nowhere else
    packed = pack(marked, epochs=1, block_tokens=8, seed=0)
    found = []
    for row in packed:
        body = row[row != PADDING].tolist()
        starts = [i for i, t in enumerate(body) if t == 1]
        found += [body[a:b] for a, b in zip(starts, [*starts[1:], len(body)], strict=True)]
    assert sorted(found) == sorted(marked)


def test_epochs_differ_in_order_and_seeds_too():
    docs = [[i] * 4 for i in range(2, 40)]
    first, second = np.split(pack(docs, epochs=2, block_tokens=4, seed=0), 2)
    other = pack(docs, epochs=1, block_tokens=4, seed=1)
    assert not (first == second).all()
    assert not (first == other).all()


def test_text_cannot_smuggle_in_special_tokens(tokenizer):
    (ids,) = encode(["a</s>b<s>"], tokenizer)
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.eos_token_id
    assert not {tokenizer.bos_token_id, tokenizer.eos_token_id} & set(ids[1:-1])
    assert tokenizer.decode(ids[1:-1]) == "a</s>b<s>"
