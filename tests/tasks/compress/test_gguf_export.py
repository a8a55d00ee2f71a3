"""The GGUF file that ships says what the model says, or there is none."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from audits.errors import SpecError, StageError
from tasks.artifact import Artifact, fingerprint
from tasks.compress import Gguf, Rtn, Width, compress
from tasks.models import testing
from tasks.models.gguf_write import write_gguf
from tasks.models.load import load

pytest.importorskip("llama_cpp", reason="the gguf extra is not installed")


def biased(folder):
    """A Llama whose every layer has a bias, some of it in shards of 16-bit floats."""
    source = testing.tiny_llama(folder, layers=1)
    config = AutoConfig.from_pretrained(source, attention_bias=True, mlp_bias=True)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            weight.data += 0.3 * torch.randn_like(weight)
    (source / "model.safetensors").unlink()
    model.save_pretrained(source, max_shard_size="50KB")
    return source


FAMILIES = {
    "llama": lambda folder: testing.tiny_llama(folder, width=256, layers=1),
    "smollm": lambda folder: testing.tiny_llama(
        folder, width=64, layers=1, tokenizer=testing.split_tokenizer("smollm")
    ),
    "llama 3": lambda folder: testing.tiny_llama(
        folder, width=64, layers=1, tokenizer=testing.split_tokenizer("llama-bpe")
    ),
    "sentencepiece": lambda folder: testing.tiny_llama(
        folder, 400, width=64, layers=1, tokenizer=testing.sentencepiece_tokenizer(add_bos=True)
    ),
    "llama in shards with biases": biased,
    "gpt2": lambda folder: testing.tiny_gpt2(folder),
    "neox": lambda folder: testing.tiny_neox(folder),
    "qwen2": lambda folder: testing.tiny_qwen(folder),
    "qwen3": lambda folder: testing.tiny_qwen(folder, family="qwen3"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A tiny model of a family, made once."""
    folders = {}

    def get(family):
        if family not in folders:
            folders[family] = FAMILIES[family](tmp_path_factory.mktemp("family") / "m")
        return folders[family]

    return get


def on(job, folder, out=None):
    inputs = dict(job.inputs, model=Artifact(kind="model", path=str(folder), digest="x"))
    return replace(job, inputs=inputs, out=out or job.out)


def report(out):
    return json.loads((out / "compression.json").read_text("utf-8"))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_of_floats_scores_as_transformers_does(family, made, job):
    compress(Gguf(type="f32"), on(job, made(family)))
    assert sorted(f.name for f in job.out.iterdir()) == ["compression.json", "model.gguf"]
    ours, theirs = load(job.out), load(made(family), device="cpu")
    gelu = family in ("gpt2", "neox")
    for mine, other in zip(
        ours.score(testing.REQUESTS), theirs.score(testing.REQUESTS), strict=True
    ):
        assert mine.n_tokens == other.n_tokens
        assert mine.logprob == pytest.approx(other.logprob, abs=5e-2 if gelu else 1e-3)
    assert report(job.out)["bits_per_weight"] == pytest.approx(32, abs=0.5)  # and biases


def test_a_model_with_fewer_heads_keeps_the_size_of_each(job, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    compress(Width(heads=2, feed_forward=96, sequence_length=8), replace(job, out=small))
    compress(Gguf(type="f32"), on(job, small))  # would not pass its own check otherwise
    [ours], [theirs] = (load(f).score(testing.REQUESTS[:1]) for f in (job.out, small))
    assert ours.logprob == pytest.approx(theirs.logprob, abs=1e-3)


def test_each_tensor_type_is_counted_with_its_scales(made, job):
    compress(Gguf(type="q8_0"), on(job, made("llama")))
    found = report(job.out)
    # 32 weights of 8 bits and one scale of 16 bits: 272 bits for 32 weights
    assert found["bits_per_weight"] == 8.5
    # a block of 7 matrices, an embedding and a head; 3 norms stay as they are
    assert found["remarks"]["types"] == {"Q8_0": 9, "F32": 3}
    assert found["bytes_other"] == 3 * 256 * 4
    assert found["bytes_embeddings"] == 2 * 300 * 256 * 34 // 32
    parts = sum(found[f"bytes_{kind}"] for kind in ("layers", "embeddings", "other"))
    assert parts < found["bytes_files"] == (job.out / "model.gguf").stat().st_size
    assert found["remarks"]["kl_nats"] > 0


def test_a_width_that_does_not_fit_is_refused_before_a_weight_is_read(job, model_folder):
    with pytest.raises(SpecError) as refused:
        compress(Gguf(type="q4_k_m"), job)
    said = str(refused.value)
    assert "does not fit 16 of 21 tensors" in said
    assert "blk.0.attn_k.weight is 64 wide, Q4_K needs a multiple of 256" in said
    assert "would write Q5_0" in said
    assert "allow_fallback: true" in said
    assert not list(job.out.iterdir())


def test_a_head_that_does_not_fit_is_refused_though_all_layers_do(job):
    with pytest.raises(SpecError, match=r"does not fit 1 of 21 tensors: output\.weight is 64"):
        compress(Gguf(type="q4_0"), job)
    compress(Gguf(type="q4_0", embeddings="q8_0"), job)
    assert report(job.out)["remarks"]["types"] == {"Q8_0": 2, "Q4_0": 14, "F32": 5}
    assert report(job.out)["remarks"]["fallbacks"] == []


def test_a_type_of_the_embedding_that_does_not_fit_is_refused(job):
    with pytest.raises(SpecError, match=r"embeddings q6_k needs .* multiple of 256"):
        compress(Gguf(type="q8_0", embeddings="q6_k"), job)


def test_an_allowed_fallback_is_named_in_the_artifact(job):
    compress(Gguf(type="q4_k_m", allow_fallback=True), job)
    remarks = report(job.out)["remarks"]
    assert len(remarks["fallbacks"]) == 16
    assert {
        "tensor": "blk.0.attn_k.weight", "width": 64, "asked": "Q4_K", "written": "Q5_0",
    } in remarks["fallbacks"]  # fmt: skip
    # llama.cpp's log does not tell of the head, which would be Q6_K
    assert remarks["fallbacks"][0]["tensor"] == "output.weight"
    from tasks.models.gguf_file import tensors

    stored = {one.name: one.type for one in tensors(job.out / "model.gguf")}
    for one in remarks["fallbacks"]:
        assert stored[one["tensor"]] == one["written"]


def test_importance_weighs_rounding_errors_by_what_layers_read(made, job, tmp_path):
    """The squared error of outputs on the text gets smaller, layer by layer."""
    from gguf import GGUFReader, dequantize

    from tasks.compress.blocks import linears_of, weight_of
    from tasks.compress.walk import inputs_of

    source = on(job, made("llama"))
    outs = {}
    for importance in (False, True):
        out = tmp_path / str(importance)
        out.mkdir()
        method = Gguf(type="q2_k", importance=importance, sequence_length=32)
        compress(method, replace(source, out=out))
        tensors = GGUFReader(out / "model.gguf").tensors
        outs[importance] = {t.name: dequantize(t.data, t.tensor_type) for t in tensors}
    model = load(made("llama"), device="cpu")
    layer = "model.layers.0.mlp.down_proj"
    rows = []
    import torch

    with (
        torch.no_grad(),
        inputs_of(
            {layer: linears_of(model.hf)[layer]}, lambda _, x: rows.append(x.reshape(-1, 512))
        ),
    ):
        for text in testing.CORPUS:
            model.hf(torch.tensor([model.tokenizer.encode(text)[:32]]))
    inputs = torch.cat(rows).numpy()
    weight = weight_of(linears_of(model.hf)[layer]).numpy()
    lost = {
        importance: np.square(inputs @ (found["blk.0.ffn_down.weight"] - weight).T).sum()
        for importance, found in outs.items()
    }
    assert lost[True] < lost[False]


def test_importance_without_text_is_refused(job, tmp_path):
    (tmp_path / "manifest.json").write_text('{"kind": "sets", "sets": {}}', "utf-8")
    inputs = dict(job.inputs, dataset=Artifact(kind="dataset", path=str(tmp_path), digest="e"))
    with pytest.raises(SpecError, match="method gguf: the dataset's set 'calibration' holds"):
        compress(Gguf(type="q4_k_m", importance=True), replace(job, inputs=inputs))


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"type": "f16", "importance": True}, "changes no bit of type f16"),
        ({"type": "iq2_xs"}, "only with importance: true"),
    ],
)
def test_settings_that_llama_cpp_would_ignore_or_refuse_are_mistakes(asked, why):
    with pytest.raises(ValueError, match=why):
        Gguf(**asked)


def test_the_header_says_where_the_file_comes_from_and_names_no_path(job, model_folder):
    from gguf import GGUFReader

    from tasks.models.folder import weights_digest

    compress(Gguf(type="q8_0"), job)
    file = job.out / "model.gguf"
    fields = {k: f.contents() for k, f in GGUFReader(file).fields.items()}
    assert fields["assay.source_digest"] == weights_digest(model_folder)
    assert json.loads(fields["assay.method"])["type"] == "q8_0"
    assert "llama-cpp-python" in fields["general.quantized_by"]
    assert not any("/" in str(v) for k, v in fields.items() if k.startswith("general."))
    assert str(model_folder.parent).encode() not in file.read_bytes()


def test_equal_settings_give_equal_files(job, made, tmp_path):
    again = tmp_path / "again"
    again.mkdir()
    method = Gguf(type="q4_k_m", importance=True, sequence_length=32)
    for out in (job.out, again):
        compress(method, on(job, made("llama"), out))
    assert fingerprint(job.out) == fingerprint(again)


def change(folder, file, **values):
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), "utf-8")


@pytest.mark.parametrize(
    ("family", "values", "why"),
    [
        ("llama", {"hidden_act": "gelu"}, "hidden_act is 'gelu'; llama.cpp computes llama"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}},
            "rope_type is 'linear'",
        ),
        ("qwen2", {"use_sliding_window": True, "layer_types": None}, "use_sliding_window"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse"),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(family, values, why, job, tmp_path):
    folder = FAMILIES[family](tmp_path / "m")
    change(folder, "config.json", **values)
    with pytest.raises(SpecError, match=why):
        compress(Gguf(type="f16"), on(job, folder))
    assert not list(job.out.iterdir())


def test_an_architecture_without_a_form_in_gguf_is_refused(job, tmp_path):
    with pytest.raises(SpecError, match=r"model_type 'rwkv' cannot be written as GGUF; those"):
        compress(Gguf(type="f16"), on(job, testing.tiny_rwkv(tmp_path / "m")))


@pytest.mark.parametrize(
    ("part", "value", "why"),
    [
        ("pre_tokenizer", {"type": "Whitespace"}, "pre_tokenizer"),
        ("normalizer", {"type": "Lowercase"}, "normalizer Lowercase"),
    ],
)
def test_a_tokenizer_that_llama_cpp_has_no_name_for_is_refused(part, value, why, job, tmp_path):
    folder = testing.tiny_llama(tmp_path / "m", layers=1)
    change(folder, "tokenizer.json", **{part: value})
    with pytest.raises(SpecError, match=why):
        compress(Gguf(type="f16"), on(job, folder))
    assert not list(job.out.iterdir())


def test_digits_behind_words_are_gpt2s_way_where_no_merge_has_one(job, tmp_path):
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    from tasks.train import TokenizerSettings
    from tasks.train.tokenizer import train_tokenizer

    own = train_tokenizer(
        [*testing.CORPUS, "in 1984 über 12 ½"], TokenizerSettings(vocab_size=300)
    )
    folder = testing.tiny_llama(tmp_path / "m", len(own), layers=1, tokenizer=own)
    compress(Gguf(type="f16"), on(job, folder))
    other = testing.tiny_tokenizer().train_new_from_iterator(["in 1984 1984"] * 9, 300)
    steps = [ByteLevel(add_prefix_space=False), Digits(individual_digits=True)]
    other.backend_tokenizer.pre_tokenizer = Sequence(steps)
    folder = testing.tiny_llama(tmp_path / "other", layers=1, tokenizer=other)
    with pytest.raises(SpecError, match="Digits"):
        write_gguf(folder, tmp_path / "x.gguf")


def test_a_file_that_says_something_else_leaves_nothing_behind(job, monkeypatch):
    from tasks.models import gguf_families

    # as if queries and keys had been left in transformers' order
    monkeypatch.setattr(gguf_families, "_shared", lambda config: 2)
    wrong = replace(
        gguf_families.FAMILIES["llama"], reorder=lambda _name, tensor, _config: tensor
    )
    monkeypatch.setitem(gguf_families.FAMILIES, "llama", wrong)
    with pytest.raises(StageError, match=r"differ from the model's by up to .* nats"):
        compress(Gguf(type="q8_0"), job)
    assert not list(job.out.iterdir())


def test_a_tokenizer_cut_elsewhere_leaves_nothing_behind(job, monkeypatch, tmp_path):
    from tasks.models import gguf_tokens

    # a merge of figures, which Qwen2 reads one by one
    own = testing.tiny_tokenizer().train_new_from_iterator(["in 123 123 123"] * 9, 300)
    folder = testing.tiny_llama(tmp_path / "m", layers=1, tokenizer=own)
    monkeypatch.setattr(gguf_tokens, "_pretokenizer", lambda _place, _stored: "qwen2")
    with pytest.raises(StageError, match=r"cuts '.*' into other tokens"):
        compress(Gguf(type="q8_0"), on(job, folder))
    assert not list(job.out.iterdir())


def test_a_gguf_file_is_no_step_to_begin_with(job, tmp_path):
    compress(Gguf(type="f16"), job)
    for method in (Gguf(type="q8_0"), Rtn(bits=8, group_size=32)):
        with pytest.raises(SpecError, match="is a GGUF file"):
            compress(method, on(job, job.out, tmp_path))


def test_loss_grows_as_bits_go(stories260k, shared_data, job, tmp_path):
    told = (shared_data / "tinystories" / "tiny_stories.txt").read_text("utf-8").split("\n")
    texts = [story[:600] for story in told if len(story) > 200][:24]
    loss = {}
    # 172 is no multiple of 32 either: those layers stay at 16 bits
    for kind in ("f32", "q8_0", "q5_0", "q4_0"):
        out = tmp_path / kind
        out.mkdir()
        method = Gguf(type=kind, allow_fallback=kind != "f32")
        compress(method, on(job, stories260k, out))
        loss[kind] = -sum(score.logprob for score in load(out).score_text(texts))
    assert loss["q8_0"] == pytest.approx(loss["f32"], rel=0.01)
    assert loss["q8_0"] < loss["q5_0"] < loss["q4_0"]
