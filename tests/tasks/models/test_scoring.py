"""The numbers are those of a plain loop over the network's own log-softmax."""

import json
import math
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audits.errors import AuditError, MeasureError
from tasks.models.load import load
from tasks.models.testing import REQUESTS, by_hand, tiny_tokenizer


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_scores_are_sums_of_the_networks_own_log_probabilities(model, name):
    m = model(name)
    assert m.forward.trees
    assert m.forward.projects
    for request, score in zip(REQUESTS, m.score(REQUESTS, per_token=True), strict=True):
        want = by_hand(m, *request)
        assert score.tokens == pytest.approx(want, abs=1e-3)
        assert score.logprob == pytest.approx(sum(want), abs=1e-3)
        assert score.n_tokens == len(want)
        assert score.n_bytes == len(request[1].encode())


def test_bytes_of_spaces_that_moved_are_counted(model):
    moved, plain = model().score([("The park ", "café"), ("The park", " café")])
    assert moved == plain
    assert moved.n_bytes == 6  # a space, three letters, two bytes of é


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(len(REQUESTS))), first=st.integers(1, len(REQUESTS)))
def test_company_and_order_do_not_change_a_score(model, order, first):
    m = model()
    alone = {r: m.score([r])[0].logprob for r in REQUESTS}
    chosen = [REQUESTS[i] for i in order[:first]]
    for request, score in zip(chosen, m.score(chosen), strict=True):
        assert score.logprob == pytest.approx(alone[request], abs=1e-3)


def test_the_same_question_twice_has_one_answer(model):
    one, *_, two = model().score([REQUESTS[0], REQUESTS[3], REQUESTS[0]])
    assert one == two


def test_nothing_asked_is_nothing_scored(model):
    assert model().score([]) == []
    assert model().generate([], max_new_tokens=3, seed=0) == []


def test_an_empty_continuation_is_refused(model):
    with pytest.raises(AuditError, match="continuation after 'The' is empty"):
        model().score([("The", "")])


def test_a_continuation_longer_than_the_model_is_refused(model):
    with pytest.raises(AuditError, match="exceed the model's 128 positions"):
        model().score([("The", " park" * 200)])


@settings(max_examples=15, deadline=None)
@given(repeats=st.integers(0, 40), asked=st.sampled_from([" park", " park and old town"]))
def test_what_a_context_loses_for_want_of_room_is_told(model, repeats, asked):
    m = model()
    context = "The park." + " The park." * repeats
    head, whole = map(len, m.encoder.plain([context, context + asked]))
    [score] = m.score([(context, asked)])
    # 128 tokens are fed, and the last one of all is only asked for
    assert score.truncated == max(0, whole - 129)
    told = m.truncated([context, "", "a"], max_new_tokens=100)
    assert told == [max(0, head - 28), 0, 0]


def test_a_text_scored_in_windows_loses_nothing(model):
    [score] = model().score_text(["The park. " * 200])
    assert score.truncated == 0
    assert score.n_tokens > 2 * model().max_length


def test_a_boundary_inside_a_token_is_told(model):
    # " the" is one token, which "in t" + "he" would cut
    m = model()
    whole, head = m.encoder.plain(["in the", "in t"])
    assert whole[: len(head)] != head
    cut, kept = m.score([("in t", "he"), ("in", " the")])
    assert (cut.boundary_stable, kept.boundary_stable) == (False, True)


def test_weights_that_are_not_numbers_give_no_number(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    home = shutil.copytree(folder("llama"), tmp_path / "nan")
    weights = load_file(home / "model.safetensors")
    weights["model.norm.weight"][0] = math.nan
    save_file(weights, home / "model.safetensors", metadata={"format": "pt"})
    m = load(home, device="cpu")
    with pytest.raises(MeasureError, match="not finite"):
        m.score(REQUESTS[:1])
    for temperature in (0.0, 1.0):
        with pytest.raises(MeasureError, match="not finite"):
            m.generate(["The"], max_new_tokens=3, seed=0, temperature=temperature)


def test_a_model_of_sliding_windows_is_scored_plainly_and_right(tmp_path):
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64,
        sliding_window=4, bos_token_id=0, eos_token_id=1, initializer_range=0.3,
    )  # fmt: skip
    MistralForCausalLM(config).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    m = load(tmp_path, device="cpu")
    assert not m.forward.trees
    for request, score in zip(REQUESTS, m.score(REQUESTS), strict=True):
        assert score.logprob == pytest.approx(sum(by_hand(m, *request)), abs=1e-3)


def test_whole_texts_are_scored_given_bos_window_after_window(model):
    m = model()
    text = "The baker sells bread to everyone. " * 30
    [ids] = m.encoder.plain([text])
    assert len(ids) > 2 * m.max_length
    # every token once: the first 128 after BOS, each later window after what fits before it
    want, start = 0.0, 0
    while start < len(ids):
        end = min(start + m.max_length, len(ids))
        before = ids[max(0, end - m.max_length - 1) : start] if start else [m.encoder.prefix]
        fed = [*before, *ids[start:end]]
        with torch.inference_mode():
            logp = m.hf(torch.tensor([fed[:-1]], device=m.hf.device)).logits[0].log_softmax(-1)
        want += sum(float(logp[len(before) + i - 1, t]) for i, t in enumerate(ids[start:end]))
        start = end
    [score] = m.score_text([text])
    assert score.logprob == pytest.approx(want, abs=1e-2)
    assert (score.n_tokens, score.n_bytes) == (len(ids), len(text))


def test_bfloat16_is_near_float32(folder, model, device):
    half = load(folder("llama"), dtype="bfloat16", device=device)
    for one, two in zip(half.score(REQUESTS), model().score(REQUESTS), strict=True):
        assert one.logprob == pytest.approx(two.logprob, rel=0.1, abs=1)
    assert half.conditions["dtype"] == "bfloat16"


def test_packed_weights_score_as_their_unpacked_values(folder, tmp_path, device):
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config
    from transformers import AutoModelForCausalLM

    hf = AutoModelForCausalLM.from_pretrained(folder("llama"))
    scheme = {"num_bits": 8, "strategy": "channel", "symmetric": True}
    config = QuantizationConfig.model_validate(
        {
            "format": "pack-quantized",
            "ignore": ["lm_head"],
            "config_groups": {"g": {"targets": ["Linear"], "weights": scheme}},
        }
    )
    apply_quantization_config(hf, config)
    for module in hf.modules():
        if hasattr(module, "weight_scale"):
            peak = module.weight.detach().abs().amax(1, keepdim=True)
            module.weight_scale.data = (peak / 127.5).to(module.weight_scale.dtype)
    compressor = ModelCompressor.from_pretrained_model(hf, quantization_format="pack-quantized")
    compressor.compress_model(hf)
    hf.save_pretrained(tmp_path)
    compressor.update_config(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    assert "quantization_config" in json.loads((tmp_path / "config.json").read_text("utf-8"))
    packed = load(tmp_path, device=device)
    for request, score in zip(REQUESTS, packed.score(REQUESTS), strict=True):
        assert score.logprob == pytest.approx(sum(by_hand(packed, *request)), abs=1e-3)


def test_a_real_model_has_the_loss_it_is_known_for(device):
    """stories260K on stories it was trained on: about 1.5 nats per token, given BOS."""
    data = os.environ.get("ASSAY_DATA")
    if not data or not (home := Path(data).parent / "models" / "stories260K").is_dir():
        pytest.skip("ASSAY_DATA names no folder beside which models/stories260K lies")
    text = (Path(data) / "tinystories" / "tiny_stories.txt").read_text("utf-8")
    # a single newline ends a story, a double one a paragraph; mis-encoded stories cost more
    stories = re.split(r"(?<!\n)\n(?!\n)", text)
    m = load(home, device=device)
    whole = [story for story in stories if "â" not in story and "Ã" not in story]
    scores = m.score_text(whole[::20])
    loss = -sum(s.logprob for s in scores) / sum(s.n_tokens for s in scores)
    assert 1.45 <= loss <= 1.56
