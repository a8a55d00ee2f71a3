import json
from dataclasses import replace

import pytest

from audits.errors import EvidenceError, GateRefused, MeasureError, SpecError
from registry.gate import Case, decide
from registry.layout import gather
from registry.testing import MemoryStore, disk, evidence, facts, rights

GOOD, BAD = rights(500, 5), rights(500, 200)


def same(one, two):
    assert one.subject == two.subject
    assert dict(one.about) == dict(two.about)
    assert one.measures() == two.measures()
    for name, part in one.parts.items():
        other = two.parts[name]
        assert part.records.astype(str).equals(other.records.astype(str))
        assert (part.expected, part.declared, part.basis) == (
            other.expected, other.declared, other.basis,
        )  # fmt: skip


def test_a_version_is_its_weights_and_publishing_twice_makes_one(store, publication):
    parent = store.begin("tests", "first")
    known = evidence("w1", facts(GOOD), disk(9))
    first = store.publish(publication(known), parent=parent)
    again = store.publish(publication(known), parent=store.begin("tests", "second"))
    assert (first.number, first.weights, first.verdict) == ("1", "w1", "")
    assert (again.number, again.run, again.evidence) == ("1", first.run, first.evidence)
    other = store.publish(publication(evidence("w2", facts(BAD))), parent=parent)
    assert other.number == "2"
    assert [v.number for v in store.versions("toy")] == ["1", "2"]


def test_of_two_that_publish_the_same_weights_at_once_one_makes_the_version(
    publication, monkeypatch
):
    """On a server there is no lock, and neither finds a version when it looks."""
    store, late = MemoryStore(), publication(evidence("w1", facts(GOOD)))
    parent = store.begin("tests", "one")
    with monkeypatch.context() as patch:
        register = store._backend.register

        def another(*given, **more):
            patch.setattr(store._backend, "register", register)
            store.publish(publication(evidence("w1", facts(BAD))), parent=parent)
            return register(*given, **more)

        patch.setattr(store._backend, "register", another)
        with pytest.raises(EvidenceError, match="published these weights as version 1 meanwh"):
            store.publish(late, parent=parent)
    assert [v.number for v in store.versions("toy")] == ["1"]
    assert store.publish(late, parent=parent).number == "1"
    same(late.evidence, store.evidence("toy", "1"))


def test_evidence_comes_back_equal(store, publication):
    known = evidence("w1", facts(GOOD, lost=["e7"]), disk(9, host="here"), parent="w0")
    version = store.publish(publication(known), parent=store.begin("tests", "one"))
    same(known, store.evidence("toy", version.number))


def test_new_evidence_is_added_and_replaces_only_parts_of_its_name(store, publication):
    parent = store.begin("tests", "one")
    first = store.publish(publication(evidence("w1", facts(GOOD), disk(9))), parent=parent)
    later = evidence("w1", facts(BAD), facts(GOOD, name="more"))
    version = store.publish(publication(later), parent=parent)
    assert version.number == first.number
    assert version.evidence != first.evidence
    same(
        evidence("w1", facts(BAD), disk(9), facts(GOOD, name="more")),
        store.evidence("toy", version.number),
    )


def test_a_decision_is_kept_with_its_version_and_can_be_read_back(
    store, publication, look, policy
):
    version = store.publish(
        publication(evidence("w1", facts(GOOD))), parent=store.begin("tests", "one")
    )
    assert store.decision(version) is None
    decision = look(store, version)
    judged = store.record(version, decision, policy.model_dump(mode="json"))
    assert judged.verdict == "pass"
    assert judged.tags["assay.policy"] == policy.identity
    assert store.decision(judged) == decision


def test_a_verdict_does_not_outlive_the_evidence_it_rests_on(store, publication, judge):
    parent = store.begin("tests", "one")
    version = store.publish(publication(evidence("w1", facts(GOOD))), parent=parent)
    judge(store, version)
    same_again = store.publish(publication(evidence("w1", facts(GOOD))), parent=parent)
    assert same_again.verdict == "pass"
    version = store.publish(publication(evidence("w1", facts(BAD))), parent=parent)
    assert version.verdict == ""
    assert store.decision(version) is None


def test_a_decision_about_other_weights_is_not_stored(store, publication, policy):
    version = store.publish(
        publication(evidence("w1", facts(GOOD))), parent=store.begin("tests", "one")
    )
    other = decide(policy, Case(evidence("w2", facts(GOOD))))
    with pytest.raises(EvidenceError, match="does not belong"):
        store.record(version, other, {})


def test_promotion_moves_champion_and_remembers_the_one_before(store, publication, judge):
    parent = store.begin("tests", "one")
    first = store.publish(publication(evidence("w1", facts(GOOD))), parent=parent)
    second = store.publish(publication(evidence("w2", facts(rights(500, 6)))), parent=parent)
    assert store.resolve("toy", "champion") is None
    store.nominate(first)
    held = store.promote(first, judge(store, first), expected_champion=None)
    assert held.aliases == ("candidate", "champion")
    champion = store.evidence("toy", "1")
    decision = judge(store, second, champion)
    assert store.promote(second, decision, expected_champion="1").aliases == ("champion",)
    assert store.resolve("toy", "previous").number == "1"
    # The second time there is nothing to move: it counts as promoted.
    again = judge(store, second, store.evidence("toy", "2"))
    assert store.promote(second, again, expected_champion="2").number == "2"
    assert store.resolve("toy", "previous").number == "1"


def test_no_alias_moves_without_a_decision_that_carries_it(store, publication, judge):
    parent = store.begin("tests", "one")
    good = store.publish(publication(evidence("w1", facts(GOOD))), parent=parent)
    bad = store.publish(publication(evidence("w2", facts(BAD))), parent=parent)
    yes, no = judge(store, good), judge(store, bad)
    with pytest.raises(GateRefused, match=r"facts/recall >= 0\.8 fails"):
        store.promote(bad, no, expected_champion=None)
    with pytest.raises(GateRefused, match="the decision is about weights w1"):
        store.promote(bad, yes, expected_champion=None)
    with pytest.raises(GateRefused, match="the champion is version none and no longer 7"):
        store.promote(good, yes, expected_champion="7")
    assert store.resolve("toy", "champion") is None
    store.promote(good, yes, expected_champion=None)
    third = store.publish(publication(evidence("w3", facts(GOOD))), parent=parent)
    stale = judge(store, third)
    for expected in (None, "1"):
        with pytest.raises(GateRefused, match="champion"):
            store.promote(third, stale, expected_champion=expected)
    assert store.resolve("toy", "champion").number == "1"


def test_the_unknown_is_answered_plainly(store):
    assert store.versions("nobody") == ()
    assert store.resolve("nobody", "champion") is None
    for number in ("1", "x"):
        with pytest.raises(SpecError, match="no such version"):
            store.version("nobody", number)
    for name in ("", "a/b", "x' or name != '", "-x"):
        with pytest.raises(SpecError, match="use up to 100 letters"):
            store.versions(name)


def test_a_metric_that_is_no_number_is_not_recorded(store):
    run = store.begin("tests", "one")
    with pytest.raises(MeasureError, match="is no measurement"):
        store.attach(run, metrics={"loss": float("nan")})


def test_attached_files_can_be_read_back(store, publication, tmp_path):
    note = tmp_path / "spec.json"
    note.write_text('{"a": 1}', "utf-8")
    version = store.publish(
        publication(evidence("w1", facts(GOOD)), attachments={"run/spec.json": note}),
        parent=store.begin("tests", "one"),
    )
    assert json.loads(store.attachment(version, "run/spec.json").read_text("utf-8")) == {"a": 1}
    with pytest.raises(EvidenceError, match="no file run/other"):
        store.attachment(version, "run/other")


@pytest.mark.parametrize("key", ["", "..", "../x", "/etc/x", "a/../../b"])
def test_an_artifact_cannot_be_put_outside_its_run(tmp_path, key):
    with pytest.raises(SpecError, match="relative path inside the run"):
        gather({key: tmp_path}, tmp_path / "out")


STEPS = ["write_model", "register", "describe", "end"]


@pytest.mark.parametrize("step", STEPS)
def test_an_interrupted_publication_shows_nothing_and_is_completed(
    open_again, publication, step
):
    class Cut(Exception):
        pass

    def cut(*_, **__):
        raise Cut

    store, known = open_again(), evidence("w1", facts(GOOD))
    parent = store.begin("tests", "one")
    setattr(store._backend, step, cut)  # the process dies in this call
    with pytest.raises(Cut):
        store.publish(publication(known), parent=parent)
    fresh = open_again()
    if step != "end":
        assert fresh.versions("toy") == ()
    version = fresh.publish(publication(known), parent=parent)
    assert [v.number for v in fresh.versions("toy")] == ["1"]
    same(known, fresh.evidence("toy", "1"))
    runs = fresh._backend._client.search_runs(
        [fresh._backend.experiment_of(parent)], "tags.`assay.weights` = 'w1'"
    )
    assert [r.info.run_id for r in runs] == [version.run]


def test_what_a_first_publication_that_was_interrupted_left_is_in_nobodys_way(
    publication, judge
):
    """It may have been measured anew since: times are never the same twice."""
    store = MemoryStore()
    parent = store.begin("tests", "one")
    register = store._backend.register
    store._backend.register = None
    with pytest.raises(TypeError):
        store.publish(publication(evidence("w1", facts(BAD), disk(1))), parent=parent)
    store._backend.register = register
    version = store.publish(publication(evidence("w1", facts(GOOD), disk(2))), parent=parent)
    assert judge(store, version).promote


def test_added_evidence_that_was_interrupted_is_read_by_nobody_until_it_is_completed(
    open_again, publication
):
    store = open_again()
    parent = store.begin("tests", "one")
    before = evidence("w1", facts(GOOD))
    store.publish(publication(before), parent=parent)

    def cut(*_, **__):
        raise KeyboardInterrupt

    store._backend.describe = cut
    with pytest.raises(KeyboardInterrupt):
        store.publish(publication(evidence("w1", facts(BAD))), parent=parent)
    store = open_again()
    with pytest.raises(EvidenceError, match="a publication was broken off"):
        store.evidence("toy", "1")
    after = evidence("w1", facts(BAD))
    store.publish(publication(after), parent=parent)
    same(after, store.evidence("toy", "1"))


def test_an_alias_set_by_hand_on_a_half_version_is_reported(open_again):
    store = open_again()
    client = store._backend._client
    client.create_registered_model("toy")
    client.create_model_version("toy", "somewhere")
    client.set_registered_model_alias("toy", "champion", "1")
    with pytest.raises(EvidenceError, match="never sealed"):
        store.resolve("toy", "champion")


@pytest.mark.parametrize("harm", ["cut", "empty", "drop"])
@pytest.mark.parametrize("file", ["records.parquet", "part.json", "index-*.json"])
def test_altered_evidence_is_refused_not_skipped(open_again, publication, file, harm):
    store = open_again()
    version = store.publish(
        publication(evidence("w1", facts(GOOD))), parent=store.begin("tests", "one")
    )
    (path,) = store.attachment(version, "evidence").rglob(file)
    whole = path.read_bytes()
    path.unlink()
    if harm != "drop":
        path.write_bytes(whole[:-9] if harm == "cut" else b"")
    with pytest.raises(EvidenceError):
        open_again().evidence("toy", "1")


def test_an_altered_decision_is_refused(open_again, publication, judge):
    store = open_again()
    version = store.publish(
        publication(evidence("w1", facts(BAD))), parent=store.begin("tests", "one")
    )
    judge(store, version)
    judged = store.version("toy", version.number)
    path = store.attachment(judged, "decision.json")
    path.write_text(path.read_text("utf-8").replace('"fail"', '"pass"'), "utf-8")
    with pytest.raises(EvidenceError, match="altered"):
        store.decision(judged)


def test_a_reviewer_finds_numbers_intervals_data_and_the_card(open_again, publication, judge):
    store = open_again()
    parent = store.begin("tests", "nightly", tags={"spec": "s1"}, params={"seed": 0})
    version = store.publish(publication(evidence("w1", facts(GOOD), disk(9))), parent=parent)
    judge(store, version)
    version = store.version("toy", version.number)
    client = store._backend._client
    run = client.get_run(version.run)
    assert run.data.tags["mlflow.parentRunId"] == parent
    assert run.data.params == {"bits": "8", "lr": "0.1"}
    assert run.data.metrics["facts/recall"] == pytest.approx(0.99)
    assert run.data.metrics["facts/recall.low"] < 0.99 < run.data.metrics["facts/recall.high"]
    assert run.data.metrics["facts/recall.n"] == 500
    assert run.inputs.dataset_inputs[0].dataset.digest == "d" * 36
    assert run.info.status == "FINISHED"
    held = client.get_model_version("toy", version.number)
    assert "| facts/recall | 0.99 |" in held.description
    assert "**PASS** by policy strict" in held.description
    assert held.tags["assay.parent"] == "none"
    assert held.tags["assay.sealed"] == version.evidence == held.tags["assay.evidence"]


def test_two_stores_do_not_share_what_is_not_theirs(publication):
    one, two = MemoryStore(), MemoryStore()
    one.publish(publication(evidence("w1", facts(GOOD))), parent=one.begin("tests", "one"))
    assert two.versions("toy") == ()


def test_a_version_names_what_mlflow_loads(publication):
    store = MemoryStore()
    version = store.publish(
        publication(evidence("w1", facts(GOOD))), parent=store.begin("tests", "one")
    )
    assert replace(version, aliases=()).uri == "models:/toy/1"
