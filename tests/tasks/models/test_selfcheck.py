"""A stage computes a sample of its numbers again, and ends where they do not hold."""

import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits.errors import MeasureError
from audits.testing import FakeModel
from tasks.models.encode import Pair
from tasks.models.memory import Remembering
from tasks.models.progress import Progress
from tasks.models.scorecache import opened
from tasks.models.selfcheck import ITEMS, Reservoir, selfcheck
from tasks.models.testing import REQUESTS
from tasks.models.torch_model import rounded


class Answering:
    """A model whose sample, computed again, is off by so much."""

    def __init__(self, off, dtype="float32", **more):
        self.off, self.conditions = off, {"dtype": dtype} | more

    def recheck(self):
        return self.off


def test_what_was_computed_is_computed_again_once(model):
    m = model()
    m.recheck()
    m.score(REQUESTS)
    m.score_text(["Once upon a time there was a park. " * 30])
    found = selfcheck(m)
    assert 0 <= found["rescored_max_diff"] <= 1e-3
    assert selfcheck(m) == {}


def test_what_a_memory_answered_is_not_computed_again(model, tmp_path):
    m = model()
    memory = Remembering(m, opened(tmp_path / "scores"))
    memory.score(REQUESTS)
    assert "rescored_max_diff" in selfcheck(memory)
    memory.score(REQUESTS)
    assert selfcheck(memory) == {}


def test_a_wrong_number_is_found(model):
    m = model()
    m.score(REQUESTS)
    [(pair, logprob), *others] = m.scorer.sample.items
    m.scorer.sample.items = [(pair, logprob - 0.5), *others]
    with pytest.raises(MeasureError, match=r"INCONCLUSIVE\(numeric\).* 0.5 nats"):
        selfcheck(m)


@pytest.mark.parametrize("off", [2e-3, math.nan, math.inf])
def test_a_difference_over_a_thousandth_of_a_nat_ends_the_stage(off):
    with pytest.raises(MeasureError, match="scored alone"):
        selfcheck(Answering(off))


def test_bfloat16_is_recorded_and_not_judged():
    assert selfcheck(Answering(0.3, "bfloat16")) == {"rescored_max_diff": 0.3}


def test_a_gguf_file_is_judged_where_weights_and_cache_have_all_bits():
    with pytest.raises(MeasureError, match="scored alone"):
        selfcheck(Answering(2e-3, "F32", kv_dtype="float32"))
    assert selfcheck(Answering(2e-3, "Q8_0", kv_dtype="float32"))
    assert selfcheck(Answering(2e-3, "F32", kv_dtype="bfloat16"))


def test_a_network_that_rounds_as_it_runs_is_recorded_and_not_judged():
    """The last digit of a sum decides to which step a key or an input is rounded."""
    for name in ("inputs_dtype", "kv_dtype"):
        assert selfcheck(Answering(0.03, "float32", **{name: "int8"}))
    eight = {"type": "int", "num_bits": 8}
    group = {"weights": {"num_bits": 4}, "input_activations": eight}
    packed = SimpleNamespace(
        quantization_config={"config_groups": {"group_0": group}, "kv_cache_scheme": eight}
    )
    assert rounded(packed) == {"inputs_dtype": "int8", "kv_dtype": "int8"}
    plain = {"config_groups": {"group_0": {"input_activations": None}}}
    assert rounded(SimpleNamespace(quantization_config=plain)) == {}
    assert rounded(SimpleNamespace()) == {}


def test_a_model_that_cannot_be_asked_again_records_nothing():
    assert selfcheck(FakeModel()) == {}


def numbered(first, last):
    return [Pair((i,), (i,), 0, True) for i in range(first, last)]


@given(st.lists(st.integers(0, 200), max_size=6))
def test_a_reservoir_holds_all_of_few_and_some_of_many(portions):
    sample, at = Reservoir(), 0
    for n in portions:
        sample.offer(numbered(at, at + n), [float(i) for i in range(at, at + n)])
        at += n
    assert len(sample.items) == min(at, ITEMS)
    assert len({pair.context for pair, _ in sample.items}) == len(sample.items)
    assert all(pair.context == (int(value),) for pair, value in sample.items)


def test_early_and_late_items_are_as_likely():
    # 64 of 640 by 50 seeds: each half is expected 1600 times, with a deviation of 27
    late = 0
    for seed in range(50):
        sample = Reservoir(seed)
        for at in range(0, 640, 40):
            sample.offer(numbered(at, at + 40), [0.0] * 40)
        late += sum(pair.context[0] >= 320 for pair, _ in sample.items)
    assert 1450 < late < 1750


def test_work_left_is_guessed_by_the_characters_left():
    # 100 of 400 characters turned out to be 50 tokens: 200 in all; then 100 more are 10
    with Progress("scoring", 400) as bar:
        bar.plan(100, 50)
        assert bar.total == 200
        bar.done(50)
        bar.plan(100, 10)
        assert bar.total == 120
