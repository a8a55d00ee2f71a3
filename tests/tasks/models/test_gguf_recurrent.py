"""A network with a recurrent state cannot go back, and is right all the same."""

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from tasks.models.gguf_tokens import write_vocabulary
from tasks.models.load import load
from tasks.models.testing import tiny_tokenizer

gguf = pytest.importorskip("gguf", reason="the gguf extra is not installed")
pytest.importorskip("llama_cpp", reason="the gguf extra is not installed")

REQUESTS = [
    ("Once upon a time", " there was a girl"),
    ("Once upon a time", " bread"),
    ("", "She was the doctor"),
    ("The baker sells bread. " * 60, " bread and more"),  # more than one chunk of tokens
    *((f"Number {i}", " is it") for i in range(12)),  # more sequences than states
]


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A tiny Mamba: the network of transformers, and the same weights as a GGUF model."""
    from transformers import MambaConfig, MambaForCausalLM

    home = tmp_path_factory.mktemp("mamba")
    config = MambaConfig(
        vocab_size=300, hidden_size=32, state_size=8, num_hidden_layers=2, conv_kernel=4,
        expand=2, time_step_rank=2, initializer_range=0.3, bos_token_id=0, eos_token_id=1,
        pad_token_id=2,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        hf = MambaForCausalLM(config).eval()
    tiny_tokenizer().save_pretrained(home)
    write(hf, home, home / "mamba.gguf")
    return hf, load(home / "mamba.gguf")


def write(hf, home, out):
    """As llama.cpp's converter does: A is stored as such, and a kernel without its channel."""
    config = hf.config
    writer = gguf.GGUFWriter(out, "mamba")
    writer.add_context_length(4096)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_ssm_conv_kernel(config.conv_kernel)
    writer.add_ssm_inner_size(config.intermediate_size)
    writer.add_ssm_state_size(config.state_size)
    writer.add_ssm_time_step_rank(config.time_step_rank)
    writer.add_layer_norm_rms_eps(config.layer_norm_epsilon)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    tokenizer = AutoTokenizer.from_pretrained(str(home), local_files_only=True)
    write_vocabulary(writer, tokenizer, config.vocab_size, home)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MAMBA, config.num_hidden_layers)
    for name, weight in hf.state_dict().items():
        if name == "lm_head.weight":  # tied
            continue
        tensor = weight.numpy()
        tensor = -np.exp(tensor) if name.endswith("A_log") else tensor
        tensor = tensor.squeeze(1) if "conv1d.weight" in name else tensor
        writer.add_tensor(
            names.get_name(name, (".weight", ".bias")), np.ascontiguousarray(tensor)
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def logs(hf, ids):
    with torch.inference_mode():
        return hf(torch.tensor([ids]), use_cache=False).logits[0].log_softmax(-1)


def test_scores_are_those_of_transformers(network):
    hf, model = network
    assert model.network.recurrent
    pairs = model.encoder.pairs(REQUESTS)
    for pair, score in zip(pairs, model.score(REQUESTS, per_token=True), strict=True):
        found = logs(hf, pair.context + pair.continuation[:-1])[len(pair.context) - 1 :]
        want = found[range(len(pair.continuation)), pair.continuation].tolist()
        assert score.tokens == pytest.approx(want, abs=1e-3)


def test_greedy_generation_is_that_of_transformers(network):
    hf, model = network
    prompts = ["Once upon", "The baker", "Once upon a time", ""] * 3
    for prompt, [text] in zip(
        prompts, model.generate(prompts, max_new_tokens=8, seed=0), strict=True
    ):
        [ids] = model.encoder.contexts([prompt])
        start = len(ids)
        while len(ids) < start + 8 and (token := int(logs(hf, ids)[-1].argmax())) != 1:
            ids.append(token)
        assert text == model.tokenizer.decode(ids[start:])


def test_samples_of_one_prompt_begin_with_one_state(network):
    _, model = network
    asked = {"max_new_tokens": 8, "seed": 0, "temperature": 1.0}
    [samples] = model.generate(["The baker"], n=3, **asked)
    assert len(set(samples)) == 3
    assert model.generate(["The baker"], n=1, **asked) == [samples[:1]]
