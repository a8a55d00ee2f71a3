"""What was asked once is not computed twice, and two models never share an answer."""

import copy
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audits.testing import FakeModel
from tasks.models.borrowing import STATED
from tasks.models.harness import ScoresText
from tasks.models.load import load
from tasks.models.memory import Remembering, policy, remembered, remembering
from tasks.models.scorecache import ScoreCache
from tasks.models.testing import tiny_llama


class Counting(FakeModel):
    """Counts what it is asked; has conditions and, unlike the plain fake, texts."""

    def __init__(self, digest="fake", **conditions):
        super().__init__(digest=digest)
        self.asked, self.conditions = [], conditions

    def score(self, requests, *, per_token=False):
        self.asked += requests
        return super().score(requests, per_token=per_token)

    def generate(self, prompts, *, temperature=0.0, **how):
        self.asked += prompts
        return super().generate(prompts, temperature=temperature, **how)


class WithTexts(Counting):
    def score_text(self, texts, *, add_special=False):
        self.asked += texts
        return FakeModel().score([("<bos>" if add_special else "", text) for text in texts])


@pytest.fixture
def cache(tmp_path):
    made = ScoreCache(tmp_path / "scores")
    yield made
    made.close()


pairs = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "ab", "", "1,1:"]),
        st.sampled_from(["x", "bx", "b", "1:b", "é😀"]),
    )
)


@settings(max_examples=30, deadline=None)
@given(
    calls=st.lists(
        st.tuples(pairs, st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=6
    )
)
def test_answers_are_the_model_s_own_in_any_order_and_each_is_computed_once(
    tmp_path_factory, calls
):
    """Two models over one cache, asked alternately, with new wrappers as after a restart."""
    folder = tmp_path_factory.mktemp("scores")

    def length(context, text):
        return -float(len(context) + 10 * len(text))

    fresh = {
        "one": FakeModel(digest="one"),
        "two": FakeModel(score=length, digest="two"),
    }
    asked = {name: [] for name in fresh}

    class Watched(FakeModel):
        def score(self, requests, *, per_token=False):
            asked[self.digest] += [(r, per_token) for r in requests]
            return fresh[self.digest].score(requests, per_token=per_token)

    cache = ScoreCache(folder)
    for batch, per_token, second, restart in calls:
        if restart:
            cache.close()
            cache = ScoreCache(folder)
        name = "two" if second else "one"
        memory = Remembering(Watched(digest=name), cache)
        got = memory.score(batch, per_token=per_token)
        assert got == fresh[name].score(batch, per_token=per_token)
    cache.close()
    for each in asked.values():
        assert len(each) == len(set(each))


def test_without_a_cache_only_repetitions_within_a_call_are_saved():
    model = Counting()
    memory = Remembering(model)
    memory.score([("a", "x"), ("a", "x")])
    memory.score([("a", "x")])
    assert model.asked == [("a", "x")] * 2
    assert memory.counts == {"asked": 2, "computed": 2}


def test_the_inner_model_sees_what_is_really_computed(cache):
    model = Counting()
    memory = Remembering(model, cache)
    memory.score([("a", "x"), ("a", "y"), ("a", "x")])
    memory.score([("a", "y"), ("a", "z")])
    assert memory.inner is model
    assert model.asked == [("a", "x"), ("a", "y"), ("a", "z")]
    assert memory.counts == {"asked": 4, "computed": 3}


@pytest.mark.parametrize(
    "other",
    [
        Counting("another"),
        Counting(dtype="bfloat16"),
        Counting(bos_policy="empty:eos,context:none"),
        Counting(backend="llama.cpp"),
    ],
    ids=["weights", "dtype", "bos", "backend"],
)
def test_another_model_or_way_of_scoring_shares_nothing(cache, other):
    Remembering(Counting(), cache).score([("a", "x")])
    Remembering(other, cache).score([("a", "x")])
    assert other.asked == [("a", "x")]


def test_another_window_shares_nothing(cache):
    short, long = Counting(), Counting()
    short.max_length, long.max_length = 128, 256
    for model in (short, long):
        Remembering(model, cache).score([("a", "x")])
    assert long.asked == [("a", "x")]


def test_threads_and_batches_change_no_answer(cache):
    Remembering(Counting(threads=1, batch=8), cache).score([("a", "x")])
    other = Counting(threads=2, batch=1)
    Remembering(other, cache).score([("a", "x")])
    assert other.asked == []


def test_the_engine_s_own_code_is_part_of_the_policy():
    said = policy(FakeModel())
    assert "torch" in said
    assert "source" in said


def test_a_model_without_a_digest_is_not_remembered(cache):
    model = Counting(digest="")
    for _ in range(2):
        Remembering(model, cache).score([("a", "x")])
    assert len(model.asked) == 2


def test_a_model_known_only_by_its_address_is_not_remembered(cache):
    model = Counting(identity=STATED)
    for _ in range(2):
        Remembering(model, cache).score([("a", "b")])
    assert len(model.asked) == 2  # what answers there may be another model by now


def test_values_for_each_token_are_another_question(cache):
    memory = Remembering(Counting(), cache)
    assert memory.score([("a", "x y")])[0].tokens == ()
    for _ in range(2):
        assert memory.score([("a", "x y")], per_token=True)[0].tokens == (-1.5, -1.5)


def test_texts_are_remembered_apart_from_pairs(cache):
    model = WithTexts()
    for _ in range(2):
        memory = remembering(model, cache)
        assert memory.score_text(["t"]) == FakeModel().score([("", "t")])
        assert memory.score_text(["t"], add_special=True) == FakeModel().score([("<bos>", "t")])
        memory.score([("", "t")])
    assert model.asked == ["t", "t", ("", "t")]


def test_a_model_that_scores_no_texts_still_scores_none(cache):
    assert not isinstance(remembering(Counting(), cache), ScoresText)
    assert isinstance(remembering(WithTexts(), cache), ScoresText)


def test_greedy_continuations_are_remembered_and_samples_are_not(cache):
    model = Counting()
    memory = Remembering(model, cache)
    for _ in range(2):
        assert memory.generate(["p", "p"], max_new_tokens=3, seed=1, n=2) == [["p", "p"]] * 2
    assert model.asked == ["p"]
    memory.generate(["p"], max_new_tokens=3, seed=1, stop=["!"])
    memory.generate(["p"], max_new_tokens=4, seed=1)
    assert model.asked == ["p"] * 3
    for _ in range(2):
        memory.generate(["p"], max_new_tokens=3, seed=1, temperature=1.0)
    assert model.asked == ["p"] * 5


def test_everything_else_is_the_inner_model_s_own(tmp_path):
    model = load(tiny_llama(tmp_path), device="cpu")
    memory = Remembering(model)
    assert memory.tokenizer is model.tokenizer
    assert memory.max_length == model.max_length
    assert memory.conditions == model.conditions
    assert copy.copy(memory).digest == model.digest
    assert not hasattr(memory, "nothing_of_the_kind")


def test_real_answers_survive_the_disk_bit_by_bit(tmp_path):
    model = load(tiny_llama(tmp_path / "model"), device="cpu")
    asked = [("The baker of", " Ulvara"), ("", "sells bread"), ("The baker of ", "«a»")]
    asked.append(("The park. " * 60, " bread"))
    cache = ScoreCache(tmp_path / "scores")
    first = [Remembering(model, cache).score(asked, per_token=p) for p in (False, True)]
    cache.close()
    memory = Remembering(model, cache)
    assert [memory.score(asked, per_token=p) for p in (False, True)] == first
    assert memory.counts["computed"] == 0
    assert [s.truncated > 0 for s in memory.score(asked)] == [False] * 3 + [True]


def test_two_folders_are_two_models_in_one_cache(tmp_path):
    tiny_llama(tmp_path / "one", seed=0)
    tiny_llama(tmp_path / "two", seed=1)
    scores = tmp_path / "scores"
    one = remembered(tmp_path / "one", cache=scores)
    asked = [("a b", " c"), ("", "d")]
    first = one.score(asked)
    two = remembered(tmp_path / "two", cache=scores)
    assert two.digest != one.digest
    assert two.score(asked) != first
    again = remembered(tmp_path / "one", cache=scores)
    assert again.score(asked) == first
    assert (two.counts["computed"], again.counts["computed"]) == (2, 0)


def test_the_model_loaded_last_is_kept(tmp_path):
    folder = tiny_llama(tmp_path)
    assert remembered(folder).inner is remembered(folder).inner


def test_a_killed_process_leaves_what_it_had_computed(tmp_path):
    """Keeping happens call by call, so the next process goes on where this one died."""
    folder = tiny_llama(tmp_path / "model")
    code = (
        "import os, pathlib, signal, sys\n"
        "from tasks.models.memory import remembered\n"
        "model = remembered(pathlib.Path(sys.argv[1]), cache=pathlib.Path(sys.argv[2]))\n"
        "model.score([('a', str(i)) for i in range(20)])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    said = subprocess.run([sys.executable, "-c", code, folder, tmp_path / "scores"])
    assert said.returncode == -9
    memory = remembered(folder, cache=tmp_path / "scores")
    asked = [("a", str(i)) for i in range(25)]
    again, fresh = memory.score(asked), load(folder).score(asked)
    assert [s.logprob for s in again] == pytest.approx([s.logprob for s in fresh], abs=1e-4)
    assert memory.counts == {"asked": 25, "computed": 5}
