"""A scorer is the one that was named, or none, and then it says why."""

import hashlib
import json

import pytest

from audits.errors import SpecError
from audits.scorers import ClassifierScorer, LexiconScorer
from tasks.models.classifier import check_classifier, load_classifier
from tasks.models.folder import weights_digest
from tasks.models.testing import tiny_tokenizer
from tasks.scorers import ABSENT, load_scorer, origins, unavailable


def classifier(folder, labels, **more):
    """A tiny classifier that finds every text as likely of the last label as its bias says."""
    import torch
    from transformers import LlamaConfig, LlamaForSequenceClassification

    config = LlamaConfig(
        vocab_size=300, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, num_labels=len(labels), pad_token_id=2,
        id2label=dict(enumerate(labels)), label2id={n: k for k, n in enumerate(labels)}, **more,
    )  # fmt: skip
    torch.manual_seed(0)
    model = LlamaForSequenceClassification(config)
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def encoder(folder):
    """A tiny encoder of 32 positions, whose tokenizer knows that."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=300, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=32, id2label={0: "fine", 1: "toxic"},
        label2id={"fine": 0, "toxic": 1}, pad_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = 32
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def toxic(tmp_path_factory):
    return classifier(tmp_path_factory.mktemp("toxic"), ("fine", "toxic"))


def named(folder, **more):
    return ClassifierScorer(model=str(folder), **({"digest": weights_digest(folder)} | more))


def test_a_classifier_gives_the_probability_of_its_label(toxic):
    texts = ["Once upon a time", "bread", "Once upon a time", "a much longer text " * 9]
    bad, good = (load_scorer(named(toxic, label=n)).score(texts) for n in ("toxic", "fine"))
    assert bad[0] == pytest.approx(bad[2], abs=1e-6)
    assert [a + b for a, b in zip(bad, good, strict=True)] == pytest.approx([1] * 4)
    assert len(set(bad)) > 2


def test_a_text_longer_than_a_classifier_reads_is_cut_off_whatever_its_tokenizer_says(tmp_path):
    """Without a longest text of its own the tokenizer sent more than there are positions."""
    folder = encoder(tmp_path)
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text("utf-8"))
    del config["model_max_length"]
    file.write_text(json.dumps(config), "utf-8")
    short, long = load_scorer(named(folder)).score(["bread " * 30, "bread " * 900])
    assert short == pytest.approx(long, abs=1e-6)


def test_a_configuration_that_is_no_json_is_named(tmp_path):
    folder = classifier(tmp_path, ("fine", "toxic"))
    (folder / "config.json").write_text("{", "utf-8")
    assert "config.json: is not JSON (" in unavailable(named(folder))


def test_labels_that_may_hold_together_do_not_share(tmp_path):
    folder = classifier(tmp_path, ("rude", "toxic"), problem_type="multi_label_classification")
    (one,), (other,) = (
        load_scorer(named(folder, label=n)).score(["a"]) for n in ("rude", "toxic")
    )
    assert one + other != pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": "hateful"}, "has no label 'hateful'; its labels are fine, toxic"),
        ({"digest": ""}, "write digest: "),
        ({"model": "./nowhere"}, "holds no model"),
        ({"model": "no body/else"}, "neither a folder here nor a hub id"),
    ],
)
def test_what_is_not_the_named_classifier_is_refused_in_a_sentence(toxic, change, said):
    asked = named(toxic).model_copy(update=change)
    with pytest.raises(SpecError, match=said) as refused:
        load_scorer(asked)
    assert unavailable(asked) == str(refused.value)  # told before anything is computed
    assert unavailable(named(toxic)) == ""


def test_a_label_that_two_share_is_refused(tmp_path):
    folder = classifier(tmp_path, ("toxic", "toxic"))
    for refuse in (load_classifier, check_classifier):
        with pytest.raises(SpecError, match="calls 2 of its labels 'toxic'"):
            refuse(str(folder), digest=weights_digest(folder), label="toxic")


def test_labels_that_nobody_named_are_said_to_be_so(tmp_path):
    folder = classifier(tmp_path, ("LABEL_0", "LABEL_1"))
    with pytest.raises(SpecError, match="nobody named them"):
        load_scorer(named(folder))
    assert "its labels are LABEL_0, LABEL_1 (nobody named them" in unavailable(named(folder))


def test_weights_that_are_no_classifier_are_refused(tmp_path):
    from tasks.models.testing import tiny_llama

    folder = tiny_llama(tmp_path)
    with pytest.raises(SpecError, match="lack score"):
        load_scorer(named(folder, label="LABEL_1"))


def lexicon(file, **more):
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return LexiconScorer(**({"path": str(file), "digest": digest, "licence": "CC0"} | more))


def test_words_of_a_file_one_a_line_or_in_a_column(tmp_path):
    plain, table = tmp_path / "words.txt", tmp_path / "hurt.tsv"
    plain.write_text("zorn\ngrub worm\n", "utf-8")
    table.write_text("id\tlemma\tlevel\n1\tzorn\tconservative\n2\tmud\tinclusive\n", "utf-8")
    texts = ["a zorn", "a grub worm", "mud"]
    assert load_scorer(lexicon(plain)).score(texts) == [1, 1, 0]
    assert load_scorer(lexicon(table)).score(texts) == [1, 0, 1]
    assert load_scorer(lexicon(table, level="conservative")).score(texts) == [1, 0, 0]


def test_a_lexicon_of_another_language_is_refused(tmp_path):
    file = tmp_path / "words.csv"
    file.write_text("term,language\nzorn,de\n", "utf-8")
    said = r"language 'de' \(by its column language\) where 'en' is asked for"
    with pytest.raises(SpecError, match=said):
        load_scorer(lexicon(file))
    assert load_scorer(lexicon(file, language="de")).score(["Zorn"]) == [1]


def test_hurtlex_says_its_language_in_its_ids(tmp_path):
    file = tmp_path / "hurtlex.tsv"
    head = "id\tpos\tcategory\tstereotype\tlemma\tlevel\n"
    file.write_text(f"{head}IT12\tn\tps\tno\tzorn\tconservative\n", "utf-8")
    said = r"language 'it' \(by its ids, which are HurtLex's\) where 'en' is asked for"
    with pytest.raises(SpecError, match=said):
        load_scorer(lexicon(file))
    assert load_scorer(lexicon(file, language="it")).score(["Zorn"]) == [1]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.txt", "", "holds no words; give one with some"),
        ("a.csv", "term,language\n", "holds no words; give one with some"),
        ("a.csv", "word\nzorn\n", "has no column term or lemma"),
        ("a.xml", "<a/>", "cannot be read"),
        ("a.csv", "term,level\nzorn,x\n", "no row has level 'y'"),
    ],
)
def test_a_file_that_is_no_lexicon_is_named(tmp_path, name, text, said):
    file = tmp_path / name
    file.write_text(text, "utf-8")
    asked = lexicon(file, level="y" if "level" in text else "")
    with pytest.raises(SpecError, match=said) as refused:
        load_scorer(asked)
    assert unavailable(asked) == str(refused.value)


def test_a_stage_that_found_no_scorer_is_done_again_once_there_is_one(tmp_path):
    file = tmp_path / "words.txt"
    asked = LexiconScorer(path=str(file), licence="CC0")
    assert origins(asked) == {"scorer": ABSENT}
    file.write_text("zorn\n", "utf-8")
    assert origins(asked) == {"scorer": hashlib.sha256(b"zorn\n").hexdigest()}
    assert origins(None) == origins(LexiconScorer()) == {}
