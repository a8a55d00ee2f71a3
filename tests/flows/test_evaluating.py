"""`assay evaluate`, `audit` and `data` as a person uses and misuses them."""

import gzip
import json
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from flows.cli import main
from registry import parts
from tasks.data.catalog import entry
from tasks.models.testing import tiny_llama

ROWS = [
    {"q": f"{who} lives in the", "a": "town"} for who in ("She", "Derek", "A girl", "Ulvara")
]
TASK = """
task: mine
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{rows}"}}, cache_dir: "{cache}"}}
test_split: test
output_type: loglikelihood
doc_to_text: "{{{{q}}}}"
doc_to_target: "{{{{a}}}}"
metric_list: [{{metric: acc}}, {{metric: perplexity}}]
"""
PAIRS = [
    {"id": str(i), "sent_more": f"The {a} is old.", "sent_less": f"The {b} is old.",
     "stereo_antistereo": "stereo", "bias_type": "gender", "anon_writer": f"w{i}"}
    for i, (a, b) in enumerate([("baker", "doctor"), ("girl", "town"), ("park", "girl")] * 12)
]  # fmt: skip


@pytest.fixture
def say(tmp_path, monkeypatch, capsys):
    """Runs a command in this process over an empty home: code, stdout, stderr."""
    before = dict(os.environ)
    for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "PREFECT_HOME", "ASSAY_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ASSAY_HOME", str(tmp_path / "home"))

    def run(*arguments, data=None):
        if data is not None:
            monkeypatch.setenv("ASSAY_DATA", str(data))
        capsys.readouterr()
        code = main(list(map(str, arguments)))
        said = capsys.readouterr()
        return code, said.out, said.err

    yield run
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def refused(say):
    """Runs a command that must end with this exit code and one sentence."""

    def run(code, arguments, *words, **more):
        got, out, err = say(*arguments, **more)
        line = err.strip().splitlines()[-1]
        assert (got, out) == (code, ""), err
        assert line.startswith("assay: ")
        assert "Traceback" not in err
        for word in words:
            assert word in line
        return line

    return run


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def tasks(tmp_path):
    """Writes a task over local JSON lines; its folder."""

    def write(change="", rows=ROWS):
        home = tmp_path / "mine"
        home.mkdir(exist_ok=True)
        file = tmp_path / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        text = TASK.format(rows=file, cache=tmp_path / "cache") + change
        (home / "mine.yaml").write_text(text, "utf-8")
        return ["--tasks", "mine", "--include-path", home]

    return write


def test_evaluate_prints_lm_evals_table_and_where_the_documents_are_from(say, model, tasks):
    code, out, err = say("evaluate", model, *tasks(), "--num-fewshot", "1", "--limit", "3")
    assert code == 0, err
    lines = out.replace(" ", "").splitlines()
    assert lines[0] == "|Tasks|Version|Filter|n-shot|Metric||Value||Stderr|"
    [accuracy] = [line for line in lines if "|acc|" in line]
    assert accuracy.startswith("|mine|")
    assert "|1|acc|" in accuracy
    assert "N/A" not in out
    assert out.splitlines()[-1] == "- mine: 3 of 4 from json"


def test_the_document_of_an_evaluation_names_its_samples(say, model, tasks):
    code, out, err = say("evaluate", model, *tasks(), "--json")
    assert code == 0, err
    said = json.loads(out)
    assert [m["name"] for m in said["measures"]] == ["evaluate/acc/mine"]
    with gzip.open(said["samples"], "rt", encoding="utf-8") as lines:
        samples = [json.loads(line) for line in lines]
    assert [s["doc"]["q"] for s in samples] == [row["q"] for row in ROWS]


def test_other_documents_are_another_evaluation(say, model, tasks):
    first = json.loads(say("evaluate", model, *tasks(), "--json")[1])
    again = json.loads(say("evaluate", model, *tasks(), "--json")[1])
    assert again["samples"] == first["samples"]
    other = json.loads(say("evaluate", model, *tasks(rows=ROWS[:2]), "--json")[1])
    assert other["samples"] != first["samples"]
    assert other["measures"][0]["n"] == 2


def test_bad_tasks_and_options_end_in_one_sentence(refused, model, tasks, tmp_path):
    base = ["evaluate", model, "--tasks"]
    refused(2, [*base, "hellaswagg"], "'hellaswagg'", "hellaswag")
    refused(2, [*base, "scrolls"], "no task 'scrolls'")
    refused(2, [*base, "wikitext2"], "assay data fetch wikitext2")
    refused(2, [*base, "piqa"], "'piqa' cannot be loaded", "assay data fetch piqa")
    refused(2, [*base, " , "], "name at least one")
    refused(2, [*base, "hellaswag,piqa,hellaswag"], "tasks", "'hellaswag' stands twice")
    refused(2, ["evaluate", model, *tasks(), "--limit", "0"], "limit")
    refused(2, ["evaluate", model, *tasks(), "--apply-chat-template"], "no chat template")
    refused(
        2, ["evaluate", model, "--tasks", "x", "--include-path", "/no/such"], "is no folder"
    )
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.yaml").write_text("a: 1\n", "utf-8")
    here = ["--include-path", tmp_path / "other"]
    refused(2, ["evaluate", model, "--tasks", "piqa", *here], "other", "no .yaml file", "task")


def test_a_task_by_itself_and_in_a_group_is_asked_once_only(refused, model, tasks):
    asked = tasks()
    (asked[-1] / "both.yaml").write_text("group: both\ntask: [mine]\n", "utf-8")
    asked[1] = "both,mine"
    refused(2, ["evaluate", model, *asked], "'mine' are asked by both 'both' and 'mine'")


def test_bad_requests_end_in_one_sentence(refused, model, tasks):
    long = [{"q": "The", "a": "old park " * 90}]
    refused(3, ["evaluate", model, *tasks(rows=long)], "exceed the model's 128 positions")
    empty = [{"q": "The", "a": ""}]
    delimiter = 'target_delimiter: ""\n'
    refused(3, ["evaluate", model, *tasks(delimiter, empty)], "nothing to score")


LONG = [*ROWS, {"q": "old park " * 200, "a": "town"}]
"""Four questions that fit the 128 tokens of the tiny model, and one that does not."""


def test_a_context_longer_than_the_window_is_cut_and_everything_says_so(say, model, tasks):
    asked = ["evaluate", model, *tasks(rows=LONG)]
    code, out, err = say(*asked)
    assert code == 0, err
    said = "1 of 5 questions were longer than the window of 128 tokens and were cut on the left"
    assert f"\n{said}, as lm-eval does\n" in out
    told = json.loads(say(*asked, "--json")[1])
    assert told["measures"][0]["n"] == 5, "lm-eval counts it, and so do we"
    part = parts.read(Path(told["records"]).parent)
    for conditions in (told["conditions"], part.conditions):
        assert (conditions["truncated"], conditions["window"]) == (1, 128)
    lost = part.records.set_index("example")["truncated"]
    assert (lost[[f"mine/{i}" for i in range(4)]] == 0).all()
    assert lost["mine/4"] > 100


def test_an_answer_from_the_score_cache_still_tells_that_it_was_cut(say, model, tasks):
    asked = ["evaluate", model, *tasks(rows=LONG), "--json"]
    first = json.loads(say(*asked)[1])
    again = json.loads(say(*asked, "--seed", "1")[1])
    assert again["records"] != first["records"]
    counts = json.loads((Path(again["records"]).parents[1] / "stage.json").read_text("utf-8"))
    assert counts["scores"]["computed"] == 0
    assert again["conditions"]["truncated"] == first["conditions"]["truncated"] == 1
    code, out, _ = say(*asked[:-1], "--limit", "4")
    assert (code, "window" in out) == (0, False), "where nothing was cut nothing is said"


def test_lm_evals_own_backend_tells_as_much_or_that_it_does_not(say, model, tasks):
    asked = tasks(rows=LONG)
    named = f"lm-eval:hf,pretrained={model},batch_size=4"
    code, out, err = say("evaluate", named, *asked, "--json")
    assert code == 0, err
    assert json.loads(out)["conditions"]["truncated"] == 1
    code, out, err = say("evaluate", "lm-eval:dummy", *asked)
    assert code == 0, err
    assert "whether the questions fit the model's window is not known" in out


def test_an_audit_of_contexts_that_do_not_fit_says_how_many(say, tmp_path, model):
    rows = [
        {"id": str(at), "knowledge": "The park is old. " * (40 if at < 3 else 1),
         "question": "Who?", "right_answer": "the baker", "hallucinated_answer": "a girl"}
        for at in range(40)
    ]  # fmt: skip
    data = tmp_path / "data"
    data.mkdir()
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (data / "halueval_qa.jsonl").write_text(lines, "utf-8")
    about = {"file": "halueval_qa.jsonl", "format": "jsonl", "rows": len(rows), "about": ""}
    manifest = {"kind": "test", "sets": {"halueval_qa": about}, "truth": {}}
    (data / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    asked = ["audit", model, "halueval", "--data", data]
    code, out, err = say(*asked)
    assert code == 0, err
    assert out.splitlines()[-1] == (
        "3 of 40 examples are longer than the window of 128 tokens and count as invalid"
    )
    [told] = json.loads(say(*asked, "--json")[1])["audits"]
    assert told["conditions"]["truncated"] == 3


def test_a_comparison_says_how_many_questions_each_window_cut(say, tmp_path, model, tasks):
    short = tiny_llama(tmp_path / "short", max_length=16)
    rows = [*LONG, {"q": "The old park of the girl " * 3, "a": "town"}]
    asked = ["compare", model, short, *tasks(rows=rows)]
    code, out, err = say(*asked)
    assert code == 0, err
    assert "cut on the left: 1 questions in the base, 2 in the variant" in out
    [task] = json.loads(say(*asked, "--json")[1])["tasks"]
    assert task["truncated"] == {"base": 1, "variant": 2}


def test_a_damaged_model_ends_in_one_sentence(refused, tmp_path, model, tasks):
    import torch
    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(model, tmp_path / "nan")
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][:] = torch.nan
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    refused(3, ["evaluate", broken, *tasks()], "not finite")
    mute = shutil.copytree(model, tmp_path / "mute")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (mute / name).is_file():
            said = json.loads((mute / name).read_text("utf-8"))
            kept = {k: v for k, v in said.items() if k not in ("bos_token", "eos_token")}
            (mute / name).write_text(json.dumps(kept), "utf-8")
    refused(3, ["evaluate", mute, *tasks()], "neither a BOS nor an EOS")


def test_audits_and_tasks_run_on_lm_evals_own_backend(say, tmp_path, model, tasks):
    named = f"lm-eval:hf,pretrained={model},batch_size=4"
    ours = json.loads(say("evaluate", model, *tasks(), "--json")[1])["measures"]
    code, out, err = say("evaluate", named, *tasks(), "--json")
    assert code == 0, err
    assert json.loads(out)["measures"] == ours
    data = tmp_path / "data"
    data.mkdir()
    lines = "".join(json.dumps(row) + "\n" for row in PAIRS)
    (data / "crows_pairs.jsonl").write_text(lines, "utf-8")
    about = {"file": "crows_pairs.jsonl", "format": "jsonl", "rows": len(PAIRS), "about": ""}
    manifest = {"kind": "test", "sets": {"crows_pairs": about}, "truth": {}}
    (data / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    found = [
        json.loads(say("audit", which, "crows_pairs", "--data", data, "--json")[1])["audits"][0]
        for which in (model, named)
    ]
    assert found[0]["records"] != found[1]["records"]
    assert len(found[0]["measures"]) > 0
    for mine, theirs in zip(found[0]["measures"], found[1]["measures"], strict=True):
        assert mine["name"] == theirs["name"]
        assert mine["value"] == pytest.approx(theirs["value"], abs=1e-3)


def test_a_borrowed_model_that_cannot_be_had_ends_in_one_sentence(refused, model, tasks):
    refused(
        2, ["evaluate", "lm-eval:hff,pretrained_model=x", *tasks()], "no such backend", "hf"
    )
    refused(2, ["evaluate", "lm-eval:hf,pretrained=/no/such", *tasks()], "no such folder")
    refused(2, ["evaluate", "lm-eval:hf,pretrained=/x,api_key=s", *tasks()], "environment")
    refused(2, ["profile", f"lm-eval:hf,pretrained={model}"], "nothing else")


def test_a_task_finds_its_documents_in_the_data_folder(say, stories260k, shared_data):
    named = ("hellaswag", "piqa", "wikitext2")
    code, out, err = say(
        "evaluate", stories260k, "--tasks", ",".join(named), "--limit", "2", data=shared_data
    )
    assert code == 0, err
    about = entry("piqa")
    place = f"{about.repo} @ {about.revision[:12]} (sha256 {about.sha256[:12]}…)"
    assert f"- piqa: 2 of 1838 from {place}" in out.splitlines()
    assert "bits_per_byte" in out


def test_a_file_with_other_bytes_is_no_evidence(refused, say, tmp_path, model):
    about = entry("copa")
    file = tmp_path / "data" / about.file
    file.parent.mkdir(parents=True)
    file.write_text('{"query": "x"}\n', "utf-8")
    data = tmp_path / "data"
    refused(4, ["evaluate", model, "--tasks", "copa"], "sha256", "copa", data=data)
    refused(4, ["data", "fetch", "copa"], "sha256", data=data)
    code, out, _ = say("data", "list", "--json", data=data)
    listed = {row["name"]: row for row in json.loads(out)["sets"]}
    assert (code, listed["copa"]["here"], listed["piqa"]["here"]) == (0, "differs", "no")


def test_a_set_in_the_data_folder_is_not_fetched_again(say, shared_data):
    code, out, err = say("data", "fetch", "copa", "--json", data=shared_data)
    assert code == 0, err
    assert json.loads(out)["path"] == str(shared_data / entry("copa").file)
    refused_name = say("data", "fetch", "copper")
    assert refused_name[0] == 2
    assert "copa" in refused_name[2]


def shown():
    """Each command of the guide with what it says it prints."""
    text = (Path(__file__).parents[2] / "docs/evaluating.md").read_text("utf-8")
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        typed, _, printed = block.partition("\n")
        yield typed.removeprefix("$ assay "), printed


@pytest.mark.parametrize(("typed", "printed"), [*shown()], ids=lambda text: text[:24])
def test_the_guide_shows_what_is_printed(typed, printed, say, stories260k, shared_data):
    words = shlex.split(typed.replace("models/stories260K", str(stories260k)))
    code, out, err = say(*words, data=shared_data)
    assert code == 0, err
    assert len(printed.splitlines()) > 8
    # perplexity carries the last digits of sums whose order may change
    kept = [line for line in printed.splitlines() if "perplexity" not in line]
    assert [line for line in out.splitlines() if "perplexity" not in line] == kept


def test_check_counts_the_documents_of_the_data_folder(say, shared_data):
    from flows.home import find_home
    from flows.sizing import sizes
    from flows.spec import load_spec

    tiny = Path(__file__).with_name("runs") / "tiny.yaml"
    asked = ["evaluate.tasks=[copa, hellaswag]", "evaluate.limit=null", "audits=[]"]
    home = find_home({"ASSAY_DATA": str(shared_data)})
    found = sizes(load_spec(tiny, asked), home)
    assert (found["evaluate/acc/copa"].n, found["evaluate/acc/copa"].clusters) == (100, 100)
    # endings of one video or article belong together: 704 sources of 1,000 documents
    size = found["evaluate/acc/hellaswag"]
    assert (size.n, size.clusters) == (1000, 704)


def test_check_counts_each_group_that_a_spread_compares():
    from flows.home import find_home
    from flows.sizing import sizes
    from flows.spec import load_spec

    tiny = Path(__file__).with_name("runs") / "tiny.yaml"
    size = sizes(load_spec(tiny, []), find_home({}))["association/spread/deviation"]
    counted = {name: (part.n, part.clusters) for name, part in size.groups["group"].items()}
    # five templates of 12 occupations, of which the world lets four lean to women
    assert counted == {"balanced": (5, 1), "female_leaning": (20, 4), "male_leaning": (35, 7)}
