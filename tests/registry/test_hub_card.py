"""A version's README in the Hugging Face format, read back by the library of that format."""

import yaml
from huggingface_hub import ModelCard

from audits.evidence import Evidence
from registry.card import Subject
from registry.card import render as card
from registry.finding import Case
from registry.gate import decide
from registry.hub_card import render
from registry.policy import Policy
from registry.rules import AtLeast
from registry.testing import disk, evidence, facts, rights

POLICY = Policy(name="strict", rules=(AtLeast(measure="facts/recall", bound=0.9),))
LOST = facts([1] * 20, lost=["e1", "e2"], name="lost")
KNOWN = evidence("w1", facts(rights(200, 10)), disk(123456), LOST, parent="w0")
SUBJECT = Subject.of("toy", "int8", KNOWN)
DECISION = decide(POLICY, Case(KNOWN, evidence("w0")))


def test_the_hubs_own_reader_finds_every_measure_and_no_other():
    found = ModelCard(render(SUBJECT, DECISION)).data
    assert found.model_name == "toy int8"
    assert {r.metric_name: r.metric_value for r in found.eval_results} == {
        name: m.value for name, m in KNOWN.measures().items()
    }
    assert SUBJECT.absent  # what could not be measured is no result of value nothing
    assert not {r.metric_name for r in found.eval_results} & set(SUBJECT.absent)


def test_a_result_says_which_audit_asked_how_many():
    found = ModelCard(render(SUBJECT)).data.eval_results
    (size,) = [r for r in found if r.metric_name == "profile/size_bytes"]
    assert (size.dataset_name, size.metric_type) == ("profile", "size_bytes")
    assert size.metric_args == {"unit": "bytes", "n": 1, "better": "lower"}


def test_the_whole_card_follows_the_front_matter():
    text = render(SUBJECT, DECISION)
    assert ModelCard(text).text.strip() == card(SUBJECT, DECISION).strip()


def test_front_matter_says_library_task_and_a_base_model_only_where_there_is_one():
    from_hub = Evidence.gather("w1", [disk(9)], {"base_model": "owner/name"})
    data = yaml.safe_load(render(Subject.of("toy", "int8", from_hub)).split("---\n")[1])
    assert data["library_name"] == "transformers"
    assert data["pipeline_tag"] == "text-generation"
    assert data["base_model"] == "owner/name"
    assert "base_model" not in yaml.safe_load(render(SUBJECT).split("---\n")[1])


def test_a_version_without_measures_has_no_model_index():
    nothing = Subject.of("toy", "int8", Evidence.gather("w1", [], {}))
    data = yaml.safe_load(render(nothing).split("---\n")[1])
    assert set(data) == {"library_name", "pipeline_tag", "tags"}


def test_a_foreign_title_stays_text_in_the_front_matter():
    title = "x\n---\ntags: [evil]\n# {a: b}"
    text = render(Subject.of("toy", title, KNOWN))
    assert ModelCard(text).data.model_name == f"toy {title}"
    assert ModelCard(text).data.tags == ["assay"]
