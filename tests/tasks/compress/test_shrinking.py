"""Fewer heads, neurons and layers: what goes, and that what remains is the same model."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from audits.errors import SpecError
from tasks.artifact import Artifact
from tasks.compress import Depth, Width, compress
from tasks.compress.units import Units
from tasks.compress.width import importance, most_active, spread
from tasks.models.testing import CORPUS, tiny_gpt2, tiny_llama, tiny_neox

FAMILIES = [tiny_llama, tiny_gpt2, tiny_neox]
NEURONS = [(tiny_llama, 128), (tiny_gpt2, 256), (tiny_neox, 128)]


class Toy(torch.nn.Module):
    """A layer down and nothing else, asked as a model is."""

    def __init__(self, width):
        super().__init__()
        self.down = torch.nn.Linear(width, 1)

    def forward(self, x, use_cache):
        return self.down(x)


def logits(folder):
    ids = AutoTokenizer.from_pretrained(folder)(CORPUS[0], return_tensors="pt").input_ids
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        return model(ids).logits


def weights(folder):
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


def on(job, folder, out=None):
    model = Artifact(kind="model", path=str(folder), digest="x")
    return replace(job, inputs=dict(job.inputs, model=model), out=out or job.out)


def edited(make, folder, edit):
    """A tiny model whose weights were changed by hand, saved again."""
    make(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        edit(model)
    model.save_pretrained(folder)
    return folder


def test_a_neurons_importance_by_hand():
    one = Units("down", {}, n=2, heads=1, size=1, keep=1)
    first = {"x": torch.tensor([[[3.0, -1.0], [1.0, 1.0]]])}
    second = {"x": torch.tensor([[[0.0, -2.0]]])}
    # Means of |x| by document: 2, 1 and 0, 2; their 2-norms: 2 and sqrt(5). Sums of |x| would
    # tie, signed means would keep neuron 0.
    (scores,) = importance(Toy(2), [one], [first, second])
    assert scores.tolist() == pytest.approx([2.0, 5**0.5])
    assert most_active(scores, 1).tolist() == [1]


def test_a_groups_importance_is_the_sum_of_its_heads():
    one = Units("down", {}, n=2, heads=2, size=2, keep=1)
    batch = {"x": torch.tensor([[[3.0, 4.0, 0.0, 1.0, 0.0, 0.0, 5.0, 0.0]]])}
    # Heads have norms 5, 1 and 0, 5, so the groups 6 and 5.
    (scores,) = importance(Toy(8), [one], [batch])
    assert scores.tolist() == [6.0, 5.0]


@given(st.lists(st.floats(0, 9, width=32), min_size=1, max_size=12), st.data())
def test_none_that_goes_is_more_active_than_one_that_stays(scores, data):
    keep = data.draw(st.integers(1, len(scores)))
    index = most_active(torch.tensor(scores), keep).tolist()
    assert len(index) == keep
    assert index == sorted(set(index))
    gone = [s for at, s in enumerate(scores) if at not in index]
    assert max(gone, default=0) <= min(scores[at] for at in index)


def test_spread_names_every_row_of_a_unit():
    assert spread(torch.tensor([0, 2]), 3).tolist() == [0, 1, 2, 6, 7, 8]


@pytest.mark.parametrize(
    ("make", "method"),
    [
        *((make, Width(feed_forward=size)) for make, size in NEURONS),
        (tiny_llama, Width(heads=4)),
        *((make, Depth(layers=2)) for make in FAMILIES),
    ],
    ids=lambda v: getattr(v, "__name__", str(v)),
)
def test_keeping_everything_is_the_identical_model(make, method, job, tmp_path):
    folder = make(tmp_path / "model")
    compress(method, on(job, folder))
    before, after = weights(folder), weights(job.out)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(logits(folder), logits(job.out))


def _dead_neurons(model):
    for name, weight in model.named_parameters():
        if "down_proj" in name or "mlp.c_proj" in name or "4h_to_h" in name:
            continue
        if "c_fc" in name:
            weight[..., 8:40] = 0  # GPT-2's weights lie transposed
        elif "up_proj" in name or "h_to_4h" in name:
            weight[8:40] = 0


@pytest.mark.parametrize(("make", "size"), NEURONS, ids=lambda v: getattr(v, "__name__", ""))
def test_neurons_that_are_never_active_are_not_missed(make, size, job, tmp_path):
    folder = edited(make, tmp_path / "model", _dead_neurons)
    compress(Width(feed_forward=size - 32), on(job, folder))
    assert torch.allclose(logits(folder), logits(job.out), atol=1e-4)
    report = json.loads((job.out / "compression.json").read_text("utf-8"))
    assert max(report["reconstruction_error"].values()) == pytest.approx(0, abs=1e-9)
    small, large = ((f / "model.safetensors").stat().st_size for f in (job.out, folder))
    assert small < large
    gone = report["remarks"]["parameters_before"] - report["remarks"]["parameters_after"]
    assert 4 * gone == pytest.approx(large - small, abs=400)


def test_heads_that_give_zeros_are_not_missed(job, tmp_path):
    def silence(model):
        model.model.layers[0].self_attn.v_proj.weight[:16] = 0
        model.model.layers[1].self_attn.v_proj.weight[16:] = 0

    folder = edited(tiny_llama, tmp_path / "model", silence)
    compress(Width(heads=2), on(job, folder))
    assert torch.allclose(logits(folder), logits(job.out), atol=1e-4)
    config = json.loads((job.out / "config.json").read_text("utf-8"))
    assert (config["num_attention_heads"], config["num_key_value_heads"]) == (2, 1)
    assert config["head_dim"] == 16
    assert weights(job.out)["model.layers.0.self_attn.q_proj.weight"].shape == (32, 64)
    kept = json.loads((job.out / "compression.json").read_text("utf-8"))["remarks"]["kept"]
    assert list(kept.values()) == [[1], [0]]


def _idle(model):
    """Let the second of three blocks add nothing."""
    for name, weight in model.named_parameters():
        if ".1." in name and any(part in name for part in (
            "o_proj", "down_proj", "c_proj", "attention.dense", "4h_to_h",
        )):  # fmt: skip
            weight.zero_()


@pytest.mark.parametrize("make", FAMILIES, ids=lambda m: m.__name__)
def test_a_layer_that_changes_nothing_is_not_missed(make, job, tmp_path):
    folder = edited(lambda f: make(f, layers=3), tmp_path / "model", _idle)
    compress(Depth(layers=2), on(job, folder))
    assert torch.allclose(logits(folder), logits(job.out), atol=1e-4)
    report = json.loads((job.out / "compression.json").read_text("utf-8"))
    influence = list(report["remarks"]["block_influence"].values())
    assert influence[1] == pytest.approx(0, abs=1e-6)
    assert min(influence[0], influence[2]) > 0.01
    assert report["remarks"]["kept"] == [0, 2]
    assert AutoModelForCausalLM.from_pretrained(job.out).config.num_hidden_layers == 2


def test_both_widths_at_once_and_then_fewer_layers(job, model_folder, tmp_path):
    compress(Width(heads=2, feed_forward=96), on(job, model_folder))
    (tmp_path / "second").mkdir()
    compress(Depth(layers=1), on(job, job.out, tmp_path / "second"))
    config = json.loads((tmp_path / "second" / "config.json").read_text("utf-8"))
    assert (config["intermediate_size"], config["num_hidden_layers"]) == (96, 1)
    assert logits(tmp_path / "second").isfinite().all()


@pytest.mark.parametrize(
    ("make", "method", "said"),
    [
        (tiny_llama, Width(heads=3), "2 query heads share their keys and values"),
        (tiny_llama, Width(heads=6), "6 are to be kept where 4 are"),
        (tiny_llama, Width(feed_forward=129), "129 are to be kept where 128 are"),
        (tiny_llama, Depth(layers=3), "3 are to be kept where 2 are"),
        (tiny_gpt2, Width(heads=2), "'gpt2' has no attention heads that can be told apart"),
        (tiny_neox, Width(heads=2), "'gpt_neox' has no attention heads that can be told apart"),
    ],
    ids=lambda v: getattr(v, "__name__", str(v)),
)
def test_what_cannot_shrink_is_refused_and_nothing_is_written(
    make, method, said, job, tmp_path
):
    with pytest.raises(SpecError, match=said):
        compress(method, on(job, make(tmp_path / "model")))
    assert list(job.out.iterdir()) == []


def test_a_family_whose_config_cannot_say_it_is_refused(job, tmp_path):
    """This GPT-2 divides attention by the number of the layer, which would change."""
    from transformers import AutoConfig

    folder = tiny_gpt2(tmp_path / "model", layers=3)
    config = AutoConfig.from_pretrained(folder, scale_attn_by_inverse_layer_idx=True)
    config.save_pretrained(folder)
    edited(lambda _: None, folder, _idle)
    with pytest.raises(SpecError, match="cannot have num_hidden_layers like that"):
        compress(Depth(layers=2), on(job, folder))


def test_a_number_of_heads_that_the_family_refuses_is_refused_with_its_reason(job, tmp_path):
    folder = tiny_llama(tmp_path / "model", width=64)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config |= {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 8}
    AutoModelForCausalLM.from_config(LlamaConfig(**config)).save_pretrained(folder)
    with pytest.raises(SpecError, match=r"keep another number.*is not a multiple of"):
        compress(Width(heads=6), on(job, folder))


def test_a_width_that_shrinks_nothing_is_refused():
    with pytest.raises(ValidationError, match="say what shrinks"):
        Width()
