"""KL, agreement and Δp between two models: by hand, by scipy, and as torch computed them."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import special, stats

from audits.drift import Kept, TextDrift, positions
from audits.errors import MeasureError

GOLDEN = json.loads((Path(__file__).parent / "golden/drift.json").read_text("utf-8"))

logits = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(2, 6)),
    elements=st.floats(-30, 30, width=32),
)


def logs(*rows):
    return np.log(np.array(rows))


def figures(drift):
    return {f.name: f for f in drift.figures()}


# Two tokens of a vocabulary of two; f (base) and g:
#   f = (1/2, 1/2), g = (1/4, 3/4): KL = 1/2 ln 2 + 1/2 ln(2/3) = 1/2 ln(4/3); the token is 0:
#       delta p = 1/4 - 1/2 = -1/4; tops 0 (the first of a tie) and 1 differ.
#   f = (3/4, 1/4), g = (3/4, 1/4): KL = 0; the token is 1: delta p = 0; tops agree.
F, G, TOKENS = logs([0.5, 0.5], [0.75, 0.25]), logs([0.25, 0.75], [0.75, 0.25]), [0, 1]


def test_an_example_by_hand():
    at = positions(F, G, np.array(TOKENS))
    assert at.kl == pytest.approx([0.5 * math.log(4 / 3), 0], abs=1e-15)
    assert at.same_top.tolist() == [False, True]
    assert at.delta_p == pytest.approx([-0.25, 0])
    drift = TextDrift()
    drift.add("d0", at)
    drift.add("d1", at)
    found = figures(drift)
    assert found["kl"].value == pytest.approx(0.25 * math.log(4 / 3))
    assert found["same_top"].value == 0.5
    assert found["delta_p"].value == pytest.approx(-0.125)
    assert found["rms_delta_p"].value == pytest.approx(math.sqrt(0.25**2 / 2))
    # perplexities: sqrt(2 * 4) and sqrt(4 * 4)
    assert found["ppl_base"].value == pytest.approx(math.sqrt(8))
    assert found["ppl_variant"].value == pytest.approx(4)
    assert found["ln_ppl_ratio"].value == pytest.approx(math.log(4 / math.sqrt(8)))


def test_the_base_comes_first():
    tokens = np.array(TOKENS)
    forth, back = positions(F, G, tokens).kl[0], positions(G, F, tokens).kl[0]
    # the other way round: 1/4 ln(1/2) + 3/4 ln(3/2)
    assert back == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5))
    assert forth != pytest.approx(back)


@settings(deadline=None)
@given(base=logits, seed=st.integers(0, 99))
def test_divergence_is_scipy_s_and_never_negative(base, seed):
    rng = np.random.default_rng(seed)
    variant = base + rng.normal(size=base.shape).astype(np.float32)
    f, g = (special.softmax(x.astype(np.float64), axis=1) for x in (base, variant))
    tokens = rng.integers(0, base.shape[1], len(base))
    at = positions(base, variant, tokens)
    assert (at.kl >= 0).all()
    assert at.kl == pytest.approx(special.rel_entr(f, g).sum(1), rel=1e-9, abs=1e-12)
    rows = np.arange(len(base))
    assert at.delta_p == pytest.approx(g[rows, tokens] - f[rows, tokens], abs=1e-12)


@settings(deadline=None)
@given(base=logits)
def test_a_model_does_not_drift_from_itself(base):
    tokens = np.zeros(len(base), np.int64)
    at = positions(base, base.copy(), tokens)
    assert at.kl.tolist() == [0.0] * len(base)
    assert at.same_top.all()
    assert not at.delta_p.any()


@settings(deadline=None)
@given(base=logits, shift=st.floats(-5, 5))
def test_what_is_not_normalized_is_no_divergence(base, shift):
    tokens = np.zeros(len(base), np.int64)
    at = positions(base.astype(np.float64), base.astype(np.float64) + shift, tokens)
    assert at.kl == pytest.approx(np.zeros(len(base)), abs=1e-12)


def test_long_pieces_are_worked_through_in_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    base, variant = rng.normal(size=(2, 50, 7))
    tokens = rng.integers(0, 7, 50)
    whole = positions(base, variant, tokens)
    monkeypatch.setattr("audits.drift._CELLS", 30)  # four positions at a time
    parts = positions(base, variant, tokens)
    assert parts.kl.tolist() == whole.kl.tolist()
    assert parts.same_top.tolist() == whole.same_top.tolist()


def test_a_token_that_neither_model_allows_adds_nothing():
    with np.errstate(divide="ignore"):
        f, g = logs([0.5, 0.5, 0.0]), logs([0.25, 0.75, 0.0])
    assert positions(f, g, np.array([0])).kl == pytest.approx([0.5 * math.log(4 / 3)])


@pytest.mark.parametrize("odd", [[np.nan, 0.0], [-np.inf, 0.0]])
def test_what_is_not_finite_is_refused(odd):
    with pytest.raises(MeasureError, match="not finite"):
        positions(logs([0.5, 0.5]), np.array([odd]), np.array([0]))


def test_other_shapes_are_refused():
    with pytest.raises(MeasureError, match="one vocabulary"):
        positions(np.zeros((1, 3)), np.zeros((1, 4)), np.array([0]))


def test_the_interval_is_that_of_documents_and_not_of_tokens():
    """The same tokens dealt out to documents in blocks that agree are worth fewer."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=(400, 5))
    variant = base + rng.normal(size=(400, 5)) * np.repeat(np.linspace(0, 2, 20), 20)[:, None]
    tokens = rng.integers(0, 5, 400)

    def width(order):
        drift = TextDrift()
        for document in range(20):
            mine = order[20 * document : 20 * (document + 1)]
            drift.add(f"d{document}", positions(base[mine], variant[mine], tokens[mine]))
        found = figures(drift)["kl"]
        assert (found.n, found.clusters) == (20, 20)
        return found.value, found.high - found.low

    kept, shuffled = width(np.arange(400)), width(rng.permutation(400))
    assert kept[0] == pytest.approx(shuffled[0])
    assert kept[1] > 1.5 * shuffled[1]


def test_the_interval_of_equally_long_documents_is_student_s():
    rng = np.random.default_rng(1)
    base, variant = rng.normal(size=(2, 30, 4))
    drift, means = TextDrift(), []
    for document in range(10):
        mine = slice(3 * document, 3 * document + 3)
        at = positions(base[mine], variant[mine], np.zeros(3, np.int64))
        drift.add(f"d{document}", at)
        means.append(at.kl.mean())
    low, high = stats.t.interval(0.95, 9, np.mean(means), stats.sem(means))
    found = figures(drift)["kl"]
    assert (found.low, found.high) == pytest.approx((low, high))


def test_a_document_in_pieces_is_one_document():
    whole, pieces = TextDrift(), TextDrift()
    at = positions(F, G, np.array(TOKENS))
    for name in ("a", "b"):
        whole.add(name, at)
        for i in (0, 1):
            pieces.add(name, positions(F[i : i + 1], G[i : i + 1], np.array(TOKENS[i : i + 1])))
    assert pieces.figures() == whole.figures()
    assert pieces.kl.quantiles([0.5]) == whole.kl.quantiles([0.5])


def test_one_document_gives_numbers_and_says_why_there_is_no_interval():
    drift = TextDrift()
    drift.add("only", positions(F, G, np.array(TOKENS)))
    found = figures(drift)["kl"]
    assert found.value == pytest.approx(0.25 * math.log(4 / 3))
    assert (found.low, found.high) == (None, None)
    assert "an interval needs two" in found.method


def test_no_tokens_are_no_measurement():
    with pytest.raises(MeasureError, match="no tokens"):
        TextDrift().figures()


@settings(deadline=None)
@given(st.lists(st.lists(st.floats(0, 9, width=32), max_size=8), min_size=1, max_size=8))
def test_quantiles_are_numpy_s_of_all_values(batches):
    kept, values = Kept(), np.array([v for batch in batches for v in batch])
    for batch in batches:
        kept.add(np.array(batch))
    if len(values):
        found = kept.quantiles([0.5, 0.99])
        assert kept.exact
        assert found["0.5"] == pytest.approx(np.quantile(values, 0.5))
        assert found["0.99"] == pytest.approx(np.quantile(values, 0.99))
        assert (found["min"], found["max"]) == (values.min(), values.max())


def test_of_too_many_values_a_uniform_sample_is_kept():
    """10,000 of 200,000: the sampled median has a standard error of a half percent."""
    kept = Kept(most=10_000)
    for start in range(0, 200_000, 7_000):
        kept.add(np.arange(start, min(200_000, start + 7_000)) / 200_000)
    assert not kept.exact
    found = kept.quantiles([0.1, 0.5, 0.9])
    assert (found["min"], found["max"]) == (0, 199_999 / 200_000)
    for level in (0.1, 0.5, 0.9):
        assert found[f"{level:g}"] == pytest.approx(level, abs=0.02)


@pytest.mark.parametrize("kind", ["bfloat16", "float8_e4m3fn"])
@pytest.mark.parametrize("number", range(len(GOLDEN["texts"])))
def test_rounded_weights_drift_as_torch_says(kind, number, stories260k):
    import torch

    from tasks.models.load import load

    text = GOLDEN["texts"][number]
    ids, want = torch.tensor([text["token_ids"]]), text["expected"][kind]
    hf, rounded = (load(stories260k, device="cpu").hf for _ in range(2))
    with torch.inference_mode():
        for weight in rounded.parameters():
            weight.copy_(weight.to(getattr(torch, kind)).float())
        f, g = (net(ids).logits[0, :-1].numpy() for net in (hf, rounded))
    at = positions(f, g, ids[0, 1:].numpy())
    kl, delta = at.kl, at.delta_p
    assert kl[:5] == pytest.approx(want["first_five_kl"], rel=1e-3, abs=1e-7)
    assert kl.mean() == pytest.approx(want["mean_kl"], rel=1e-3, abs=1e-7)
    assert np.median(kl) == pytest.approx(want["median_kl"], rel=1e-3, abs=1e-7)
    assert kl.max() == pytest.approx(want["max_kl"], rel=1e-3, abs=1e-7)
    assert np.quantile(kl, 0.99) == pytest.approx(want["kl_quantile_99"], rel=1e-3, abs=1e-7)
    assert at.same_top.mean() == want["top1_agreement"]
    assert delta.mean() == pytest.approx(want["mean_delta_p"], abs=1e-5)
    assert np.sqrt(np.square(delta).mean()) == pytest.approx(want["rms_delta_p"], abs=1e-5)
    assert -at.base.mean() == pytest.approx(text["base_nats_per_token"], abs=1e-5)
