"""What somebody planted before, or beside, is neither judged by nor published over."""

import shutil
from dataclasses import replace
from datetime import date, timedelta

import pytest

from audits.errors import EvidenceError, SpecError
from registry import wrapping
from registry.policy import Policy, Waiver
from registry.rules import AtLeast
from registry.testing import MemoryStore, evidence, facts, rights
from registry.verifying import verify

TODAY = date(2026, 11, 26)


@pytest.fixture
def champion(store, publication, publish, judge):
    version = publish(store, publication(evidence("a" * 64, facts(rights(500, 5)))))
    store.promote(version, judge(store, version), expected_champion=None)
    return version


def test_nobody_is_judged_beside_forged_evidence_of_the_champion(
    store, champion, publication, forge
):
    known = evidence("a" * 64, facts(rights(500, 60)))
    forge(store, champion, known)
    with pytest.raises(EvidenceError, match="the history says"):
        store.evidence("toy", "1")


def test_a_decision_beside_evidence_that_nobody_published_is_not_recorded(
    store, champion, publication, look, policy, publish, forge
):
    worse = publish(store, publication(evidence("b" * 64, facts(rights(500, 60)))))
    known = evidence("a" * 64, facts(rights(500, 60)))
    forge(store, champion, known)
    decision = look(store, worse, known)
    assert decision.promote
    with pytest.raises(EvidenceError, match="the history says"):
        store.record(worse, decision, policy.model_dump(mode="json"))
    assert store.version("toy", worse.number).verdict == ""


def test_a_judgement_that_names_evidence_of_nobody_never_verifies(
    publication, judge, policy, monkeypatch, publish, forge
):
    """As one that was made by a registry that did not ask."""
    store = MemoryStore()
    one = publish(store, publication(evidence("a" * 64, facts(rights(500, 5)))))
    store.promote(one, judge(store, one), expected_champion=None)
    worse = publish(store, publication(evidence("b" * 64, facts(rights(500, 60)))))
    known = evidence("a" * 64, facts(rights(500, 60)))
    was = store.version("toy", "1").tags["assay.sealed"]
    forge(store, one, known)
    with monkeypatch.context() as patch:
        patch.setattr("registry.docket.require_published", lambda *_: None)
        patch.setattr("registry.versions.require_current", lambda *_: None)
        decision = judge(store, worse, known)
    store._backend.describe(one, tags={"assay.sealed": was, "assay.evidence": was})
    store.promote(worse, decision, expected_champion="1")
    said = verify(store, "toy", "champion", today=decision_day(decision)).problems
    assert any("not by the last published" in p for p in said), said


def decision_day(decision):
    return date.fromisoformat(decision.on)


def test_a_version_that_is_called_by_the_champions_weights_is_not_taken_for_it(
    store, publication, judge, publish
):
    """Of two with one tag the history knows which was published as these weights."""
    other = publish(store, publication(evidence("c" * 64, facts(rights(500, 90)))))
    champion = publish(store, publication(evidence("a" * 64, facts(rights(500, 5)))))
    store.promote(champion, judge(store, champion), expected_champion=None)
    version = publish(store, publication(evidence("b" * 64, facts(rights(500, 6)))))
    store._backend.describe(other, tags={"assay.weights": "a" * 64})
    decision = judge(store, version, store.evidence("toy", "2"))
    store.promote(version, decision, expected_champion="2")
    assert verify(store, "toy", "champion", today=TODAY).ok


def test_a_decision_too_long_for_the_history_is_refused_before_anything_is_touched(
    champion, store, judge
):
    waived = Waiver(
        rule="facts/recall >= 0.999", owner="ann", reason="x" * 5600,
        expires=TODAY + timedelta(days=9),
    )  # fmt: skip
    rule = AtLeast(measure="facts/recall", bound=0.999)
    with pytest.raises(SpecError, match="shorten the note"):
        judge(
            store, champion, policy=Policy(name="w", rules=(rule,), waivers=(waived,)),
            today=TODAY,
        )  # fmt: skip
    assert store.version("toy", "1").verdict == "pass"


def test_evidence_is_not_added_to_weights_about_which_another_model_stands(
    store, publication, publish
):
    """Weights of a run are known before it ends: somebody may publish them first."""
    known = evidence("a" * 64, facts(rights(500, 5)))
    publish(store, replace(publication(known), loader="somebody.elses"))
    with pytest.raises(EvidenceError, match="MLmodel"):
        publish(store, publication(evidence("a" * 64, facts(rights(500, 6)))))
    assert len(store.history("toy").entries) == 1


def test_the_very_evidence_published_first_about_another_model_is_refused_too(
    store, publication, publish
):
    """Records are the same for whoever runs the same run file."""
    made = publication(evidence("a" * 64, facts(rights(500, 5))))
    publish(store, replace(made, loader="somebody.elses"))
    with pytest.raises(EvidenceError, match="MLmodel"):
        publish(store, made)


def test_a_file_that_was_published_first_and_is_none_of_the_model_is_refused(
    store, publication, tmp_path, publish
):
    planted = tmp_path / "planted"
    made = publication(evidence("a" * 64, facts(rights(500, 5))))
    shutil.copytree(made.folder, planted)
    (planted / "adapter_config.json").write_text("{}", "utf-8")
    publish(store, replace(made, folder=planted))
    with pytest.raises(EvidenceError, match=r"adapter_config\.json is no file of this model"):
        publish(store, publication(evidence("a" * 64, facts(rights(500, 6)))))


def test_notes_may_have_changed_and_evidence_is_added(store, publication, tmp_path, publish):
    other = tmp_path / "other"
    made = publication(evidence("a" * 64, facts(rights(500, 5))))
    (made.folder / "compression.json").write_text("{}", "utf-8")
    shutil.copytree(made.folder, other)
    (other / "compression.json").write_text('{"version": 2}', "utf-8")
    publish(store, replace(made, folder=other))
    again = publish(store, publication(evidence("a" * 64, facts(rights(500, 6)))))
    assert again.number == "1"
    assert len(store.history("toy").entries) == 2


@pytest.mark.parametrize(
    ("file", "was", "now", "said"),
    [
        ("requirements.txt", "mlflow==3.1", "mlflow==3.2", ""),
        ("requirements.txt", "mlflow==3.1", "mlflow==3.1\nevil", "other packages"),
        ("requirements.txt", "mlflow", "--index-url http://x\nmlflow", "other packages"),
        ("requirements.txt", "slm-assay[gguf]", "slm-assay[gguf]==2", ""),
        ("requirements.txt", "slm-assay", "slm-assay[gguf]", "other packages"),
        ("requirements.txt", "mlflow==3.1", "mlflow @ http://x/mlflow.whl", "other packages"),
        ("requirements.txt", "mlflow==3.1", "mlflow==3.1 --hash=x", "other packages"),
        ("conda.yaml", "- pip:\n  - mlflow==3", "- pip:\n  - mlfl0w==3", "other packages"),
        ("MLmodel", "flavors: {p: {loader_module: a}}", "flavors: {p: {loader_module: b}}",
         "how the model is loaded"),
        ("MLmodel", "flavors: {p: {loader_module: a, python_version: '3.11'}}\nmodel_uuid: x",
         "flavors: {p: {loader_module: a, python_version: '3.12'}}\nmodel_uuid: y", ""),
        ("MLmodel", "flavors: {p: {code: null}}", "flavors: {p: {code: code}}",
         "how the model is loaded"),
        ("MLmodel", "flavors: {p: {code: null}}", "{", "how the model is loaded"),
        ("MLmodel", """flavors: {}\nsignature: {params: '[{"name": "t", "default": 0}]'}""",
         """flavors: {}\nsignature: {params: '[{"name": "t", "default": 9}]'}""",
         "how the model is loaded"),
        ("MLmodel", """flavors: {}\nsignature: {params: '[{"name": "t", "default": 0}]'}""",
         """flavors: {}\nsignature: {params: '[{"default": 0, "name": "t", "x": 1}]'}""", ""),
        ("input_example.json", "{}", "[]", "another content"),
    ],
)  # fmt: skip
def test_versions_of_packages_may_move_and_nothing_else(tmp_path, file, was, now, said):
    made, stored, data = tmp_path / "made", tmp_path / "stored", tmp_path / "data"
    for folder, text in ((made, was), (stored, now)):
        folder.mkdir()
        (folder / file).write_text(text, "utf-8")
    data.mkdir()
    found = wrapping.otherwise(stored, made, data)
    assert said in found
    assert bool(said) == bool(found)
