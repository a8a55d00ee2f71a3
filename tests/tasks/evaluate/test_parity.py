"""Whole tasks on our engine and on lm-eval's own HFLM: same samples, metrics and errors."""

import gzip
import json

import lm_eval
import pytest
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from audits.errors import AuditError, SpecError
from audits.testing import FakeModel
from registry import parts
from tasks.evaluate import EvaluateSettings, evaluate
from tasks.evaluate.benchmarks import _bootstrap_stderr
from tasks.evaluate.settings import ALL_METRICS
from tasks.evaluate.texts import measure_texts
from tasks.models.load import load
from tasks.models.testing import tiny_llama

ROWS = [
    {"q": f"{who} lives in the", "c": ["town", "old park", "bread"], "a": i % 3, "w": "e"}
    for i, who in enumerate(("The baker", "A girl", "Derek", "Mirebo", "She", "Ulvara"))
]
COMMON = """
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{rows}"}}, cache_dir: "{cache}"}}
test_split: test
doc_to_text: "{{{{q}}}}"
"""
TASKS = {
    "choosing": "output_type: multiple_choice\ndoc_to_choice: '{{c}}'\ndoc_to_target: '{{a}}'\n"
    "metric_list: [{metric: acc}, {metric: acc_norm}]\n",
    "guessing": "output_type: loglikelihood\ndoc_to_target: ' {{c[a]}}'\n"
    "metric_list: [{metric: perplexity}, {metric: acc}]\n",
    "reading": "output_type: loglikelihood_rolling\ndoc_to_target: '{{q}} {{c[0]}}'\n"
    "metric_list: [{metric: word_perplexity}, {metric: bits_per_byte}]\n",
    "writing": "output_type: generate_until\ndoc_to_target: '{{w}}'\n"
    "generation_kwargs: {until: ['e', '\\n'], max_gen_toks: 6, do_sample: false, top_p: 0.9}\n"
    "metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]\n",
}
TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder of tasks over local JSON lines."""
    home = tmp_path_factory.mktemp("tasks")
    rows = home / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS), "utf-8")
    for name, config in TASKS.items():
        text = f"task: {name}\n" + COMMON.format(rows=rows, cache=home / "cache") + config
        (home / f"{name}.yaml").write_text(text, "utf-8")
    return home


@pytest.fixture(scope="module")
def chatty(tmp_path_factory):
    folder = tiny_llama(tmp_path_factory.mktemp("chatty"), max_length=256)
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps(config | {"chat_template": TEMPLATE}), "utf-8")
    return folder


def ours(settings, job, folder):
    work = job(model=folder)
    evaluate(settings, work)
    with gzip.open(work.out / "samples.jsonl.gz", "rt", encoding="utf-8") as lines:
        samples = [json.loads(line) for line in lines]
    return json.loads((work.out / "lm_eval.json").read_text("utf-8")), samples, work


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"num_fewshot": 2, "system_instruction": "Answer in a word.", "seed": 3},
        {"num_fewshot": 2, "apply_chat_template": True, "system_instruction": "Be short."},
        {"num_fewshot": 1, "apply_chat_template": True, "fewshot_as_multiturn": False},
    ],
    ids=["plain", "shots", "chat", "one-turn"],
)
def test_a_task_comes_to_the_same_as_with_lm_evals_own_backend(
    asked, written, chatty, job, monkeypatch
):
    monkeypatch.setenv("DISABLE_MULTIPROC", "1")
    settings = EvaluateSettings(
        tasks=tuple(TASKS), include_path=str(written), metrics=ALL_METRICS, **asked
    )
    mine, samples, _ = ours(settings, job, chatty)
    model = load(chatty, device="cpu")
    found = lm_eval.simple_evaluate(
        model=HFLM(pretrained=model.hf, tokenizer=model.tokenizer, batch_size=2),
        tasks=list(TASKS),
        task_manager=TaskManager(include_path=str(written), include_defaults=False),
        bootstrap_iters=1000,
        **{name: value for name, value in asked.items() if name != "seed"},
        **{f"{kind}_seed": settings.seed for kind in
           ("random", "numpy_random", "torch_random", "fewshot_random")},
    )  # fmt: skip
    for task in TASKS:
        theirs = found["results"][task]
        assert mine["results"][task].keys() >= theirs.keys() - {"sample_len"}
        for name, value in mine["results"][task].items():
            if isinstance(value, float):
                exact = name.startswith(("acc", "exact_match"))
                assert value == pytest.approx(theirs[name], rel=0 if exact else 1e-3), name
    assert isinstance(mine["results"]["choosing"]["acc_stderr,none"], float)
    assert isinstance(mine["results"]["guessing"]["perplexity_stderr,none"], float)
    assert len(samples) == len(TASKS) * len(ROWS)
    for sample in samples:
        other = found["samples"][sample["task"]][sample["doc_id"]]
        for field in ("doc_hash", "prompt_hash", "target_hash", "filter", "target"):
            assert sample[field] == other[field]
        assert sample["arguments"] == json.loads(json.dumps(other["arguments"]))
        said, want = sample["filtered_resps"], other["filtered_resps"]
        if sample["task"] == "writing":
            assert said == want
        elif sample["task"] == "reading":
            assert said == pytest.approx(want, abs=1e-3)
        else:
            assert [s[0] for s in said] == pytest.approx([w[0] for w in want], abs=1e-3)
            assert [s[1] for s in said] == [w[1] for w in want]


def test_a_rolling_task_becomes_a_measure_in_bits_per_byte(written, job, tiny_model):
    settings = EvaluateSettings(
        tasks=("reading",), include_path=str(written), metrics=("bits_per_byte",)
    )
    result, _, work = ours(settings, job, tiny_model)
    [measure] = parts.read(work.out).measures()[0]
    assert measure.name == "evaluate/bits_per_byte/reading"
    assert measure.value == pytest.approx(result["results"]["reading"]["bits_per_byte,none"])
    assert (measure.better, measure.unit, measure.n) == ("lower", "bits/byte", len(ROWS))
    with pytest.raises(SpecError, match=r"reading gives .* none of the metrics \['acc'\]"):
        evaluate(settings.model_copy(update={"metrics": ("acc",)}), job())


def test_options_of_conversation_are_part_of_the_question(written, job, chatty):
    asked = EvaluateSettings(tasks=("choosing",), include_path=str(written))
    bases = set()
    for change in ({}, {"apply_chat_template": True}, {"system_instruction": "Go."}):
        _, _, work = ours(asked.model_copy(update=change), job, chatty)
        bases.add(parts.read(work.out).basis)
    assert len(bases) == 3


def test_a_model_without_a_chat_template_says_so(written, job):
    asked = EvaluateSettings(
        tasks=("choosing",), include_path=str(written), apply_chat_template=True
    )
    with pytest.raises(SpecError, match="has no chat template; evaluate without one"):
        evaluate(asked, job())


def test_a_model_that_cannot_score_texts_says_so(tmp_path):
    with pytest.raises(AuditError, match="cannot score whole texts"):
        measure_texts(EvaluateSettings(texts=("held",)), FakeModel(), tmp_path)


def test_resampled_standard_errors_are_lm_evals_own(monkeypatch):
    from lm_eval.api import metrics

    monkeypatch.setenv("DISABLE_MULTIPROC", "1")
    values = [-0.5, -2.0, -1.25, -4.0, -0.75]
    want = metrics.bootstrap_stderr(metrics.perplexity, values, iters=2000)
    assert _bootstrap_stderr(metrics.perplexity, values, 2000) == want
