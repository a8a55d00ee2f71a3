"""A quantized GGUF file is computed, on every processor, and near what it was made from."""

from itertools import pairwise

import numpy as np
import pytest

from tasks.models.gguf_write import write_gguf
from tasks.models.load import load
from tasks.models.testing import quantized, tiny_llama

pytest.importorskip("llama_cpp", reason="the gguf extra is not installed")

TEXT = "Once upon a time there was a girl who lived in a very small house"
KINDS = {"Q8_0": 7, "Q6_K": 18, "Q4_K": 15}
"""`LLAMA_FTYPE` of each."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Rows of 256 weights, which K-quants need."""
    home = tmp_path_factory.mktemp("whole")
    return write_gguf(tiny_llama(home / "model", layers=1, width=256), home / "f32.gguf")


@pytest.mark.parametrize("kind", KINDS)
def test_many_tokens_at_once_are_scored_as_one_after_the_other(whole, tmp_path, kind):
    small = load(quantized(whole, tmp_path / "small.gguf", KINDS[kind]))
    assert kind in small.header.types
    ids = [small.encoder.prefix, *small.encoder.plain([TEXT])[0]]
    small.network.reserve(len(ids))
    alone = []
    for at, (token, asked) in enumerate(pairwise(ids)):
        logits = small.network.follow([token], at).astype(np.float64)
        alone.append(logits[asked] - np.logaddexp.reduce(logits))
    [together] = small.score([("", TEXT)], per_token=True)
    np.testing.assert_allclose(together.tokens, alone, atol=1e-3)
    [exact] = load(whole).score([("", TEXT)], per_token=True)
    assert np.corrcoef(together.tokens, exact.tokens)[0, 1] > 0.8
