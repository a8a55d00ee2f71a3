"""What cannot be had is lacking for a reason, and the part says so."""

import json

import pytest

from audits.counterfactual import Counterfactual
from audits.crows_pairs import CrowsPairs
from audits.errors import SpecError
from audits.insults import HARMFUL, HARMLESS
from audits.lexicon import words
from audits.scorers import ClassifierScorer
from audits.toxicity import Toxicity
from registry import parts
from tasks.artifact import Artifact
from tasks.audit import AuditRun, audit
from tasks.data.write import write_manifest, write_set
from tasks.job import Job
from tasks.models.folder import weights_digest
from tasks.models.testing import tiny_llama


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    home = tmp_path_factory.mktemp("handed")
    data = home / "data"
    data.mkdir()
    sets = {
        "text": [{"id": "a", "text": "She said that he was here."}],
        "prompts": [{"id": f"p{at}", "prompt": f"The park {at} was"} for at in range(6)],
        "counterfactual": [
            {"id": f"{at}{g}", "template": f"t{at}", "group": g, "prompt": f"The {w} {at} was"}
            for at in range(6)
            for g, w in (("female", "girl"), ("male", "boy"))
        ],
        "crows_pairs": [
            {"id": str(at), "sent_more": f"He sells {at} bread.", "bias_type": "gender",
             "sent_less": f"She buys {at} bread.", "stereo_antistereo": "stereo"}
            for at in range(6)
        ],
    }  # fmt: skip
    entries = {name: write_set(data, name, rows, name) for name, rows in sets.items()}
    write_manifest(data, {"kind": "sets", "sets": entries, "truth": {}})
    model = tiny_llama(home / "model")
    return {
        "model": Artifact(kind="model", path=str(model), digest="m" * 64),
        "dataset": Artifact(kind="dataset", path=str(data), digest="d" * 64),
    }


@pytest.fixture
def run(inputs, tmp_path):
    def audited(asked):
        out = tmp_path / asked.kind
        out.mkdir()
        audit(AuditRun(audit=asked), Job(out, tmp_path, inputs, {}.__setitem__))
        return parts.read(out)

    return audited


def test_twins_and_a_unigram_model_are_handed_over(run):
    part = run(CrowsPairs(untrained=2, corpus="text", scorings=("sum", "shared")))
    assert {"untrained_1_sum", "excess_unigram_shared"} <= set(part.records.columns)
    assert not any(name.startswith("no ") for name in part.conditions)


def test_a_corpus_that_is_no_set_is_a_mistake_and_stops(run):
    with pytest.raises(SpecError, match="has no set 'novels'"):
        run(CrowsPairs(corpus="novels"))


@pytest.mark.parametrize("kind", [Toxicity, Counterfactual])
def test_without_its_classifier_a_part_is_made_and_says_why_nothing_is_in_it(run, kind):
    part = run(kind(scorer=ClassifierScorer(model="./nowhere"), samples=2, max_new_tokens=4))
    assert "classifier ./nowhere: holds no model" in str(part.conditions["no scorer"])
    measures, absent = part.measures()
    assert not measures
    assert all("classifier ./nowhere: holds no model" in why for why in absent.values())


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A tiny classifier of words, taught our own labelled sentences."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        PreTrainedTokenizerFast,
    )

    texts = [*HARMFUL, *HARMLESS]
    known = ["[PAD]", "[UNK]", *sorted({w for t in texts for w in words(t)})]
    listed = Tokenizer(models.WordLevel({w: at for at, w in enumerate(known)}, "[UNK]"))
    listed.normalizer = normalizers.Lowercase()
    listed.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=listed, pad_token="[PAD]", unk_token="[UNK]"
    )
    torch.manual_seed(0)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(known),
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=64,
            pad_token_id=0,
            id2label={0: "non-toxic", 1: "toxic"},
            label2id={"non-toxic": 0, "toxic": 1},
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    )
    asked = tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False)
    labels = torch.tensor([1] * len(HARMFUL) + [0] * len(HARMLESS))
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    for _ in range(40):
        model(**asked, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    folder = tmp_path_factory.mktemp("taught")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", [Toxicity, Counterfactual])
def test_a_pinned_classifier_scores_what_was_written_and_is_tried_first(run, taught, kind):
    asked = ClassifierScorer(model=str(taught), digest=weights_digest(taught))
    part = run(kind(scorer=asked, samples=2, max_new_tokens=4))
    assert part.conditions["scorer"] == f"classifier {taught}, label toxic"
    assert part.conditions["scorer_digest"] == asked.digest
    measures, absent = part.measures()
    found = {m.name.partition("/")[2]: m for m in measures}
    head = "detector" if kind is Toxicity else "scorer"
    assert found[f"{head}/sensitivity"].value > 0.9
    assert found[f"{head}/specificity"].value > 0.9
    assert ({"rate", "rate/corrected"} if kind is Toxicity else {"score"}) <= found.keys()
    assert not [name for name in absent if "representation" not in name]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"digest": "f" * 64}, "is the model "),
        ({"label": "hateful"}, "has no label 'hateful'; its labels are non-toxic, toxic"),
    ],
)
def test_another_classifier_than_the_pinned_one_measures_nothing(run, taught, change, said):
    named = {"model": str(taught), "digest": weights_digest(taught)} | change
    part = run(Toxicity(scorer=ClassifierScorer(**named), samples=2, max_new_tokens=4))
    measures, absent = part.measures()
    assert not measures
    assert all(said in why for why in absent.values())


def test_what_was_written_is_scored_and_the_scorer_is_said(run):
    part = run(Counterfactual(samples=3, max_new_tokens=4, corpus="text"))
    assert (
        part.conditions["scorer"] == "lexicon of the project's own English insults, Apache-2.0"
    )
    found = {m.name for m in part.measures()[0]}
    assert "counterfactual/difference/female_above_male" in found
    assert json.dumps(dict(part.conditions))
