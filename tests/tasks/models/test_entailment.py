"""A model of inference is the one that was named, or none."""

import pytest

from audits.errors import SpecError
from tasks.models.entailment import load_entailment
from tasks.models.folder import weights_digest
from tasks.models.testing import tiny_tokenizer

LABELS = ("contradiction", "neutral", "entailment")


def classifier(folder, labels=LABELS):
    """A tiny classifier whose head is all noughts, so that its first label always wins."""
    from transformers import LlamaConfig, LlamaForSequenceClassification

    config = LlamaConfig(
        vocab_size=300, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, num_labels=len(labels), pad_token_id=2,
        id2label=dict(enumerate(labels)), label2id={n: k for k, n in enumerate(labels)},
    )  # fmt: skip
    model = LlamaForSequenceClassification(config)
    model.score.weight.data.zero_()
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def nli(tmp_path_factory):
    return classifier(tmp_path_factory.mktemp("nli"), LABELS[::-1])


def test_the_named_model_says_what_entails_what(nli):
    model = load_entailment(nli, digest=weights_digest(nli))
    assert model.digest == weights_digest(nli)
    pairs = [("Ara is a town.", "Ara is here."), ("a", "b c d"), ("a", "b c d")]
    assert model.entails(pairs) == [True, True, True]


def test_another_label_is_no_entailment(tmp_path):
    folder = classifier(tmp_path)
    model = load_entailment(folder, digest=weights_digest(folder))
    assert model.entails([("a", "b")]) == [False]


def test_another_model_in_that_folder_is_refused_with_what_to_write(nli):
    with pytest.raises(SpecError, match=f"write nli_digest: {weights_digest(nli)}"):
        load_entailment(nli, digest="")


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(SpecError, match=r"holds no model; give a folder with a config\.json"):
        load_entailment(tmp_path / "nowhere", digest="x")


def test_a_classifier_of_something_else_is_refused(tmp_path):
    folder = classifier(tmp_path, ("good", "bad"))
    with pytest.raises(SpecError, match="its labels are bad, good; a model of inference"):
        load_entailment(folder, digest=weights_digest(folder))
