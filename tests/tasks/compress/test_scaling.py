"""AWQ, SmoothQuant, and keys and values in few bits."""

import json
from dataclasses import replace

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
)

from audits.errors import SpecError
from tasks.artifact import Artifact, fingerprint
from tasks.compress import Awq, Gptq, Rtn, SmoothQuant, compress
from tasks.compress.balance import largest_change, logits, pairs, require_pairs
from tasks.compress.calibration import batches
from tasks.compress.folder import Source
from tasks.compress.oneshot import activation_aware, quantize, rounding
from tasks.compress.scheme import Scheme
from tasks.models.load import load_torch
from tasks.models.testing import (
    CORPUS,
    REQUESTS,
    by_hand,
    tiny_llama,
    tiny_neox,
    tiny_tokenizer,
)

FEW = {"samples": 4, "sequence_length": 32}
IDS = torch.arange(3, 40)[None]
AWQ = Awq(bits=4, group_size=32, grid=5, **FEW)


def reloaded(folder):
    return load_torch(folder, device="cpu")


def said(folder):
    return logits(reloaded(folder).hf, {"input_ids": IDS})


@pytest.fixture
def of(job):
    def job_of(folder):
        inputs = dict(job.inputs, model=Artifact(kind="model", path=str(folder), digest="o"))
        return replace(job, inputs=inputs)

    return job_of


def report(job):
    return json.loads((job.out / "compression.json").read_text("utf-8"))


@pytest.mark.parametrize("method", [AWQ, SmoothQuant(**FEW)], ids=lambda m: m.kind)
def test_scales_alone_leave_the_logits_and_the_folder_reloads(method, job, model_folder):
    compress(method, job)
    found = report(job)
    assert found["remarks"]["logits_moved_by_scales"] < 1e-4
    assert found["remarks"]["run_time"].startswith("no run-time gain on this backend")
    # per block: norm to q, k, v; norm to gate and up; AWQ also up to down, and not v to o,
    # for two heads share each v
    assert found["remarks"]["scaled_pairs"] == (6 if method is AWQ else 4)
    assert type(method).__name__.upper() in (job.out / "recipe.yaml").read_text("utf-8").upper()
    worst = max(found["reconstruction_error"].values())
    assert worst < (0.02 if method is AWQ else 1e-3)
    before = AutoModelForCausalLM.from_pretrained(model_folder)
    packed = AutoModelForCausalLM.from_pretrained(job.out)
    packed(IDS)
    norms = "model.layers.0.input_layernorm.weight"
    moved = packed.get_parameter(norms) / before.get_parameter(norms)
    assert float(moved.detach().std()) > 0.01
    assert largest_change(said(model_folder), said(job.out)) < (1 if method is AWQ else 0.2)


def test_values_that_heads_share_are_not_scaled_and_others_are(tmp_path):
    folder = tiny_llama(tmp_path / "own")
    config = AutoModelForCausalLM.from_pretrained(folder).config
    config.num_key_value_heads = 4
    own = type(AutoModelForCausalLM.from_pretrained(folder))(config)
    assert require_pairs("awq", own, {"input_ids": IDS}) == 8


def test_inputs_are_rounded_after_reloading_too(job):
    compress(SmoothQuant(**FEW), job)
    config = json.loads((job.out / "config.json").read_text("utf-8"))["quantization_config"]
    [group] = config["config_groups"].values()
    assert group["input_activations"]["dynamic"] is True
    model = reloaded(job.out).hf
    rounded = logits(model, {"input_ids": IDS})
    for module in model.modules():
        module.quantization_enabled = False
    assert largest_change(rounded, logits(model, {"input_ids": IDS})) > 1e-3


def test_equal_settings_give_equal_files(job, tmp_path):
    again = tmp_path / "again"
    again.mkdir()
    for out in (job.out, again):
        compress(AWQ, replace(job, out=out))
    assert fingerprint(job.out) == fingerprint(again)


@pytest.mark.parametrize("method", [AWQ, SmoothQuant(**FEW)], ids=lambda m: m.kind)
def test_a_family_that_the_library_does_not_know_is_refused(method, of, tmp_path):
    job = of(tiny_neox(tmp_path / "neox"))
    with pytest.raises(SpecError, match=f"{method.kind}: llmcompressor does not know.*GPTNeoX"):
        compress(method, job)
    assert not any(job.out.iterdir())


def gemma2():
    torch.manual_seed(0)
    return Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, head_dim=8, initializer_range=0.3,
        )
    ).eval()  # fmt: skip


def test_pairs_of_the_library_that_would_change_the_model_are_refused():
    # Gemma 2 adds what post_attention_layernorm gives to the residual and norms it again
    # before the feed-forward layers; the library pairs that norm with them for SmoothQuant.
    with pytest.raises(SpecError, match="change its logits by"):
        require_pairs("smoothquant", gemma2(), {"input_ids": IDS})
    assert require_pairs("awq", gemma2(), {"input_ids": IDS}) == 6


def test_looking_for_pairs_changes_nothing(model_folder):
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    require_pairs("awq", model, {"input_ids": IDS})
    assert len(pairs("awq", model)) == 6
    assert all(torch.equal(before[name], w) for name, w in model.state_dict().items())


KV = {"bits": 8, "group_size": 32, **FEW}


def test_keys_and_values_are_rounded_after_reloading_with_and_without_a_cache(job, tmp_path):
    moved = {}
    for kind in (None, "int8", "fp8", "int4"):
        out = tmp_path / str(kind)
        out.mkdir()
        compress(Gptq(kv_cache=kind, **KV), replace(job, out=out))
        moved[kind] = said(out)
    far = {k: largest_change(moved[None], v) for k, v in moved.items() if k is not None}
    assert 0 < far["int8"] < far["fp8"] < far["int4"]
    model = reloaded(tmp_path / "int4")
    scores = model.score(REQUESTS[:5], per_token=True)
    for (context, continuation), score in zip(REQUESTS[:5], scores, strict=True):
        assert score.tokens == pytest.approx(by_hand(model, context, continuation), abs=1e-4)
    found = json.loads((tmp_path / "int4" / "compression.json").read_text("utf-8"))
    assert found["remarks"]["kv_cache"].startswith("no memory saved on this backend")


def test_a_folder_reloads_to_what_was_in_memory(tmp_path, model_folder):
    source = Source(model_folder, CORPUS, tmp_path)
    model = source.load()
    seen = batches(source, samples=4, length=32)
    scheme = Scheme(4, 32, symmetric=False, kv_cache="int8")
    quantize(
        rounding(), source, scheme, seen=seen, scaling=activation_aware(grid=3), model=model
    )
    source.copy_rest()
    assert largest_change(logits(model, {"input_ids": IDS}), said(tmp_path)) < 1e-5


def test_mixtures_are_refused_before_anything_is_computed(of, tmp_path):
    torch.manual_seed(0)
    config = MixtralConfig(
        vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, num_local_experts=2,
    )  # fmt: skip
    MixtralForCausalLM(config).save_pretrained(tmp_path / "mixture")
    tiny_tokenizer().save_pretrained(tmp_path / "mixture")
    job = of(tmp_path / "mixture")
    with pytest.raises(SpecError, match="experts of a mixture"):
        compress(Rtn(bits=4, group_size=32), job)
    assert not any(job.out.iterdir())


def test_keys_and_values_that_the_library_would_leave_are_refused(of, tmp_path):
    job = of(tiny_neox(tmp_path / "neox"))
    with pytest.raises(SpecError, match="kv_cache: the library finds the attention of 0 of 2"):
        compress(Gptq(kv_cache="int8", **KV), job)
    assert not any(job.out.iterdir())
