"""A decision is recorded only with the evidence it was made from, while that is the last."""

from dataclasses import replace
from datetime import date

import pytest

from audits.errors import EvidenceError, Renewed
from registry.policy import Policy
from registry.rules import AtLeast
from registry.testing import MemoryStore, evidence, facts, rights
from registry.verifying import verify

TODAY = date(2026, 11, 26)
OLD, NEW = "a" * 64, "b" * 64


@pytest.fixture
def known(publication, publish):
    """Publishes so many wrong answers of some weights; returns the version."""
    return lambda store, weights, wrong: publish(
        store, publication(evidence(weights, facts(rights(500, wrong))))
    )


@pytest.fixture
def halfway(known, monkeypatch):
    """Publishes as far as the entry; the tags follow as soon as anybody waits."""

    def published(store, weights, wrong):
        number = store.history("toy").versions_of(weights)[0]
        before, now = store.version("toy", number), known(store, weights, wrong)

        def show(version):
            shown = store.version("toy", number)
            store._backend.describe(shown, tags={"assay.sealed": version.evidence})

        show(before)
        monkeypatch.setattr("registry.reading.time.sleep", lambda _: show(now))

    return published


@pytest.fixture
def champion(known, judge):
    """A registry with a champion that answered ever better; its evidence of before is worse."""

    def made(store):
        known(store, OLD, 60)
        version = known(store, OLD, 5)
        store.promote(version, judge(store, version), expected_champion=None)
        return version

    return made


def test_what_is_published_between_a_decision_and_its_record_is_not_passed_over(
    store, known, look, policy
):
    version = known(store, NEW, 5)
    decision = look(store, version)
    known(store, NEW, 400)
    assert decision.promote
    with pytest.raises(EvidenceError, match="of version 1, of which the history has other"):
        store.record(version, decision, policy.model_dump(mode="json"))
    assert store.history("toy").last("1", "decision") is None


@pytest.mark.parametrize("late", [False, True])
def test_nor_is_what_is_published_of_the_champion(
    champion, known, look, policy, monkeypatch, late
):
    store = MemoryStore()
    champion(store)
    version = known(store, NEW, 10)
    decision = look(store, version, store.evidence("toy", "1"))
    assert decision.promote
    if late:  # while the decision is being recorded
        enter = store._enter_approvals
        monkeypatch.setattr(
            store, "_enter_approvals", lambda *a: (known(store, OLD, 0), enter(*a))
        )
    else:
        known(store, OLD, 0)
    with pytest.raises(EvidenceError, match="of version 1, of which the history has other"):
        store.record(version, decision, policy.model_dump(mode="json"))
    assert store.history("toy").last(version.number, "decision") is None


@pytest.mark.parametrize("whose", [OLD, NEW])
def test_who_is_halfway_through_a_publication_has_altered_nothing(
    store, champion, known, halfway, look, policy, whose
):
    champion(store)
    version = known(store, NEW, 10)
    decision = look(store, version, store.evidence("toy", "1"))
    halfway(store, whose, 0)
    with pytest.raises(Renewed, match="judge it again"):
        store.record(version, decision, policy.model_dump(mode="json"))
    assert store.history("toy").last(version.number, "decision") is None


@pytest.mark.parametrize("whose", [OLD, NEW])
def test_nor_who_publishes_while_a_registry_is_searched(
    champion, known, look, policy, monkeypatch, whose
):
    store = MemoryStore()
    champion(store)
    version = known(store, NEW, 10)
    decision = look(store, version, store.evidence("toy", "1"))
    grounds = store._docket.grounds
    monkeypatch.setattr(
        store._docket, "grounds", lambda *a: (known(store, whose, 0), grounds(*a))[1]
    )
    with pytest.raises(Renewed, match="judge it again"):
        store.record(version, decision, policy.model_dump(mode="json"))


def test_a_champion_set_back_to_evidence_of_before_is_no_easier_to_beat(
    store, champion, known, look, policy, monkeypatch
):
    now = champion(store)
    before = next(e for e in store.history("toy").entries if e.evidence != now.evidence)
    worse = known(store, NEW, 60)
    assert not look(store, worse, store.evidence("toy", "1")).promote
    store._backend.describe(now, tags={"assay.sealed": before.evidence})
    with pytest.raises(EvidenceError, match="the history says"):
        store.evidence("toy", "1")
    was = store.evidence_at(now, before.evidence)
    store._backend.describe(store.version("toy", "1"), tags={"assay.sealed": now.evidence})
    decision = look(store, worse, was)
    assert decision.promote
    with pytest.raises(EvidenceError, match="judge it again"):
        store.record(worse, decision, policy.model_dump(mode="json"))


def test_a_judgement_by_what_had_been_known_before_verifies_for_nobody(
    champion, known, look, policy, monkeypatch
):
    """As one that was made by a registry that did not ask."""
    store = MemoryStore()
    now = champion(store)
    before = next(e for e in store.history("toy").entries if e.evidence != now.evidence)
    worse = known(store, NEW, 60)
    decision = look(store, worse, store.evidence_at(now, before.evidence))
    with monkeypatch.context() as patch:
        patch.setattr("registry.versions.require_current", lambda *_: None)
        store.record(worse, decision, policy.model_dump(mode="json"))
    store.promote(worse, decision, expected_champion="1")
    said = verify(store, "toy", "champion", today=TODAY).problems
    assert any("of the champion, version 1, and not by the last" in p for p in said), said


def test_nor_does_one_by_what_had_been_known_of_the_version_itself(
    known, look, policy, monkeypatch
):
    store = MemoryStore()
    known(store, NEW, 5)
    version = known(store, NEW, 6)
    entry = store._guard.entry
    before = store.history("toy").entries[0].evidence

    def stale(chain, kind, now, **rest):
        return entry(chain, kind, replace(now, evidence=before), **rest)

    decision = look(store, version)
    with monkeypatch.context() as patch:
        patch.setattr(store._guard, "entry", stale)
        store.record(version, decision, policy.model_dump(mode="json"))
    said = verify(store, "toy", "1", today=TODAY).problems
    assert any("of the candidate, version 1, and not by the last" in p for p in said), said


def test_once_it_is_judged_again_nothing_rests_on_a_judgement_by_what_had_been_known_before(
    champion, known, look, judge, policy, monkeypatch
):
    store = MemoryStore()
    now = champion(store)
    before = next(e for e in store.history("toy").entries if e.evidence != now.evidence)
    worse = known(store, NEW, 60)
    decision = look(store, worse, store.evidence_at(now, before.evidence))
    with monkeypatch.context() as patch:
        patch.setattr("registry.versions.require_current", lambda *_: None)
        store.record(worse, decision, policy.model_dump(mode="json"))
    assert verify(store, "toy", "2", today=TODAY).problems
    assert not judge(store, worse, store.evidence("toy", "1")).promote
    assert verify(store, "toy", "2", today=TODAY).problems == ()


def test_evidence_is_waited_for_that_another_process_is_about_to_show(store, known, halfway):
    version = known(store, NEW, 5)
    halfway(store, NEW, 6)
    assert store.version("toy", "1").evidence == version.evidence
    assert store.evidence("toy", "1").kept == store.history("toy").evidence("1")


def test_a_decision_says_under_which_digests_its_evidence_is_kept(store, champion, known, look):
    champion(store)
    version = known(store, NEW, 10)
    decision = look(store, version, store.evidence("toy", "1"))
    now = store.version("toy", "1")
    assert decision.evidence == (version.evidence, "", now.evidence)
    assert decision.same_as(replace(decision, evidence=("", "", "")))


def test_a_decision_that_forgot_how_often_was_looked_verifies_for_nobody(known, look, judge):
    policy = Policy(name="one", rules=(AtLeast(measure="facts/recall", bound=0.8),))
    store = MemoryStore()
    assert not judge(store, known(store, NEW, 95), policy=policy).promote
    again = known(store, NEW, 60)
    assert not look(store, again, policy=policy).promote
    forgot = judge(store, again, policy=policy, looks={})
    store.promote(again, forgot, expected_champion=None)
    (said,) = verify(store, "toy", "champion", today=TODAY).problems
    assert "decided again from its records its looks is" in said
