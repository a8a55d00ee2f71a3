"""What a variant cannot be is said before a run computes anything, by its place."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from audits.errors import SpecError
from flows.home import find_home
from flows.rehearsal import require_variants
from flows.spec import load_spec
from tasks.models.testing import tiny_gpt2, tiny_llama

ROOT = Path(__file__).parents[2]
OWN = ROOT / "tests/flows/runs/own.yaml"
GROUPS = {"kind": "gptq", "bits": 4, "group_size": 32, "sequence_length": 64}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("own") / "m")


@pytest.fixture
def rehearse(model, tmp_path):
    """Rehearses variants given by name, on a tiny Llama or on what changes say."""

    def run(variants, *changes, file=OWN):
        listed = json.dumps([{"name": n, "steps": s} for n, s in variants.items()])
        place = [] if file != OWN else [f"model.path={model}"]
        spec = load_spec(file, [*place, *changes, f"variants={listed}"])
        return require_variants(spec, find_home({"ASSAY_HOME": str(tmp_path / "home")}))

    return run


def refused(rehearse, variants, *changes, **how):
    with pytest.raises(SpecError) as told:
        rehearse(variants, *changes, **how)
    return str(told.value).splitlines()


def test_every_variant_that_cannot_be_has_its_line(rehearse):
    shrunk = {"kind": "width", "feed_forward": 48, "sequence_length": 64}
    lines = refused(
        rehearse,
        {
            "good": [{**shrunk, "feed_forward": 96}, GROUPS],
            "odd": [shrunk, GROUPS],  # 48 = 32 + 16
            "none": [{"kind": "svd", "rank": 8, "layers": "*.nothing"}],
            "deep": [{"kind": "depth", "layers": 1, "sequence_length": 64},
                     {"kind": "depth", "layers": 2, "sequence_length": 64}],
            "long": [{**GROUPS, "sequence_length": 100_000}],
        },
    )  # fmt: skip
    said = [
        "variants[1].steps[1]: group_size 32 does not divide the width 48 of layer model.",
        "variants[2].steps[0]: layers: '*.nothing' matches none of the 14 linear layers",
        "variants[3].steps[1]: layers: 2 are to be kept where 1 are; keep at most 1",
        "variants[4].steps[0]: method gptq: the calibration text has ",
    ]
    assert len(lines) == len(said)
    for line, words in zip(lines, said, strict=True):
        assert line.startswith(words)


def test_a_student_is_held_to_a_teacher_that_another_variant_will_be(rehearse):
    teacher = [{"kind": "width", "heads": 2, "sequence_length": 64}]
    learning = {"kind": "distill", "steps": 1, "attention": 1, "sequence_length": 64}
    lines = refused(
        rehearse,
        {"student": [{**learning, "teachers": ["few"]}], "few": teacher,
         "file": [{"kind": "magnitude", "sparsity": 0.5}, {"kind": "gguf", "type": "q8_0"}],
         "deaf": [{**learning, "teachers": ["file"]}], "own": [learning]},
    )  # fmt: skip
    assert lines == [
        "variants[0].steps[0]: attention: the student has 4 heads and its teacher 2, and they "
        "are compared head by head; leave attention out, or keep all heads",
        "variants[3].steps[0]: teacher variants[2].steps[1]: a GGUF file gives no logits to "
        "learn from here; name the safetensors model it was made of",
    ]


def test_the_eleventh_step_is_not_taken_for_the_second(rehearse):
    halved = {"kind": "magnitude", "sparsity": 0.5}
    learning = {"kind": "distill", "steps": 1, "teachers": ["long"], "sequence_length": 64}
    long = [*[halved] * 10, {"kind": "gguf", "type": "q8_0"}]
    [line] = refused(rehearse, {"deaf": [learning], "long": long})
    assert line.startswith("variants[0].steps[0]: teacher variants[1].steps[10]: a GGUF file")


def test_who_hangs_on_a_variant_that_cannot_be_has_no_line_of_its_own(rehearse):
    learning = {"kind": "distill", "steps": 1, "teachers": ["gone"], "sequence_length": 64}
    lines = refused(rehearse, {"gone": [{"kind": "depth", "layers": 9}], "by": [learning]})
    assert len(lines) == 1
    assert lines[0].startswith("variants[0].steps[0]: layers: 9 are to be kept where 2 are")


def test_a_model_that_is_yet_to_be_trained_is_known_by_its_settings(rehearse, tiny):
    # hidden_size and intermediate_size are 64; each of 24 documents has some hundred bytes
    lines = refused(
        rehearse,
        {"odd": [{"kind": "rtn", "bits": 8, "group_size": 48}],
         "q4": [{"kind": "gguf", "type": "q4_k_m"}],
         "long": [{**GROUPS, "sequence_length": 100_000}],
         "chain": [{"kind": "student", "config": {"intermediate_size": 96}}, GROUPS]},
        file=tiny,
    )  # fmt: skip
    assert lines[0].startswith("variants[0].steps[0]: group_size 48 does not divide the width")
    assert lines[1].startswith("variants[1].steps[0]: method gguf: type q4_k_m does not fit")
    assert lines[2].endswith(
        "(each byte counts as a token: the tokenizer is yet to be learned)"
    )
    assert len(lines) == 3


def test_columns_that_a_pattern_leaves_dense_are_told_and_no_mistake(rehearse):
    # 128 neurons divide by 4; of 90, two are in no group of four
    odd = [{"kind": "width", "feed_forward": 90, "sequence_length": 64},
           {"kind": "magnitude", "sparsity": 0.5, "pattern": "2:4"}]  # fmt: skip
    assert rehearse({"even": odd[1:], "odd": odd}) == (
        "variants[1].steps[1]: the last columns are in no group of 4 and stay dense: 2 of "
        "model.layers.0.mlp.down_proj, 2 of model.layers.1.mlp.down_proj",
    )


def test_a_family_is_named_where_the_method_cannot_handle_it(rehearse, tmp_path):
    other = f"model.path={tiny_gpt2(tmp_path / 'gpt2')}"
    [line] = refused(rehearse, {"v": [{"kind": "rtn", "bits": 8}]}, other)
    assert line.startswith("variants[0].steps[0]: model type 'gpt2' has no linear layers")


def test_a_run_refuses_it_before_its_first_stage_be_it_that_of_a_variant(copied, tiny):
    cut = "[{name: odd, steps: [{kind: rtn, bits: 8, group_size: 48}]}]"
    said = copied("run", tiny, "--set", f"variants={cut}")  # all of the base is there
    assert (said.code, said.out) == (2, "")
    assert "assay: variants[0].steps[0]: group_size 48 does not divide" in said.err
    assert "Traceback" not in said.err
    assert "compress odd" not in said.err
    assert not list((copied.artifacts / "work").glob("*-*"))


def test_a_check_rehearses_where_it_is_asked_to(copied, tiny):
    cut = "variants=[{name: odd, steps: [{kind: rtn, bits: 8, group_size: 48}]}]"
    assert copied("check", tiny, "--set", cut).code == 0
    said = copied("check", tiny, "--rehearse", "--set", cut)
    assert (said.code, said.out) == (2, "")
    assert "assay: variants[0].steps[0]: group_size 48 does not divide" in said.err


def test_a_check_that_rehearses_nothing_loads_no_torch(tiny, tmp_path):
    code = (
        "import sys; from flows.cli import main\n"
        f"assert main(['check', {str(tiny)!r}]) == 0\n"
        "assert 'torch' not in sys.modules"
    )
    environment = os.environ | {"ASSAY_HOME": str(tmp_path / "home")}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=environment)
