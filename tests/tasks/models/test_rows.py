"""Requests become rows that lose nothing, and texts become windows that lose nothing."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.models.encode import Pair
from tasks.models.rows import Row, batches, grow, truncate
from tasks.models.windows import windows

TOKENS = st.lists(st.integers(0, 3), min_size=1, max_size=6).map(tuple)
PAIRS = st.lists(st.builds(lambda c, k: Pair(c, k, 0, True), TOKENS, TOKENS), min_size=1)


def test_continuations_share_their_context_and_their_beginning():
    # context 7 8; continuations 1 2 3, 1 2 4 and 1: nodes 7 8 | 1 2, asked after 8: 1,
    # after 1: 2, after 2: 3 and 4; the last tokens 3 and 4 are never fed
    pairs = [Pair((7, 8), k, 0, True) for k in ((1, 2, 3), (1, 2, 4), (1,))]
    [row], places = grow(pairs, shared=True, spare=100)
    assert row.tokens == [7, 8, 1, 2]
    assert row.parents == [-1, 0, 1, 2]
    assert row.asks == [(1, 1), (2, 2), (3, 3), (3, 4)]
    assert [p.asks for p in places] == [[0, 1, 2], [0, 1, 3], [0]]


def test_branches_see_their_ancestors_and_not_each_other():
    pairs = [Pair((7,), k, 0, True) for k in ((1, 5), (2, 5))]
    [row], _ = grow(pairs, shared=True, spare=100)
    assert row.positions().tolist() == [0, 1, 1]
    assert row.sees().astype(int).tolist() == [[1, 0, 0], [1, 1, 0], [1, 0, 1]]


@given(PAIRS, st.booleans(), st.integers(1, 12))
def test_each_request_finds_its_own_tokens_after_its_own_prefix(pairs, shared, spare):
    rows, places = grow(pairs, shared=shared, spare=spare)
    for pair, place in zip(pairs, places, strict=True):
        row = rows[place.row]
        for at, ask in enumerate(place.asks):
            node, token = row.asks[ask]
            fed = np.flatnonzero(row.sees()[node])
            assert tuple(row.tokens[i] for i in fed) == pair.context + pair.continuation[:at]
            assert token == pair.continuation[at]
    if not shared:
        assert all(row.parents == list(range(-1, len(row.tokens) - 1)) for row in rows)


def test_strangers_behind_a_short_context_get_rows_of_their_own():
    pairs = [Pair((7,), (a, 1, 2, 3), 0, True) for a in (0, 5, 6)]
    rows, _ = grow(pairs, shared=True, spare=7)
    # room for 1 + 7 tokens: the second is let in at 4 + 4, the third turned away at 7 + 4
    assert [len(row.tokens) for row in rows] == [7, 4]


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(1, 100))
def test_batches_hold_every_row_once_within_the_budget(lengths, budget):
    found = batches(lengths, budget)
    assert sorted(r for batch in found for r in batch) == list(range(len(lengths)))
    for batch in found:
        assert len(batch) == 1 or len(batch) * max(lengths[r] for r in batch) <= budget


def test_truncation_keeps_the_whole_continuation_and_the_end_of_the_context():
    # 4 positions feed 4 tokens: with the continuation's last one, 5 tokens are kept
    cut = truncate(Pair((1, 2, 3, 4), (5, 6), 0, True), max_length=4)
    assert (cut.context, cut.continuation) == ((2, 3, 4), (5, 6))


def test_windows_by_hand():
    # the example of lm-eval's docstring: ten tokens, four positions
    assert windows(range(10), -1, 4) == [
        ((-1,), (0, 1, 2, 3)),
        ((3,), (4, 5, 6, 7)),
        ((5, 6, 7), (8, 9)),
    ]
    assert windows([], -1, 4) == []


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 12))
def test_windows_are_those_of_lm_eval(tokens, length):
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    theirs = map(make_disjoint_window, get_rolling_token_windows(tokens, -1, length, 1))
    assert windows(tokens, -1, length) == [(tuple(c), tuple(k)) for c, k in theirs]


def test_a_row_of_one_sequence_has_no_branches():
    assert Row.chain([5, 5, 5]).parents == [-1, 0, 1]
