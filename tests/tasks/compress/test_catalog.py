"""Every method that a run file can name, whoever wrote it."""

from pathlib import Path
from typing import get_args

import pytest

from audits.errors import SpecError
from audits.settings import Settings
from flows.spec import Variant
from registry.documents import validate
from tasks.compress import AnyMethod

METHODS = get_args(get_args(AnyMethod)[0])
DOCS = (Path(__file__).parents[3] / "docs" / "compressing.md").read_text("utf-8")


def test_there_are_methods():
    assert len(METHODS) >= 10


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.__name__)
def test_a_method_is_settings_with_a_version_and_a_line_in_the_docs(method):
    assert issubclass(method, Settings)
    assert method.version >= 1
    assert f"| `{method.model_fields['kind'].default}` |" in DOCS


def test_a_chain_of_steps_is_read_as_it_is_written():
    steps = [
        {"kind": "width", "feed_forward": 96},
        {"kind": "wanda", "sparsity": 0.5, "pattern": "2:4"},
        {"kind": "finetune", "steps": 10},
        {"kind": "gptq", "bits": 8},
    ]
    read = validate(Variant, {"name": "chain", "steps": steps}, "run.yaml").steps
    assert [step.kind for step in read] == ["width", "wanda", "finetune", "gptq"]


def test_a_pattern_that_yaml_took_for_a_number_is_told_how_to_write_it():
    steps = [{"kind": "wanda", "sparsity": 0.5, "pattern": 124}]
    with pytest.raises(SpecError, match='write "2:4" or "4:8"'):
        validate(Variant, {"name": "v", "steps": steps}, "run.yaml")
