"""Are task names known before lm-eval is imported, and are they lm-eval's own?"""

import subprocess
import sys

import pytest

from audits.errors import SpecError
from tasks.evaluate import EvaluateSettings
from tasks.evaluate.index import lm_evals
from tasks.evaluate.names import require_tasks

SETS = ("choice", "heldout", "news")


def refused(settings, *words, sets=SETS):
    with pytest.raises(SpecError) as caught:
        require_tasks(settings, sets)
    said = str(caught.value)
    assert "\n" not in said
    for word in words:
        assert word in said


def included(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, "utf-8")
    return str(folder)


def test_a_task_of_ours_needs_its_set():
    require_tasks(EvaluateSettings(tasks=("world_choice",)), SETS)
    refused(EvaluateSettings(tasks=("world_cloze",)), "'world_cloze' here", "reads (cloze)")


def test_without_our_set_the_name_means_the_task_of_lm_eval():
    assert "blimp" not in SETS
    require_tasks(EvaluateSettings(tasks=("blimp",)), SETS)


# a task, a group, a tag, one whose key is in quotes, one named by a template it includes
@pytest.mark.parametrize(
    "name",
    ["hellaswag", "mmlu", "ai2_arc", "AraDiCE_ArabicMMLU_high_stem_biology_egy", "glue"],
)
def test_tasks_groups_and_tags_of_lm_eval_are_known(name):
    require_tasks(EvaluateSettings(tasks=(name,)), SETS)


def test_a_name_that_nobody_has_is_answered_with_the_nearest():
    refused(EvaluateSettings(tasks=("world_chioce",)), "no task 'world_chioce'", "world_choice")
    refused(EvaluateSettings(tasks=("world_choice", "hellaswagg")), "'hellaswagg'", "hellaswag")


def test_a_name_in_the_include_path_is_known_with_what_it_reads(tmp_path):
    folder = included(
        tmp_path / "mine",
        mine="task: mine\nmetadata: {set: news}\ndoc_to_text: !function utils.text\n",
        base="metadata: {set: gone}\n",
        heir="include: base.yaml\ntask: heir\ntag: [both, of_them]\n",
        group="group: all_mine\ntask: [mine, heir]\n",
        broken="task: [",
    )
    known = EvaluateSettings(tasks=("mine", "all_mine", "of_them"), include_path=folder)
    require_tasks(known, SETS)
    refused(
        EvaluateSettings(tasks=("heir",), include_path=folder),
        "'heir' reads the set 'gone'", "choice, heldout, news",
    )  # fmt: skip
    refused(EvaluateSettings(tasks=("minee",), include_path=folder), "'minee'", "mine")


def test_the_include_path_comes_before_ours(tmp_path):
    folder = included(tmp_path / "mine", own="task: world_cloze\nmetadata: {set: news}\n")
    require_tasks(EvaluateSettings(tasks=("world_cloze",), include_path=folder), SETS)


def test_an_include_path_that_is_no_folder_is_refused(tmp_path):
    refused(EvaluateSettings(include_path=str(tmp_path / "no")), "is no folder", "YAML files")


def test_the_names_are_those_of_lm_evals_own_index():
    """Only a sample of its folders: lm-eval reads all of them in 10 s."""
    from pathlib import Path

    import lm_eval
    from lm_eval.tasks._index import TaskIndex

    home = Path(lm_eval.__file__).parent / "tasks"
    folders = [
        home / name for name in ("arc", "blimp", "glue", "mmlu", "super_glue", "aradice")
    ]
    index = TaskIndex.build(folders)
    assert len(index) > 300
    assert set(index) <= lm_evals().names()
    assert len(lm_evals().names()) > 10_000


# a group key beside a class, a template nobody includes, a tag that a heir replaces: words
# that look like names in lm-eval's files, which its own index does not have
@pytest.mark.parametrize("word", ["scrolls", "winogenerated", "flores_tasks"])
def test_a_word_that_lm_eval_does_not_take_for_a_name_is_refused(word):
    refused(EvaluateSettings(tasks=(word,)), f"no task {word!r}", "nearest")


def test_a_task_that_reads_the_catalog_needs_its_file():
    asked = EvaluateSettings(tasks=("wikitext2",))
    require_tasks(asked, SETS, ("wikitext2",))
    refused(asked, "'wikitext2' of the data catalog", "assay data fetch", "ASSAY_DATA")


def test_no_name_costs_the_import_of_lm_eval():
    code = (
        "import sys\n"
        "from tasks.evaluate import EvaluateSettings\n"
        "from tasks.evaluate.names import require_tasks\n"
        "require_tasks(EvaluateSettings(tasks=('hellaswag',)), ())\n"
        "print(sorted({'lm_eval', 'torch', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_truthfulqa_is_no_gate_and_says_why():
    asked = EvaluateSettings(tasks=("truthfulqa_mc1", "truthfulqa_mc2", "blimp"))
    said = [d.diagnostic for d in asked.declares()]
    assert [bool(why) for why in said] == [True, True, False]
    assert "can be told by their wording" in said[0]
