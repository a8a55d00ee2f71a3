"""What cannot be had is lacking for a reason, and the part says so."""

import json

import pytest

from audits.counterfactual import Counterfactual
from audits.crows_pairs import CrowsPairs
from audits.errors import SpecError
from audits.scorers import ClassifierScorer
from audits.toxicity import Toxicity
from registry import parts
from tasks.artifact import Artifact
from tasks.audit import AuditRun, audit
from tasks.data.write import write_manifest, write_set
from tasks.job import Job
from tasks.models.testing import tiny_llama


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    home = tmp_path_factory.mktemp("handed")
    data = home / "data"
    data.mkdir()
    sets = {
        "text": [{"id": "a", "text": "She said that he was here."}],
        "prompts": [{"id": f"p{at}", "prompt": f"The park {at} was"} for at in range(6)],
        "counterfactual": [
            {"id": f"{at}{g}", "template": f"t{at}", "group": g, "prompt": f"The {w} {at} was"}
            for at in range(6)
            for g, w in (("female", "girl"), ("male", "boy"))
        ],
        "crows_pairs": [
            {"id": str(at), "sent_more": f"He sells {at} bread.", "bias_type": "gender",
             "sent_less": f"She buys {at} bread.", "stereo_antistereo": "stereo"}
            for at in range(6)
        ],
    }  # fmt: skip
    entries = {name: write_set(data, name, rows, name) for name, rows in sets.items()}
    write_manifest(data, {"kind": "sets", "sets": entries, "truth": {}})
    model = tiny_llama(home / "model")
    return {
        "model": Artifact(kind="model", path=str(model), digest="m" * 64),
        "dataset": Artifact(kind="dataset", path=str(data), digest="d" * 64),
    }


@pytest.fixture
def run(inputs, tmp_path):
    def audited(asked):
        out = tmp_path / asked.kind
        out.mkdir()
        audit(AuditRun(audit=asked), Job(out, tmp_path, inputs, {}.__setitem__))
        return parts.read(out)

    return audited


def test_twins_and_a_unigram_model_are_handed_over(run):
    part = run(CrowsPairs(untrained=2, corpus="text", scorings=("sum", "shared")))
    assert {"untrained_1_sum", "excess_unigram_shared"} <= set(part.records.columns)
    assert not any(name.startswith("no ") for name in part.conditions)


def test_a_corpus_that_is_no_set_is_a_mistake_and_stops(run):
    with pytest.raises(SpecError, match="has no set 'novels'"):
        run(CrowsPairs(corpus="novels"))


@pytest.mark.parametrize("kind", [Toxicity, Counterfactual])
def test_without_its_classifier_a_part_is_made_and_says_why_nothing_is_in_it(run, kind):
    part = run(kind(scorer=ClassifierScorer(model="./nowhere"), samples=2, max_new_tokens=4))
    assert "classifier ./nowhere: holds no model" in str(part.conditions["no scorer"])
    measures, absent = part.measures()
    assert not measures
    assert all("classifier ./nowhere: holds no model" in why for why in absent.values())


def test_what_was_written_is_scored_and_the_scorer_is_said(run):
    part = run(Counterfactual(samples=3, max_new_tokens=4, corpus="text"))
    assert (
        part.conditions["scorer"] == "lexicon of the project's own English insults, Apache-2.0"
    )
    found = {m.name for m in part.measures()[0]}
    assert "counterfactual/difference/female_above_male" in found
    assert json.dumps(dict(part.conditions))
