"""A folder is refused in one sentence, or known by what it answers with."""

import json
import shutil

import pytest

from audits.errors import SpecError
from tasks.models.borrowing import SHEET, Borrowed
from tasks.models.folder import check_folder, weights_digest
from tasks.models.load import load, locate


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder("llama"), tmp_path / "copy")


def refused(path, words):
    with pytest.raises(SpecError, match=words) as caught:
        check_folder(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_whole_model_is_accepted(copy):
    check_folder(copy)


def test_a_missing_folder_is_refused(tmp_path):
    refused(tmp_path / "nowhere", "no such folder")


def test_an_empty_folder_is_no_model(tmp_path):
    refused(tmp_path, r"no config\.json")


def test_a_config_that_describes_no_model_is_refused(copy):
    (copy / "config.json").write_text("{}", "utf-8")
    refused(copy, "no 'model_type'")


def test_a_broken_config_is_refused(copy):
    (copy / "config.json").write_text("{", "utf-8")
    refused(copy, "is not JSON")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pth"])
def test_pickled_weights_are_refused(copy, name):
    (copy / "model.safetensors").rename(copy / name)
    refused(copy, "pickled weights can run code")


def test_missing_weights_are_refused(copy):
    (copy / "model.safetensors").unlink()
    refused(copy, "has no weights")


def test_weights_cut_short_are_refused(copy):
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    refused(copy, "cut short")


def test_weights_that_are_no_safetensors_are_refused(copy):
    (copy / "model.safetensors").write_bytes(b"\x80\x04pickle, renamed by a person")
    refused(copy, "not a safetensors file")


def test_a_missing_shard_is_refused(copy):
    (copy / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {"a": "model-00001-of-00001.safetensors"}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    refused(copy, "listed in the index but missing")


def test_a_missing_tokenizer_is_refused(copy):
    (copy / "tokenizer.json").unlink()
    refused(copy, "no tokenizer")


def test_an_unknown_architecture_is_refused_in_one_sentence(copy):
    config = json.loads((copy / "config.json").read_text("utf-8"))
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "sphinx"}), "utf-8")
    with pytest.raises(SpecError, match="sphinx") as caught:
        load(copy)
    assert "\n" not in str(caught.value)


def test_a_path_that_is_no_hub_id_is_not_asked_of_the_hub():
    with pytest.raises(SpecError, match="no such folder"):
        locate("models/of/mine")


def test_an_unknown_dtype_is_refused(copy):
    with pytest.raises(SpecError, match="float8"):
        load(copy, dtype="float8")


def test_an_adapter_beside_a_model_is_refused(copy):
    (copy / "adapter_config.json").write_text("{}", "utf-8")
    refused(copy, "merge it into the weights")


def test_a_folder_that_holds_a_model_stands_for_none_elsewhere(copy, folder):
    """Else what is measured and served would lie outside whatever is sealed of the folder."""
    sheet = Borrowed(backend="hf", arguments={"pretrained": str(folder("llama"))})
    (copy / SHEET).write_text(sheet.model_dump_json(), "utf-8")
    for ask in (check_folder, load, weights_digest):
        with pytest.raises(SpecError, match="the model is elsewhere"):
            ask(copy)


def test_the_digest_covers_whichever_tokenizer_the_configuration_names(copy):
    file = copy / "tokenizer_config.json"
    named = json.loads(file.read_text("utf-8")) | {"fast_tokenizer_files": ["tokenizer.4.json"]}
    file.write_text(json.dumps(named), "utf-8")
    shutil.copyfile(copy / "tokenizer.json", copy / "tokenizer.4.json")
    before = weights_digest(copy)
    (copy / "tokenizer.4.json").write_text("{}", "utf-8")
    assert weights_digest(copy) != before


@pytest.mark.parametrize("held", ["", "{", "[]", "null", '{"a":' * 20_000, "\udcff"])
def test_a_configuration_that_is_no_object_has_a_digest_of_its_own(copy, held):
    """Whoever verifies is told that a file was altered, and sees no error of a parser."""
    before = weights_digest(copy)
    (copy / "config.json").write_bytes(held.encode("utf-8", "surrogateescape"))
    assert weights_digest(copy) != before


def test_the_digest_ignores_place_and_readme(copy, folder, tmp_path):
    before = weights_digest(folder("llama"))
    (copy / "README.md").write_text("moved", "utf-8")
    (copy / "training.json").write_text("{}", "utf-8")
    config = json.loads((copy / "config.json").read_text("utf-8"))
    (copy / "config.json").write_text(
        json.dumps(config | {"_name_or_path": str(copy)}), "utf-8"
    )
    assert weights_digest(copy) == before


@pytest.mark.parametrize(
    "name", ["model.safetensors", "tokenizer.json", "config.json", "generation_config.json"]
)
def test_the_digest_changes_with_whatever_changes_answers(copy, name):
    before = weights_digest(copy)
    file = copy / name
    if name == "model.safetensors":
        file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    else:
        content = json.loads(file.read_text("utf-8"))
        file.write_text(json.dumps(content | {"changed": True}), "utf-8")
    assert weights_digest(copy) != before
