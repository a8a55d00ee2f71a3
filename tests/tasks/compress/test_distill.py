"""Learning from teachers: what is mixed, who may teach, who writes, and what is recorded."""

import json
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModelForCausalLM

from audits.errors import SpecError
from tasks.artifact import Artifact, fingerprint
from tasks.compress import Distill, FineTune, Wanda, Width, compress
from tasks.compress.generated import Generation, Written, continued, documents
from tasks.compress.objective import Objective, projections
from tasks.compress.teacher import Teacher, open_teacher
from tasks.compress.training import padded
from tasks.models.folder import weights_digest
from tasks.models.testing import (
    tiny_gpt2,
    tiny_llama,
    tiny_mamba2,
    tiny_mobilebert,
    tiny_rwkv,
    tiny_tokenizer,
)

QUICK = {"steps": 2, "batch_size": 4, "sequence_length": 32}
SHORT = Generation(prompt_tokens=4, new_tokens=6)


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """Another model than the teacher, with its tokenizer and shape."""
    return tiny_llama(tmp_path_factory.mktemp("student") / "model", seed=1)


@pytest.fixture
def distil(job, student, model_folder, tmp_path):
    """Trains `student` by settings towards teachers; the folder of the result."""

    def run(to="made", by=(model_folder,), of=student, **settings):
        out = tmp_path / to
        out.mkdir()
        given = {
            f"teacher.{at}": Artifact(kind="model", path=str(folder), digest=f"t{at}")
            for at, folder in enumerate(by)
        }
        model = Artifact(kind="model", path=str(of), digest="s")
        method = Distill(**{**QUICK, **settings}).handed([f"t{at}" for at in range(len(given))])
        compress(method, replace(job, inputs=job.inputs | given | {"model": model}, out=out))
        return out

    return run


def remarks(folder):
    return json.loads((folder / "compression.json").read_text("utf-8"))["remarks"]


def loaded(folder):
    return AutoModelForCausalLM.from_pretrained(folder).eval()


def rows_of(*lengths):
    draw = torch.Generator().manual_seed(0)
    return [{"input_ids": torch.randint(3, 300, (1, n), generator=draw)} for n in lengths]


def test_a_student_comes_nearer_to_its_teacher_and_says_how_near(distil, model_folder):
    said = remarks(distil(steps=12, learning_rate=1e-2, alpha=1.0))
    assert said["distillation_loss_last"] < 0.8 * said["distillation_loss_first"]
    assert said["loss_first"] == said["distillation_loss_first"]
    assert said["teachers"] == [weights_digest(model_folder)]
    # 12 steps of 4 documents of at most 32 tokens, each but the first predicted
    assert 12 * 4 * 10 < said["tokens"] <= 12 * 4 * 31


def test_the_loss_is_the_weighted_sum_of_its_parts(distil):
    said = remarks(distil(alpha=0.25, hidden=0.5, attention=3.0))
    parts = 0.75 * said["task_loss_first"] + 0.25 * said["distillation_loss_first"]
    inside = 0.5 * said["hidden_loss_first"] + 3.0 * said["attention_loss_first"]
    assert said["loss_first"] == pytest.approx(parts + inside, rel=1e-5)
    assert said["hidden_loss_first"] > 0
    assert said["attention_loss_first"] > 0


@pytest.mark.parametrize("objective", ["forward_kl", "reverse_kl"])
@pytest.mark.parametrize("text", ["calibration", "student", "teacher"])
def test_a_student_that_is_its_teacher_has_nothing_to_learn(
    distil, model_folder, objective, text
):
    said = remarks(
        distil(
            of=model_folder, steps=1, alpha=1.0, objective=objective, text=text,
            hidden=1.0, attention=1.0,
            generation=None if text == "calibration" else SHORT,
        )
    )  # fmt: skip
    for part in ("distillation_loss", "hidden_loss", "attention_loss"):
        assert said[f"{part}_first"] == pytest.approx(0, abs=1e-5)


def test_zeros_stay_where_they_are(job, distil, student, tmp_path):
    sparse = tmp_path / "sparse"
    sparse.mkdir()
    model = Artifact(kind="model", path=str(student), digest="s")
    pruned = replace(job, inputs=job.inputs | {"model": model}, out=sparse)
    compress(Wanda(sparsity=0.5, pattern="2:4"), pruned)
    made = distil(of=sparse, learning_rate=1e-2)
    before, after = loaded(sparse).state_dict(), loaded(made).state_dict()
    for name in (n for n in before if "_proj" in n):
        assert torch.equal(before[name] == 0, after[name] == 0)
        assert not torch.equal(before[name], after[name])
    assert remarks(made)["share_of_zeros"] == 0.5


def test_equal_settings_and_teachers_give_equal_files(distil, student, model_folder):
    how = {"text": "student", "generation": SHORT, "hidden": 1.0}
    made = [fingerprint(distil(to=f"{seed}{at}", seed=seed, **how)) for at, seed in
            enumerate((0, 0, 1))]  # fmt: skip
    assert made[0] == made[1] != made[2]


def test_two_teachers_are_heard_by_their_weights(distil, student, model_folder):
    # the student itself is one of the teachers: the more it weighs, the less there is to learn
    def first(to, weight):
        teachers = (Teacher(model="a", weight=weight), Teacher(model="b"))
        made = distil(to, (student, model_folder), teachers=teachers, mean="arithmetic")
        return remarks(made)

    light, heavy = first("light", 1.0), first("heavy", 50.0)
    assert heavy["distillation_loss_first"] < 0.5 * light["distillation_loss_first"]
    assert light["teachers"] == [weights_digest(student), weights_digest(model_folder)]


def test_without_a_teacher_there_is_no_distillation(distil):
    with pytest.raises(SpecError, match="method distill: no teacher is given"):
        distil(by=())


def test_a_teacher_of_other_tokens_is_refused_unless_it_writes(distil, tmp_path):
    tokenizer = tiny_tokenizer(290)
    other = tiny_llama(tmp_path / "other", vocab=290, tokenizer=tokenizer)
    with pytest.raises(SpecError, match="300 tokens and 290 tokens, which are not the same"):
        distil("a", by=(other,))
    made = distil("b", by=(other,), text="teacher", alpha=0, generation=SHORT)
    said = remarks(made)
    assert "distillation_loss_first" not in said
    assert said["loss_first"] == said["task_loss_first"]


def test_teachers_that_cannot_be_asked_are_named(distil, tmp_path):
    with pytest.raises(SpecError, match="there is no such folder"):
        distil("a", by=(tmp_path / "nothing",))
    masked = tiny_mobilebert(tmp_path / "masked")
    with pytest.raises(SpecError, match="masked language model, which predicts no next token"):
        distil("b", by=(masked,), text="teacher", alpha=0, generation=SHORT)


def test_another_width_is_projected_and_the_projection_dropped(distil, tmp_path, model_folder):
    wide = tiny_llama(tmp_path / "wide", width=96, layers=3)
    made = distil(by=(wide,), hidden=1.0, steps=4, learning_rate=1e-2)
    said = remarks(made)
    assert said["hidden_loss_last"] < said["hidden_loss_first"]
    assert set(loaded(made).state_dict()) == set(loaded(model_folder).state_dict())


def test_hidden_states_by_hand(model_folder, tmp_path):
    student, teacher = (
        loaded(tiny_llama(tmp_path / f"{n}", layers=n, seed=n, width=8 * n)) for n in (2, 4)
    )
    how = Distill(steps=1, hidden=1.0).handed(["t"])
    own = projections(student, teacher, 0)
    assert [tuple(w.shape) for w in own] == [(32, 16), (32, 16)]
    rows = padded(rows_of(5, 9))
    with torch.no_grad():
        mine, theirs = (
            m(input_ids=rows.ids, attention_mask=rows.mask, output_hidden_states=True)
            for m in (student, teacher)
        )
        found = Objective(student, [teacher], how, own)(rows_of(5, 9))["hidden_loss"]
    real = rows.mask.bool()
    expected = 0.0
    for at, other, w in ((0, 0, own[0]), (1, 2, own[1]), (2, 4, own[1])):
        moved = mine.hidden_states[at][real] @ w.detach().T
        expected += (moved - theirs.hidden_states[other][real]).square().mean().item()
    assert found.item() == pytest.approx(expected, rel=1e-4)


def test_other_heads_cannot_be_matched(job, distil, student, tmp_path):
    narrow = tmp_path / "narrow"
    narrow.mkdir()
    compress(Width(heads=2), replace(job, out=narrow))
    distil("a", of=narrow, hidden=1.0)
    with pytest.raises(SpecError, match="the student has 2 heads and its teacher 4"):
        distil("b", of=narrow, attention=1.0)


@pytest.mark.parametrize("family", [tiny_mamba2, tiny_rwkv])
def test_a_family_without_attention_is_named(distil, tmp_path, family):
    folder = family(tmp_path / "family")
    name = "mamba2" if family is tiny_mamba2 else "rwkv"
    with pytest.raises(SpecError, match=f"attention: model type '{name}' does not hand out"):
        distil(of=folder, by=(folder,), attention=1.0)


def test_gpt2_learns_from_gpt2(distil, tmp_path):
    folders = [tiny_gpt2(tmp_path / f"{seed}", seed=seed) for seed in (0, 1)]
    how = {"steps": 3, "learning_rate": 1e-2, "hidden": 0.1, "attention": 1.0}
    said = remarks(distil(of=folders[0], by=folders[1:], **how))
    assert said["loss_last"] < said["loss_first"]


def test_what_a_teacher_wrote_is_kept_and_its_beginnings_are_not_learned(distil, model_folder):
    made = distil(text="teacher", alpha=0, generation=SHORT)
    said = remarks(made)
    lines = (made / "generated.jsonl").read_text("utf-8").splitlines()
    assert len(lines) >= said["generated_documents"] > 0
    assert all(w["text"].startswith(w["prompt"]) for w in map(json.loads, lines))
    assert weights_digest(made) == weights_digest(distil("b", text="teacher", alpha=0,
                                                         generation=SHORT))  # fmt: skip
    tokenizer = tiny_tokenizer()
    [one] = documents([Written("abc", "abcdef")], tokenizer, 99)
    assert one["labels"].tolist() == [[-100] * 3 + one["input_ids"][0, 3:].tolist()]


def test_the_likeliest_text_is_what_the_model_ranks_first(model_folder):
    model = open_teacher(model_folder)
    model.generation_config.eos_token_id = model.config.eos_token_id = None
    prompts = torch.cat([one["input_ids"] for one in rows_of(4, 4)])
    rows = continued(model, prompts, Generation(new_tokens=3, temperature=0), 0)
    with torch.no_grad():
        ranked = model(rows.ids).logits.argmax(-1)
    assert torch.equal(rows.ids[:, 4:], ranked[:, 3:-1])
    assert rows.labels[:, :4].eq(-100).all()
    searched = continued(model, prompts, Generation(new_tokens=3, temperature=0, beams=3), 0)
    assert likelihood(model, searched) >= likelihood(model, rows) - 1e-4


def likelihood(model, rows):
    with torch.no_grad():
        logs = model(rows.ids).logits[:, :-1].log_softmax(-1)
    return logs.gather(-1, rows.ids[:, 1:, None])[:, 3:].sum().item()


def test_nothing_after_an_end_is_read_or_learned(model_folder):
    model = open_teacher(model_folder)
    prompts = torch.cat([one["input_ids"] for one in rows_of(4, 4)])
    how = Generation(new_tokens=5, temperature=0)
    free = continued(model, prompts, how, 0)
    model.generation_config.eos_token_id = end = int(free.ids[0, 5])
    at = free.ids[0].tolist().index(end, 4)
    rows = continued(model, prompts[:1], how, 0)
    assert rows.mask[0].tolist()[: at + 1] == [1] * (at + 1)
    assert not rows.mask[0, at + 1 :].any()
    assert rows.labels[0, at] == end
    assert rows.labels[0, at + 1 :].eq(-100).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"alpha": 0}, "alpha 0 listens to no teacher"),
        ({"generation": {}}, "nobody writes where text is calibration"),
        ({"text": "student", "generation": {"temperature": 0, "beams": 2}}, "leave beams out"),
        ({"text": "teacher", "generation": {"beams": 2}}, "write temperature: 0"),
        ({"text": "teacher", "teachers": ("a", "b")}, "are of one teacher"),
        ({"hidden": 1, "teachers": ("a", "b")}, "are of one teacher"),
        ({"text": "teacher", "sequence_length": 64}, "exceed sequence_length"),
        ({"teachers": ({"model": "a", "weight": 0},)}, "greater than 0"),
        ({"temperature": 0}, "greater than 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, words):
    with pytest.raises(ValidationError, match=words):
        Distill(steps=1, **settings)


@pytest.mark.parametrize("text", ["student", "teacher"])
def test_what_cannot_be_written_is_refused_before_training(distil, text):
    wide = Generation(prompt_tokens=4, new_tokens=200)
    with pytest.raises(SpecError, match=f"204, and the {text} has 128 positions"):
        distil("a", text=text, generation=wide, sequence_length=256)
    early = Generation(prompt_tokens=120, new_tokens=4)
    with pytest.raises(SpecError, match=r"shorter than 120 tokens|has 120 tokens to begin"):
        distil("b", text=text, generation=early, sequence_length=124)


def test_with_the_whole_task_it_is_finetuning(distil, job, student, tmp_path):
    """Equal steps in equal order: the task loss of both begins the same."""
    tuned = tmp_path / "tuned"
    tuned.mkdir()
    model = Artifact(kind="model", path=str(student), digest="s")
    compress(FineTune(**QUICK), replace(job, inputs=job.inputs | {"model": model}, out=tuned))
    said = remarks(distil(alpha=0.5))
    assert said["task_loss_first"] == remarks(tuned)["loss_first"]
