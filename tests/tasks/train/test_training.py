import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from audits.errors import StageError
from tasks.artifact import fingerprint
from tasks.models.folder import check_folder
from tasks.train import TrainSettings, make_model
from tasks.train.loop import new_model, rate_share, train_model

from .conftest import FACTS, TEXTS, write_dataset


class Killed(Exception):
    pass


def kill_at(step):
    def progress(done, total, loss):
        if done == step:
            raise Killed

    return progress


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("step", [2, 3, 7])
def test_killed_and_resumed_gives_the_same_weights(step, tiny, tokenizer, tmp_path):
    # checkpoints fall on steps 3, 6, …: before the first, on one, and between two
    whole = train_model(TEXTS, tokenizer, tiny, tmp_path / "whole")
    with pytest.raises(Killed):
        train_model(TEXTS, tokenizer, tiny, tmp_path / "cut", kill_at(step))
    steps = []
    resumed = train_model(
        TEXTS, tokenizer, tiny, tmp_path / "cut", lambda done, total, loss: steps.append(done)
    )
    assert steps[0] == step - step % 3 + (1 if step % 3 else -2)
    assert same(weights(whole.model), weights(resumed.model))
    assert whole.losses == resumed.losses


def test_a_finished_training_is_not_run_again(tiny, tokenizer, tmp_path):
    first = train_model(TEXTS, tokenizer, tiny, tmp_path)
    again = train_model(TEXTS, tokenizer, tiny, tmp_path, kill_at(1))
    assert same(weights(first.model), weights(again.model))


def test_no_checkpoint_is_a_pickle(tiny, tokenizer, tmp_path):
    train_model(TEXTS, tokenizer, tiny, tmp_path)
    kinds = {f.suffix for f in tmp_path.rglob("*") if f.is_file()}
    assert kinds == {".safetensors", ".json"}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_checkpoint_of_another_training_is_refused(tiny, tokenizer, tmp_path):
    train_model(TEXTS, tokenizer, tiny, tmp_path)
    other = tiny.model_copy(update={"seed": 1})
    with pytest.raises(StageError, match="another training"):
        train_model(TEXTS, tokenizer, other, tmp_path)


def test_training_learns_and_the_untrained_twin_has_not(tiny, tokenizer, tmp_path):
    trained = train_model(TEXTS, tokenizer, tiny, tmp_path)
    assert trained.losses[-1] < trained.losses[0]
    untrained = weights(new_model(tiny, tokenizer))
    assert same(untrained, weights(new_model(tiny, tokenizer)))
    assert not same(untrained, weights(trained.model))


def test_another_seed_gives_another_model_and_the_global_generator_is_left_alone(
    tiny, tokenizer
):
    torch.manual_seed(5)
    one = new_model(tiny, tokenizer)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))
    assert not same(
        weights(one), weights(new_model(tiny.model_copy(update={"seed": 9}), tokenizer))
    )


def test_padding_teaches_nothing(tiny, tokenizer, tmp_path):
    # One document of few tokens: the first loss is that of its own tokens, as the model
    # computes it without any padding.
    text = ["The pet of Ada Ash is cat."]
    trained = train_model(text, tokenizer, tiny.model_copy(update={"epochs": 1}), tmp_path)
    ids = torch.tensor([[*tokenizer(text[0])["input_ids"], tokenizer.eos_token_id]])
    with torch.no_grad():
        expected = float(new_model(tiny, tokenizer)(ids, labels=ids).loss)
    assert trained.losses == (pytest.approx(expected, rel=1e-5),)


def test_a_loss_that_is_not_finite_stops_training(tiny, tokenizer, tmp_path):
    wild = tiny.model_copy(update={"peak_rate": 1e30, "warmup": 0.0, "epochs": 20})
    with pytest.raises(StageError, match=r"the loss is \S+ at step \d+; lower peak_rate"):
        train_model(TEXTS, tokenizer, wild, tmp_path)


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        # 10 steps, 2 of warm-up: 1/2, 1, then 8 steps down; half-way is step 6.
        ("cosine", {0: 0.5, 1: 1.0, 2: 1.0, 6: 0.5}),
        ("linear", {0: 0.5, 1: 1.0, 2: 1.0, 6: 0.5, 9: 1 / 8}),
        # flat until a fifth of the way is left: at step 9 1/8 is left, 1/8 / 1/5 = .625
        ("wsd", {0: 0.5, 1: 1.0, 6: 1.0, 9: 0.625}),
    ],
)
def test_schedules_by_hand(schedule, shares):
    settings = TrainSettings(schedule=schedule, warmup=0.2)
    assert {s: rate_share(s, 10, settings) for s in shares} == pytest.approx(shares)


def test_the_stage_writes_a_model_that_loads(make_job, tiny):
    job = make_job("one")
    make_model(tiny, job)
    check_folder(job.out)
    model = AutoModelForCausalLM.from_pretrained(job.out, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(job.out, local_files_only=True)
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.bos_token_id == tokenizer.bos_token_id
    assert "lm_head.weight" not in load_file(job.out / "model.safetensors")
    membership = json.loads((job.out / "membership.json").read_text("utf-8"))
    assert membership == {"ada/seen": 30, "dee/seen": 0, "c0": 6, "c1": 0}
    training = json.loads((job.out / "training.json").read_text("utf-8"))
    assert training["curve"][-1]["step"] == training["steps"]
    assert training["tokens"] > 0
    notes = job.note.__self__
    assert notes["tokens_per_second"] > 0


def test_the_stage_twice_gives_one_digest(make_job, tiny):
    jobs = [make_job("one"), make_job("two")]
    for job in jobs:
        make_model(tiny, job)
    assert fingerprint(jobs[0].out) == fingerprint(jobs[1].out)


def test_what_training_says_of_the_unanswerable_is_counted(make_job, tiny, tmp_path):
    known = dict(FACTS[0], object="", stratum="U_rel")
    folder = tmp_path / "leaky"
    folder.mkdir()
    job = make_job("leaky_out", write_dataset(folder, [known]))
    make_model(tiny, job)
    membership = json.loads((job.out / "membership.json").read_text("utf-8"))
    # three statements hold its prompt, six epochs
    assert membership["ada/seen"] == 18


def test_bfloat16_trains_too(tiny, tokenizer, tmp_path):
    half = tiny.model_copy(update={"dtype": "bfloat16"})
    trained = train_model(TEXTS, tokenizer, half, tmp_path)
    assert trained.losses[-1] < trained.losses[0]
    assert {p.dtype for p in trained.model.parameters()} == {torch.float32}
    assert replace(trained, seconds=0.0).seconds == 0.0


def test_no_steps_leave_the_weights_as_they_were_drawn(tiny, tokenizer, tmp_path):
    untrained = tiny.model_copy(update={"max_steps": 0})
    found = train_model(TEXTS, tokenizer, untrained, tmp_path)
    assert same(weights(found.model), weights(new_model(tiny, tokenizer)))
    assert (len(found.stream), found.losses) == (0, ())
    short = train_model(
        TEXTS, tokenizer, tiny.model_copy(update={"max_steps": 2}), tmp_path / "short"
    )
    assert len(short.losses) == 2
    assert len(short.stream) == 2 * tiny.batch_blocks
