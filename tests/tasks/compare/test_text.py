"""Two models over one text: nothing from itself, something from another, never over tokens
that differ."""

import gc
import json
import shutil
import tracemalloc

import numpy as np
import pytest

from audits.testing import FakeModel
from tasks.compare import NotComparable, text_drift
from tasks.models.load import load
from tasks.models.predictions import Prediction
from tasks.models.testing import tiny_gpt2, tiny_llama

DOCUMENTS = [
    ("d0", "The baker of Ulvara lives in the old town and sells bread to everyone."),
    ("d1", ""),
    ("d2", "Once upon a time there was a little girl. " * 20),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    home = tmp_path_factory.mktemp("models")
    folders = {
        "base": tiny_llama(home / "base"),
        "other": tiny_llama(home / "other", seed=1),
        "gpt2": tiny_gpt2(home / "gpt2"),
        "larger": tiny_llama(home / "larger", vocab=320),
        "shorter": tiny_llama(home / "shorter", max_length=64),
        "bos": tiny_llama(home / "bos", add_bos=True),
    }
    loaded = {name: load(folder, device="cpu") for name, folder in folders.items()}
    return loaded | {"mute": _renamed(folders["base"], home / "mute", None)} | {
        "odd": _renamed(folders["base"], home / "odd", "<pad>")
    }  # fmt: skip


def _renamed(folder, out, bos):
    """The same model and the same vocabulary, with another BOS token or none."""
    shutil.copytree(folder, out)
    config = json.loads((out / "tokenizer_config.json").read_text("utf-8"))
    config = {k: v for k, v in config.items() if k != "bos_token"}
    config |= {"bos_token": bos} if bos else {}
    (out / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    return load(out, device="cpu")


class Scripted:
    """Predicts what it is told, and counts how far it was read."""

    def __init__(self, predictions):
        self.given, self.read = predictions, 0

    def predictions(self, texts):
        for self.read, prediction in enumerate(self.given(), 1):  # noqa: B020
            yield prediction


def uniform(text, tokens, vocab=3):
    return Prediction(text, np.array(tokens), np.full((len(tokens), vocab), -np.log(vocab)))


def figures(drift):
    return {f.name: f for f in drift.figures()}


def test_a_model_does_not_drift_from_itself(models):
    found = figures(text_drift(models["base"], models["base"], DOCUMENTS))
    assert found["kl"].value == 0
    assert found["same_top"].value == 1
    assert found["rms_delta_p"].value == 0
    assert found["ppl_base"].value == found["ppl_variant"].value


@pytest.mark.parametrize("other", ["other", "gpt2"])
def test_another_model_drifts_and_perplexities_are_those_of_the_scores(models, other):
    base, variant = models["base"], models[other]
    found = figures(text_drift(base, variant, DOCUMENTS))
    assert found["kl"].value > 0.01
    assert 0 <= found["same_top"].value < 1
    for model, name in ((base, "ppl_base"), (variant, "ppl_variant")):
        scores = model.score_text([text for _, text in DOCUMENTS])
        nats = -sum(s.logprob for s in scores) / sum(s.n_tokens for s in scores)
        assert found[name].value == pytest.approx(np.exp(nats), rel=1e-4)


def test_documents_are_counted_and_empty_ones_are_none(models):
    drift = text_drift(models["base"], models["other"], DOCUMENTS)
    assert figures(drift)["kl"].clusters == 2
    n = sum(s.n_tokens for s in models["base"].score_text([t for _, t in DOCUMENTS]))
    assert drift.kl.n == n


def test_other_vocabularies_are_refused_before_anything_is_computed(models):
    with pytest.raises(NotComparable, match="tokenizers differ"):
        text_drift(models["base"], models["larger"], DOCUMENTS)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("bos", r"context:none with token 0 in the base, empty:bos,context:bos with token 0"),
        ("mute", r"empty:bos,context:none with token 0 in the base, empty:eos,.* token 1"),
        ("odd", r"empty:bos,context:none with token 0 in the base, empty:bos,.* token 2"),
    ],
)
def test_models_that_begin_a_text_differently_have_no_divergence(models, name, says):
    with pytest.raises(NotComparable, match=says):
        text_drift(models["base"], models[name], DOCUMENTS)


def test_a_model_that_only_scores_is_refused(models):
    with pytest.raises(NotComparable, match="predicts no next token"):
        text_drift(models["base"], FakeModel(), DOCUMENTS)


def test_other_windows_are_refused(models):
    with pytest.raises(NotComparable, match="different windows"):
        text_drift(models["base"], models["shorter"], DOCUMENTS)


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (lambda: [uniform(0, [1, 2])], "different numbers of windows"),
        (lambda: [uniform(0, [1, 2]), uniform(0, [1])], "different numbers of windows"),
        (lambda: [uniform(0, [1, 2]), uniform(1, [2])], "different tokens"),
        (lambda: [uniform(0, [1, 2], vocab=4)], "the base knows 3 tokens and the variant 4"),
    ],
)
def test_streams_that_part_are_refused(theirs, said):
    ours = Scripted(lambda: [uniform(0, [1, 2]), uniform(1, [1])])
    with pytest.raises(NotComparable, match=said):
        text_drift(ours, Scripted(theirs), [("a", "x"), ("b", "y")])


def test_memory_does_not_grow_with_the_text():
    """Windows of 2 MB each: what is held of 18 is little more than what is held of 6."""

    def peak(windows):
        def given():
            rng = np.random.default_rng(0)
            for _ in range(windows):
                logits = rng.normal(size=(128, 4096)).astype(np.float32)
                yield Prediction(0, np.arange(128), logits)

        gc.collect()
        tracemalloc.start()
        text_drift(Scripted(given), Scripted(given), [("long", "x")])
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(18) < peak(6) + 2**20
