"""A GGUF file of 32-bit floats says what transformers says of the same weights."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from audits.audit import Tools
from audits.errors import AuditError, MeasureError, SpecError
from audits.faithfulness import Faithfulness
from audits.uncertainty import Uncertainty
from tasks.models.gguf_model import GgufModel
from tasks.models.gguf_write import write_gguf
from tasks.models.load import load
from tasks.models.testing import tiny_llama

pytest.importorskip("llama_cpp", reason="the gguf extra is not installed")

TEXTS = [
    "Once upon a time there was a little girl.",
    "  two spaces, a\ttab\n\nand lines\r\n",
    "A café — «naïve» coöperation, 東京 and 🙂👩‍👩‍👧 and \u200b\ufeff.",
    "It's we'll I'd 2024-11-25 1,234.5 $%^&*()",
    "<bos> in the text, and <eos>",
    "a",
    " ",
    "",
]
LONG = "The baker of Ulvara sells bread. " * 30
REQUESTS = [
    ("Once upon a time", " there was a girl"),
    ("Once upon a time", " there were two"),
    ("Once upon a time", " bread"),
    ("", "She was the doctor"),
    ("", "a"),
    ("Who should Derek hug ", "after shocking Richard?"),
    ("A café — «naï", "ve» 東京 🙂"),
    (LONG, " bread"),
    (LONG, " bread and more bread"),
    ("  ", "x"),
]


@pytest.fixture(scope="module")
def gguf(folder, tmp_path_factory):
    """The tiny Llama as a GGUF model, by whether its tokenizer adds BOS."""
    made = {}

    def get(*, add_bos=False) -> GgufModel:
        if add_bos not in made:
            out = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
            made[add_bos] = load(write_gguf(folder("llama", add_bos=add_bos), out))
        return made[add_bos]

    return get


@pytest.mark.parametrize("text", TEXTS)
def test_its_own_vocabulary_gives_the_tokens_of_the_tokenizer(gguf, model, text):
    ours, theirs = gguf().encoder, model().encoder
    assert ours.plain([text]) == theirs.plain([text])


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=40))
@example(text="who ? me !")
def test_any_text_has_the_same_tokens_and_comes_back(gguf, model, text):
    ours, theirs = gguf(), model()
    [ids] = ours.encoder.plain([text])
    assert [ids] == theirs.encoder.plain([text])
    assert ours.tokenizer.decode(ids) == theirs.tokenizer.decode(ids)


@pytest.mark.parametrize("add_bos", [False, True])
def test_scores_are_those_of_transformers(gguf, model, add_bos):
    ours, theirs = gguf(add_bos=add_bos), model(add_bos=add_bos)
    assert ours.bos_policy == theirs.bos_policy
    assert ours.max_length == theirs.max_length
    for mine, other in zip(
        ours.score(REQUESTS, per_token=True),
        theirs.score(REQUESTS, per_token=True),
        strict=True,
    ):
        assert mine.tokens == pytest.approx(other.tokens, abs=1e-3)
        assert mine.logprob == pytest.approx(other.logprob, abs=1e-3)
        assert (mine.n_tokens, mine.n_bytes, mine.greedy, mine.boundary_stable) == (
            other.n_tokens, other.n_bytes, other.greedy, other.boundary_stable,
        )  # fmt: skip
        assert mine.truncated == other.truncated
    assert sum(1 for score in ours.score(REQUESTS) if score.truncated) == 2


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(len(REQUESTS))), first=st.integers(1, len(REQUESTS)))
def test_company_and_order_do_not_change_a_score(gguf, order, first):
    chosen = [REQUESTS[i] for i in order[:first]]
    for request, score in zip(chosen, gguf().score(chosen), strict=True):
        [alone] = gguf().score([request])
        assert score.logprob == pytest.approx(alone.logprob, abs=1e-3)


def test_many_requests_in_many_chunks_are_scored_as_alone(gguf):
    # more branches and tokens than one chunk takes, behind a shared beginning
    shots = "The park is old. " * 4
    many = [(f"{shots}Number {i // 4} is", f" {i % 4} of {i}") for i in range(300)]
    scores = gguf().score(many)
    for i in (0, 7, 130, 299):
        [alone] = gguf().score([many[i]])
        assert scores[i].logprob == pytest.approx(alone.logprob, abs=1e-3)
    assert len({s.logprob for s in scores}) > 250


def test_a_network_that_cannot_share_gives_the_same_numbers(gguf, monkeypatch):
    shared = gguf().score(REQUESTS)
    monkeypatch.setattr(gguf().network, "recurrent", True)
    for one, other in zip(gguf().score(REQUESTS), shared, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-3)


def test_a_sample_of_what_was_scored_is_scored_again_alone(gguf):
    gguf().recheck()
    assert gguf().recheck() is None
    gguf().score([(f"Number {i // 3}", f" is {i}") for i in range(90)])
    assert 0 <= gguf().recheck() < 1e-4


def test_texts_longer_than_the_window_are_scored_in_windows(gguf, model):
    texts = [LONG, "A café.", ""]
    for special in (False, True):
        ours = gguf(add_bos=True).score_text(texts, add_special=special)
        theirs = model(add_bos=True).score_text(texts, add_special=special)
        for mine, other in zip(ours, theirs, strict=True):
            assert mine.logprob == pytest.approx(other.logprob, abs=1e-2)
            assert (mine.n_tokens, mine.n_bytes) == (other.n_tokens, other.n_bytes)
            assert mine.truncated == 0


def test_moments_are_those_of_the_whole_vocabulary(gguf, model):
    [score] = gguf().score([("Once upon", " a time")], moments=True)
    [pair] = model().encoder.pairs([("Once upon", " a time")])
    ids = pair.context + pair.continuation
    with torch.inference_mode():
        logs = model().hf(torch.tensor([ids[:-1]])).logits[0].double().log_softmax(-1)
    logs = logs[len(pair.context) - 1 :]
    mean = (logs.exp() * logs).sum(-1)
    spread = ((logs.exp() * logs**2).sum(-1) - mean**2).sqrt()
    assert np.array(score.moments) == pytest.approx(
        torch.stack([mean, spread], -1).numpy(), abs=1e-4
    )
    assert gguf().score([("Once upon", " a time")])[0].moments == ()


def test_predictions_are_the_networks_log_softmax(gguf, model):
    found = list(gguf().predictions(["A café.", LONG, ""]))
    assert [p.text for p in found] == [0, *[1] * (len(found) - 1)]
    assert len(found) > 2  # the long text comes in pieces
    [ids] = model().encoder.plain(["A café."])
    with torch.inference_mode():
        fed = torch.tensor([[model().encoder.prefix, *ids[:-1]]])
        logs = model().hf(fed).logits[0].log_softmax(-1)
    assert found[0].tokens.tolist() == ids
    assert found[0].logprobs.dtype == np.float32
    assert np.abs(found[0].logprobs - logs.numpy()).max() < 1e-3
    [long] = gguf().score_text([LONG])
    sums = [p.logprobs[np.arange(len(p.tokens)), p.tokens].sum() for p in found[1:]]
    assert sum(sums) == pytest.approx(long.logprob, abs=1e-2)


PROMPTS = ["Once upon a time", "The baker", "", "Once upon", LONG]


@pytest.mark.parametrize(
    "how", [{}, {"temperature": 1.0, "n": 3}, {"temperature": 0.5, "n": 2}]
)
def test_generation_is_that_of_transformers_with_the_same_luck(gguf, model, how):
    asked = {"max_new_tokens": 24, "seed": 3, **how}
    assert gguf().generate(PROMPTS, **asked) == model().generate(PROMPTS, **asked)
    told = gguf().truncated(PROMPTS, max_new_tokens=24)
    assert told == model().truncated(PROMPTS, max_new_tokens=24)
    assert [n > 0 for n in told] == [False] * 4 + [True]


def test_text_ends_before_a_stop_string(gguf, model):
    [[whole]] = gguf().generate(["The baker"], max_new_tokens=24, seed=0)
    stop = whole[5:8]
    asked = {"max_new_tokens": 24, "seed": 0, "stop": [stop]}
    [[cut]] = gguf().generate(["The baker"], **asked)
    assert cut == whole[: whole.index(stop)]
    assert [[cut]] == model().generate(["The baker"], **asked)


def test_many_continuations_go_in_groups_and_change_nothing(gguf):
    prompts = [f"Number {i}" for i in range(70)]
    together = gguf().generate(prompts, max_new_tokens=6, seed=0)
    alone = [gguf().generate([p], max_new_tokens=6, seed=0)[0] for p in prompts[::23]]
    assert together[::23] == alone


def test_nothing_asked_is_nothing_scored(gguf):
    assert gguf().score([]) == []
    assert gguf().generate([], max_new_tokens=3, seed=0) == []
    assert list(gguf().predictions([])) == []


def test_the_digest_is_that_of_the_file(gguf):
    m = gguf()
    assert m.digest == hashlib.sha256(m.header.file.read_bytes()).hexdigest()


def test_conditions_say_what_the_numbers_were_computed_with(gguf):
    import llama_cpp

    said = gguf().conditions
    assert said == {
        "backend": "llama.cpp", "llama_cpp_python": llama_cpp.__version__, "dtype": "F32",
        "weights": "F32 100.0%", "kv_dtype": "float32", "device": said["device"],
        "threads": said["threads"], "n_ctx": 128, "pretokenizer": "gpt-2",
        "bos_policy": "empty:bos,context:none",
    }  # fmt: skip
    assert said["threads"] >= 1


def test_a_cache_of_half_the_bits_is_near_but_not_equal(gguf):
    half = load(gguf().header.file, dtype="bfloat16")
    exact, near = gguf().score(REQUESTS[:3]), half.score(REQUESTS[:3])
    for one, other in zip(exact, near, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=0.5)
        assert one.logprob != other.logprob
    assert half.conditions["kv_dtype"] == "bfloat16"


def test_what_does_not_fit_or_says_nothing_is_refused(gguf):
    with pytest.raises(AuditError, match="exceed the model's 128 positions"):
        gguf().score([("a", LONG)])
    with pytest.raises(AuditError, match="continuation after 'The' is empty"):
        gguf().score([("The", "")])
    with pytest.raises(AuditError, match="ask for fewer"):
        gguf().generate(["a"], max_new_tokens=128, seed=0)


def test_a_gpu_that_llama_cpp_was_not_built_for_is_refused(gguf):
    import llama_cpp

    if llama_cpp.llama_supports_gpu_offload():
        pytest.skip("llama.cpp was built for a GPU here")
    with pytest.raises(SpecError, match="built here without a GPU"):
        load(gguf().header.file, device="cuda")


def test_damaged_weights_give_no_number(tmp_path):
    from safetensors.torch import load_file, save_file

    source = tiny_llama(tmp_path / "m", layers=1)
    weights = load_file(source / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"][0, 0] = float("nan")
    save_file(weights, source / "model.safetensors", {"format": "pt"})
    damaged = load(write_gguf(source, tmp_path / "damaged.gguf"))
    with pytest.raises(MeasureError, match=r"'The\| park': .* not finite"):
        damaged.score([("The", " park")])
    for temperature in (0.0, 1.0):
        with pytest.raises(MeasureError, match="not finite"):
            damaged.generate(["The"], max_new_tokens=3, seed=0, temperature=temperature)


FACTS = [
    {
        "id": f"{stratum}{at}", "fact": f"{stratum}{at}", "stratum": stratum, "form": "seen",
        "type": "person", "relation": "home", "subject": f"Baker {at}",
        "object": ("town", "park")[at % 2] if stratum == "K" else "",
        "prompt": f"The baker {stratum} {at} lives in the", "candidates": ["town", "park"],
        "abstain": "unknown", "copies": 1, "entity": f"{stratum}{at}", "split": "test",
    }
    for stratum in ("K", "U_ent") for at in range(3)
]  # fmt: skip


@pytest.mark.parametrize("audit", [Faithfulness(), Uncertainty(samples=2)])
def test_audits_ask_a_gguf_file_what_they_ask_any_model(audit, gguf, model):
    examples = audit.examples(FACTS)
    ours = audit.run(gguf(), examples, Tools(), seed=0)
    theirs = audit.run(model(), examples, Tools(), seed=0)
    assert list(ours.columns) == list(theirs.columns)
    assert (ours["why"] == "").all()
    for column in ("trained", "right", "p_true"):
        if column in ours:
            assert ours[column].to_numpy() == pytest.approx(theirs[column].to_numpy(), abs=1e-3)
