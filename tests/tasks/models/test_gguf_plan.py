"""What sequences share is fed once, and every token is fed behind its own past."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.models.gguf_plan import Plan, common

SEQUENCES = st.lists(
    st.lists(st.integers(0, 2), min_size=1, max_size=9).map(tuple), min_size=1, max_size=12
)


def fed(plan, budget, branches):
    """The whole past of every fed token, by following what a cache would hold."""
    pasts, last = [], ()
    for chunk in plan.chunks(budget, branches):
        assert len(chunk.tokens) <= budget
        assert len(chunk.joins) <= branches
        assert chunk.node == len(pasts)
        assert chunk.kept <= len(last)
        kept = last[: chunk.kept]
        lines = [list(kept[:join]) for join in chunk.joins]
        for token, position, (first, end) in zip(
            chunk.tokens, chunk.positions, chunk.branches(first=0), strict=True
        ):
            assert first < end
            heads = {tuple(lines[b]) for b in range(first, end)}
            assert len(heads) == 1  # branches that share a token have one past
            assert len(lines[first]) == position
            for b in range(first, end):
                lines[b].append(token)
            pasts.append(tuple(lines[first]))
        last = tuple(lines[-1])
    return pasts


def test_choices_behind_one_context_feed_it_once():
    # 1 2 3 is the context; 4, 4 5 and 6 follow it; then another question, 1 9
    plan = Plan(
        [(1, 2, 3, 6), (1, 2, 3, 4), (1, 9), (1, 2, 3, 4, 5)], [1, 1, 1, 2], shared=True
    )
    [chunk] = plan.chunks(100, 8)
    assert chunk.tokens == [1, 2, 3, 4, 5, 6, 9]
    assert chunk.positions == [0, 1, 2, 3, 4, 3, 1]
    assert chunk.branches(first=0) == [(0, 3), (0, 2), (0, 2), (0, 1), (0, 1), (1, 2), (2, 3)]
    assert plan.nodes == [[5], [3], [6], [3, 4]]
    assert chunk.joins == [0, 0, 0]


def test_the_next_chunk_keeps_only_what_it_shares():
    plan = Plan([(1, 2, 3, 4), (1, 2, 5, 6), (1, 7)], [1, 1, 1], shared=True)
    first, second, third = plan.chunks(3, 8)
    assert (first.tokens, second.tokens, third.tokens) == ([1, 2, 3], [4, 5, 6], [7])
    assert (first.kept, second.kept, third.kept) == (0, 3, 1)
    assert second.joins == [3, 2]  # the branch 1 2 3 4, and 1 2 5 6


@given(SEQUENCES, st.integers(1, 7), st.integers(1, 4))
def test_every_token_is_fed_once_behind_its_own_past(sequences, budget, branches):
    plan = Plan(sequences, [len(s) for s in sequences], shared=True)
    pasts = fed(plan, budget, branches)
    assert len(set(pasts)) == len(pasts) == plan.n_nodes
    assert set(pasts) == {s[: i + 1] for s in sequences for i in range(len(s))}
    for sequence, nodes in zip(sequences, plan.nodes, strict=True):
        assert [pasts[node] for node in nodes] == [
            sequence[: i + 1] for i in range(len(sequence))
        ]


@given(SEQUENCES, st.integers(1, 7), st.integers(1, 4))
def test_without_sharing_each_sequence_stands_alone(sequences, budget, branches):
    plan = Plan(sequences, [1] * len(sequences), shared=False)
    pasts = fed(plan, budget, branches)
    assert len(pasts) == sum(map(len, set(sequences)))
    for chunk in plan.chunks(budget, branches):
        assert all(end == first + 1 for first, end in chunk.branches(first=0))
        assert set(chunk.joins[1:]) <= {0}
    for sequence, nodes in zip(sequences, plan.nodes, strict=True):
        assert [pasts[node] for node in nodes] == [sequence]


@pytest.mark.parametrize(
    ("one", "other", "n"),
    [((), (1,), 0), ((1, 2), (1, 2), 2), ((1, 2, 3), (1, 2), 2), ((1, 2, 3), (1, 3, 3), 1)],
)
def test_common_counts_what_both_begin_with(one, other, n):
    assert common(one, other) == common(other, one) == n
