"""What is loaded is what the folder holds, or nothing: no weight is ever drawn anew."""

import json
import shutil

import pytest
from safetensors.numpy import load_file, save_file

from audits.errors import SpecError
from tasks.models.folder import check_folder
from tasks.models.load import load

Q = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder("llama"), tmp_path / "copy")


def configure(folder, **changes):
    file = folder / "config.json"
    config = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps(config | changes), "utf-8")


def rewrite(folder, change):
    """Change the weights of a folder in place."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file, metadata={"format": "pt"})


def refused(folder, *words, file=""):
    with pytest.raises(SpecError) as caught:
        load(folder)
    said = str(caught.value)
    assert "\n" not in said
    assert str(folder / file) in said
    for word in words:
        assert word in said


def test_a_missing_tensor_is_named_and_not_drawn(copy):
    rewrite(copy, lambda weights: weights.pop(Q))
    refused(copy, f"1 tensor is missing ({Q})", "copy the whole model again")


def test_an_unexpected_tensor_is_named(copy):
    norm = "model.norm.weight"
    rewrite(copy, lambda weights: weights.update(nonsense=weights[norm].copy()))
    refused(copy, "1 tensor is unexpected (nonsense)")


def test_a_tensor_of_another_shape_is_named(copy):
    norm = "model.norm.weight"
    rewrite(copy, lambda weights: weights.update({norm: weights[norm][:3].copy()}))
    refused(copy, f"1 tensor is of another shape ({norm})")


def test_a_deeper_config_than_its_weights_is_refused_with_the_number(copy):
    configure(copy, num_hidden_layers=3)
    # a Llama layer has 9 tensors: 4 of attention, 3 of the MLP, 2 norms
    refused(copy, "9 tensors are missing (model.layers.2.input_layernorm.weight, ", ", …)")


def test_the_config_of_another_family_is_refused(copy):
    configure(copy, model_type="bert")
    refused(copy, "tensors are missing (bert.embeddings", "unexpected (lm_head.weight")


def test_a_model_type_without_a_causal_form_is_refused(copy):
    configure(copy, model_type="t5", architectures=None)
    refused(copy, "config.json", "'t5' is no causal language model")


@pytest.mark.parametrize("named", ["LlamaModel", "LlamaForSequenceClassification", "BertModel"])
def test_a_model_saved_without_a_language_head_is_refused_without_torch(copy, named):
    configure(copy, architectures=[named])
    with pytest.raises(
        SpecError, match=f"architectures is {named}.*ForCausalLM or ForMaskedLM"
    ):
        check_folder(copy)


def test_a_network_that_sees_the_words_after_is_refused(tmp_path, copy):
    import torch
    from transformers import BertConfig, BertLMHeadModel

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(vocab_size=300, intermediate_size=32, initializer_range=0.3, **sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertLMHeadModel(config).save_pretrained(tmp_path / "bert")
    for file in copy.glob("*token*"):
        shutil.copy(file, tmp_path / "bert" / file.name)
    refused(tmp_path / "bert", "depends on the word after")


def test_a_tied_head_need_not_be_stored(copy):
    configure(copy, tie_word_embeddings=True)
    rewrite(copy, lambda weights: weights.pop("lm_head.weight"))
    assert load(copy, device="cpu").score([("The", " park")])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_attention_heads": 0}, ["ZeroDivisionError"]),
        ({"hidden_size": "abc"}, ["'hidden_size' expected int", "'abc'"]),
        ({"hidden_size": -4}, ["negative dimension"]),
        ({"hidden_act": "nope"}, ["'nope'"]),
        ({"model_type": 7}, []),
        ({"rope_parameters": {"rope_type": "spiral", "rope_theta": 1.0}}, ["spiral"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_config_that_describes_no_network_is_named(copy, changes, words):
    configure(copy, **changes)
    refused(copy, *words, "correct it", file="config.json")


@pytest.mark.parametrize("content", ["{}", "no JSON", '{"model": {"type": "Sphinx"}}', "[1]"])
def test_a_tokenizer_that_is_none_is_named(copy, content):
    (copy / "tokenizer.json").write_text(content, "utf-8")
    refused(copy, "copy it again", file="tokenizer.json")


def test_the_tokenizer_of_a_larger_model_is_refused(folder, tmp_path):
    from tasks.models.testing import tiny_llama, tiny_tokenizer

    small = tiny_llama(tmp_path / "small", vocab=270)
    tiny_tokenizer(300).save_pretrained(small)
    refused(small, "300 tokens where the network knows 270", file="tokenizer.json")


def shard(folder, weight_map):
    index = folder / "model.safetensors.index.json"
    content = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    index.write_text(json.dumps(content), "utf-8")


def whole(folder, name):
    """Make the only file of weights a shard of this name."""
    file = folder / "model.safetensors"
    names = list(load_file(file))
    file.rename(folder / name)
    return dict.fromkeys(names, name)


def check_refused(folder, *words):
    with pytest.raises(SpecError) as caught:
        check_folder(folder)
    for word in (str(folder), *words):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_whole_shards_are_loaded(copy):
    shard(copy, whole(copy, "model-00001-of-00001.safetensors"))
    assert load(copy, device="cpu").score([("The", " park")])


def test_a_tensor_that_its_shard_lacks_is_named(copy):
    shard(copy, whole(copy, "model-1.safetensors") | {"model.more": "model-1.safetensors"})
    check_refused(copy, "model-1.safetensors", "lacks model.more")


@pytest.mark.parametrize("place", ["../elsewhere.safetensors", "/etc/passwd", "sub/x", 7, ".."])
def test_a_shard_outside_the_folder_is_refused(copy, place):
    shard(copy, whole(copy, "model-1.safetensors") | {"model.more": place})
    check_refused(copy, "index.json", "model.more", repr(place), "into one folder")


def test_an_index_that_lists_nothing_is_refused(copy):
    whole(copy, "model-1.safetensors")
    shard(copy, ["model-1.safetensors"])
    check_refused(copy, "is no index of weights")


def test_shards_without_an_index_are_refused(copy):
    whole(copy, "model-00001-of-00002.safetensors")
    check_refused(copy, "no model.safetensors.index.json")


def test_a_file_of_weights_without_any_is_refused(copy):
    save_file({}, copy / "model.safetensors")
    check_refused(copy, "holds no weights")
