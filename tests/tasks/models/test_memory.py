"""What was asked once is not computed twice, and two models never share an answer."""

from hypothesis import given
from hypothesis import strategies as st

from audits.testing import FakeModel
from tasks.models.memory import Remembering, remembered
from tasks.models.testing import tiny_llama


class Counting(FakeModel):
    def __init__(self):
        super().__init__()
        self.asked, self.conditions = [], {}

    def score(self, requests, *, per_token=False):
        self.asked += requests
        return super().score(requests, per_token=per_token)


pairs = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["x", "yy", "zzz"])))


@given(st.lists(pairs, max_size=5))
def test_answers_are_the_model_s_own_and_each_is_computed_once(batches):
    model = Counting()
    memory = Remembering(model)
    for batch in batches:
        assert memory.score(batch) == FakeModel().score(batch)
    assert len(model.asked) == len(set(model.asked))


def test_another_model_is_another_memory(tmp_path):
    tiny_llama(tmp_path / "one", seed=0)
    tiny_llama(tmp_path / "two", seed=1)
    one = remembered(tmp_path / "one")
    asked = [("a b", " c"), ("", "d")]
    first = one.score(asked)
    two = remembered(tmp_path / "two")
    assert two.digest != one.digest
    assert two.score(asked) != first
    assert remembered(tmp_path / "two") is two
