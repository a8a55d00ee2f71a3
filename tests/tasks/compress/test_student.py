"""A fresh smaller student has its parent's family and tokenizer, and has learned nothing."""

import json
from dataclasses import replace

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from audits.errors import SpecError
from tasks.artifact import Artifact, fingerprint
from tasks.compress import Student, compress
from tasks.models.folder import check_folder
from tasks.models.testing import tiny_gpt2

SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}


@pytest.fixture
def drawn(job, tmp_path):
    """Draws a student; its folder."""

    def draw(config, to="student", of=None, seed=0):
        out = tmp_path / to
        out.mkdir()
        given = {"model": Artifact(kind="model", path=str(of), digest="x")} if of else {}
        where = replace(job, inputs=job.inputs | given, out=out)
        compress(Student(config=config, seed=seed), where)
        return out

    return draw


def test_its_shape_is_what_was_asked_and_all_else_the_parents(drawn, model_folder):
    folder = drawn(SMALL)
    check_folder(folder)
    made, parent = (AutoConfig.from_pretrained(f).to_dict() for f in (folder, model_folder))
    changed = {name for name in parent if made[name] != parent[name]}
    assert changed - {"_name_or_path", "architectures"} == set(SMALL)
    for file in model_folder.glob("tokenizer*"):
        assert (folder / file.name).read_bytes() == file.read_bytes()
    said = json.loads((folder / "compression.json").read_text("utf-8"))["remarks"]
    assert said["parameters_after"] < said["parameters_before"]


def test_its_weights_are_drawn_as_the_family_draws_them(drawn):
    model = AutoModelForCausalLM.from_pretrained(drawn(SMALL))
    embedding = model.get_input_embeddings().weight
    assert embedding.std().item() == pytest.approx(model.config.initializer_range, rel=0.05)
    assert torch.equal(model.model.norm.weight, torch.ones(32))


def test_equal_seeds_give_equal_students(drawn):
    made = [
        fingerprint(drawn(SMALL, to=f"{at}", seed=seed)) for at, seed in enumerate((0, 0, 1))
    ]
    assert made[0] == made[1] != made[2]


def test_another_family_calls_its_fields_otherwise(drawn, tmp_path):
    folder = drawn({"n_embd": 32, "n_layer": 1}, of=tiny_gpt2(tmp_path / "gpt2"))
    assert AutoConfig.from_pretrained(folder).hidden_size == 32
    # and transformers knows them by the common names, too
    other = drawn({"hidden_size": 16}, to="b", of=tmp_path / "gpt2")
    assert AutoConfig.from_pretrained(other).n_embd == 16


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            {"d_model": 32},
            "'llama' has no field 'd_model' in its config; its numbers are .*head",
        ),
        ({"vocab_size": 100}, "vocab_size is the parent's"),
        ({"num_attention_heads": 3}, "cannot have num_attention_heads like that"),
        ({"hidden_size": -4}, "cannot have hidden_size like that"),
        ({"hidden_size": 32.5}, "cannot have hidden_size like that"),
        ({"head_dim": 7}, "cannot have head_dim like that"),
    ],
)
def test_a_shape_that_the_family_cannot_have_is_refused(drawn, tmp_path, config, words):
    with pytest.raises(SpecError, match=words):
        drawn(config)
    assert not list((tmp_path / "student").iterdir())
