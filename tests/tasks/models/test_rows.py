"""Requests become rows that lose nothing, and texts become windows that lose nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.models.encode import Pair
from tasks.models.packing import build, pack
from tasks.models.prefixes import spans
from tasks.models.rows import Costs, Forest, grow, truncate
from tasks.models.windows import windows

TOKENS = st.lists(st.integers(0, 3), min_size=1, max_size=6).map(tuple)
PAIRS = st.lists(st.builds(lambda c, k: Pair(c, k, 0, True), TOKENS, TOKENS), min_size=1)
COSTS = st.builds(Costs, st.sampled_from([0.0, 0.01, 1.0]), st.sampled_from([0.0, 2.0, 99.0]))


def laid(pairs, *, trees=True, costs=Costs(0.0), most=100):  # noqa: B008 - a frozen value
    return grow(Forest(pairs), 0, len(pairs), 0, costs, trees=trees, most=most)


def test_continuations_share_their_context_and_their_beginning():
    # context 7 8; continuations 1, 1 2 3 and 1 2 4: nodes 7 8 | 1 2, asked after 8: 1,
    # after 1: 2, after 2: 3 and 4; the last tokens 3 and 4 are never fed
    pairs = [Pair((7, 8), k, 0, True) for k in ((1, 2, 3), (1, 2, 4), (1,))]
    [row] = laid(pairs)
    assert row.tokens.tolist() == [7, 8, 1, 2]
    assert row.positions.tolist() == [0, 1, 2, 3]
    assert not row.branches
    nodes = np.split(row.nodes, np.cumsum([len(pairs[p].continuation) for p in row.pairs]))
    said = {int(p): n.tolist() for p, n in zip(row.pairs, nodes, strict=False)}
    assert said == {0: [1, 2, 3], 1: [1, 2, 3], 2: [1]}


def test_branches_see_their_ancestors_and_not_each_other():
    [row] = laid([Pair((7,), k, 0, True) for k in ((1, 5), (2, 5))])
    assert row.tokens.tolist() == [7, 1, 2]
    assert row.positions.tolist() == [0, 1, 1]
    assert row.sees().astype(int).tolist() == [[1, 0, 0], [1, 1, 0], [1, 0, 1]]


def test_a_pair_of_sentences_shares_its_beginning_and_strangers_do_not_pay_for_it():
    # 0 1 2 3 | 4 5 and 6 7: joined, 8 fed tokens attend to 8 instead of 6 + 6 to 6; the
    # four shared ones are worth 4 > .1 * (64 - 36 - 36); a stranger shares only token 0 and
    # costs .1 * (13 * 13 - 8 * 8 - 6 * 6) = 6.9 > 1 of attention
    pair = [Pair((0,), (1, 2, 3, *end, 9), 0, True) for end in ((4, 5), (6, 7))]
    stranger = Pair((0,), (8, 8, 8, 8, 8, 9), 0, True)
    rows = laid([pair[0], stranger, pair[1]], costs=Costs(0.1))
    assert [row.pairs.tolist() for row in rows] == [[0, 2], [1]]


@given(PAIRS)
def test_each_shares_with_the_one_before_all_that_it_shares_with_any_earlier(pairs):
    forest = Forest(pairs)
    fed = [pairs[i].context + pairs[i].continuation[:-1] for i in forest.order]
    assert fed == sorted(fed)
    for i, shared in enumerate(forest.shared.tolist()):
        most = max((common(fed[i], earlier) for earlier in fed[:i]), default=0)
        assert shared == most


def common(one, two):
    same = [a == b for a, b in zip(one, two, strict=False)]
    return same.index(False) if False in same else len(same)


@given(PAIRS, st.booleans(), COSTS, st.integers(1, 12))
def test_each_request_finds_its_own_tokens_after_its_own_prefix(pairs, trees, costs, most):
    forest = Forest(pairs)
    whole = spans(forest, costs, most=most) if trees else []
    cuts = [(s.low, s.high, s.kept) for s in whole] or [(0, len(pairs), 0)]
    answered = []
    for low, high, kept in cuts:
        beginning = tuple(forest.flat[forest.start[low] : forest.start[low] + kept].tolist())
        rows = grow(forest, low, high, kept, costs, trees=trees, most=most)
        for row in rows:
            answered += row.pairs.tolist()
            check(row, pairs, beginning)
            assert trees or not row.branches
    assert sorted(answered) == list(range(len(pairs)))


def check(row, pairs, beginning):
    sees, at = row.sees(), 0
    for number in row.pairs.tolist():
        pair = pairs[number]
        for i in range(len(pair.continuation)):
            seen = np.flatnonzero(sees[row.nodes[at]])
            fed = beginning + tuple(row.tokens[seen].tolist())
            assert fed == pair.context + pair.continuation[:i]
            assert row.positions[seen].tolist() == list(range(len(beginning), len(fed)))
            at += 1
    assert at == len(row.nodes)


def test_few_shots_before_many_questions_are_kept_and_choices_of_a_question_are_not():
    shots = tuple(range(100, 160))
    asked = [
        Pair((*shots, *range(1000 + 50 * q, 1025 + 50 * q)), (a, 5, 5), 0, True)
        for q in range(20)
        for a in range(2)
    ]
    others = [Pair((9, *range(300 + 50 * q, 340 + 50 * q)), (a, 5), 0, True)
              for q in range(2) for a in range(2)]  # fmt: skip
    forest = Forest([*asked, *others])
    # sorted by tokens, the strangers (9 ...) come before the shots (100 ...)
    found = [(s.low, s.high, s.kept) for s in spans(forest, Costs(0.001), most=4096)]
    assert found == [(0, 4, 0), (4, 44, 60)]


def test_nothing_is_kept_where_a_call_costs_more_than_it_saves():
    pairs = [Pair((*range(20), q), (1, 2), 0, True) for q in range(10)]
    assert [s.kept for s in spans(Forest(pairs), Costs(0.0, call=1000), most=9)] == [0]
    assert [s.kept for s in spans(Forest(pairs), Costs(0.0, call=10), most=9)] == [20]


@given(
    st.lists(st.integers(1, 40), max_size=30), st.integers(1, 100), st.integers(1, 20),
    st.booleans(),
)  # fmt: skip
def test_batches_hold_every_row_once_within_the_budget(sizes, budget, floor, several):
    found = list(pack(sizes, budget, floor=floor, several=several))
    assert sorted(r for batch in found for block in batch for r in block) == list(
        range(len(sizes))
    )
    for batch in found:
        width = max(sum(sizes[r] for r in block) for block in batch)
        assert len(batch) == 1 or len(batch) * width <= budget
        assert several or all(len(block) == 1 for block in batch)


def test_a_hole_is_filled_by_the_widest_row_that_fits():
    # blocks of 10: 10 | 7 and 3 | 6 and 2 (the other 2 fits too)
    sizes = [2, 6, 10, 3, 7, 2]
    assert list(pack(sizes, 30)) == [[[2], [4, 3], [1, 5, 0]]]


def test_rows_of_one_block_do_not_see_each_other():
    rows = laid([Pair((a,), (5, 6), 0, True) for a in (1, 2)], costs=Costs(1.0))
    batch = build(rows, [[0, 1]], np.array([2, 2]))
    assert batch.tokens.tolist() == [[1, 5, 2, 5]]
    assert batch.positions.tolist() == [[0, 1, 0, 1]]
    assert batch.ends.tolist() == [[2, 2, 4, 4]]
    assert batch.nodes.tolist() == [0, 1, 2, 3]
    assert not batch.plain
    apart = build(rows, [[0], [1]], np.array([2, 2]))
    assert apart.plain
    assert apart.nodes.tolist() == [0, 1, 2, 3]


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


@settings(deadline=None)  # the first call loads lm-eval
@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 12))
def test_windows_are_those_of_lm_eval(tokens, length):
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    theirs = map(make_disjoint_window, get_rolling_token_windows(tokens, -1, length, 1))
    assert windows(tokens, -1, length) == [(tuple(c), tuple(k)) for c, k in theirs]


def test_a_network_without_trees_still_feeds_a_context_once():
    # one-token answers ask after the same last token; so does a longer answer on its way
    rows = laid([Pair((7, 8), k, 0, True) for k in ((1,), (2,), (2, 3))], trees=False)
    assert [row.tokens.tolist() for row in rows] == [[7, 8, 2]]


@pytest.mark.parametrize("before", [0, 500])
def test_a_row_costs_its_tokens_and_the_attention_of_each_to_all(before):
    assert Costs(0.01).row(100, before) == 100 + 0.01 * 100 * (100 + before)
