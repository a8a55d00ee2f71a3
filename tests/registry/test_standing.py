"""What may be gone on with: links, aliases, waivers and two who have the key."""

from datetime import date, timedelta

import pytest

from audits.errors import EvidenceError, GateRefused
from registry import guard
from registry.finding import person
from registry.policy import Policy, Waiver
from registry.rules import AtLeast
from registry.testing import MemoryStore, evidence, facts, rights
from registry.verifying import verify

TODAY = date(2026, 11, 26)


def made(publication, weights="a" * 64, wrong=5):
    return publication(evidence(weights, facts(rights(500, wrong))))


def waived(until):
    rule = AtLeast(measure="facts/recall", bound=0.999)
    waiver = Waiver(rule=rule.id, owner="ann", reason="known", expires=until)
    return Policy(
        name="w", rules=(rule, AtLeast(measure="facts/recall", bound=0.5)), waivers=(waiver,)
    )


def problems(store, which, today=TODAY):
    return verify(store, "toy", which, today=today).problems


@pytest.fixture
def stored(store, publication, judge, publish):
    version = publish(store, made(publication))
    store.promote(version, judge(store, version), expected_champion=None)
    return store


@pytest.mark.parametrize("what", ["folder", "file", "added"])
def test_a_link_is_not_what_was_sealed(stored, tmp_path, what, judge):
    """Behind a link files may be added, or change once everything was verified."""
    home = stored.snapshot("toy", "1").folder / "model/data/model"
    outside = tmp_path / "outside"
    if what == "folder":
        home.rename(outside)
        home.symlink_to(outside)
    elif what == "file":
        (home / "config.json").rename(outside)
        (home / "config.json").symlink_to(outside)
    else:
        outside.mkdir()
        (home / "code").symlink_to(outside)
    assert any("is a link" in p for p in problems(stored, "champion"))
    now, known = stored.version("toy", "1"), stored.evidence("toy", "1")
    with pytest.raises(EvidenceError, match="is a link"):
        judge(stored, now, known, waived(TODAY), today=TODAY)


def test_an_alias_of_ones_own_does_not_outlive_a_waiver(publication, judge, publish):
    store = MemoryStore()
    version = publish(store, made(publication))
    decision = judge(store, version, policy=waived(TODAY), today=TODAY)
    store.promote(version, decision, expected_champion=None)
    better = publish(store, made(publication, "b" * 64, wrong=0))
    champion = store.evidence("toy", "1")
    store.promote(better, judge(store, better, champion), expected_champion="1")
    store.memory.point("toy", "prod", "1")
    assert problems(store, "prod") == ()
    (said,) = problems(store, "prod", TODAY + timedelta(days=1))
    assert "lapsed" in said
    assert problems(store, "1", TODAY + timedelta(days=1)) == ()


def test_nobody_goes_back_to_a_version_whose_waiver_has_lapsed(publication, judge, publish):
    past = date(2020, 1, 1)
    store = MemoryStore()
    version = publish(store, made(publication))
    decision = judge(store, version, policy=waived(past), today=past)
    store.promote(version, decision, expected_champion=None)
    better = publish(store, made(publication, "b" * 64, wrong=0))
    decision = judge(store, better, store.evidence("toy", "1"))
    store.promote(better, decision, expected_champion="1")
    with pytest.raises(GateRefused, match="lapsed on 2020-01-01"):
        store.rollback("toy", by="ann")
    assert store.history("toy").champion == "2"


def test_of_two_who_go_back_at_once_one_is_refused(publication, judge, publish):
    """Each asked for the champion before the one that it saw."""
    store = MemoryStore()
    for at, weights in enumerate(("a" * 64, "b" * 64, "c" * 64)):
        version = publish(store, made(publication, weights, wrong=5 - at))
        before = store.resolve("toy", "champion")
        known = store.evidence("toy", before.number) if before else None
        decision = judge(store, version, known)
        number = before.number if before else None
        store.promote(version, decision, expected_champion=number)
    other, append = MemoryStore(store.memory), store._guard.append

    def late(name, write):
        other.rollback("toy", by="bob")
        store._guard.append = append
        return append(name, write)

    store._guard.append = late
    with pytest.raises(GateRefused, match="the champion is version 2 and no longer 3"):
        store.rollback("toy", by="ann")
    assert store.history("toy").champion == "2"


def test_what_goes_out_is_what_was_sealed_whatever_its_tags_say(stored, forge):
    """Weights, evidence about them and the tags that name both, put there by hand."""
    now = stored.version("toy", "1")
    assert stored.sound(now).weights == "a" * 64
    known = evidence("f" * 64, facts(rights(500, 5)))
    forge(stored, now, known, **{"assay.weights": "f" * 64, "assay.verdict": ""})
    with pytest.raises(EvidenceError, match="the history says"):
        stored.sound(stored.version("toy", "1"))


def test_a_champion_is_asked_of_a_history_that_lost_nothing(publication, judge, publish):
    store = MemoryStore()
    first = publish(store, made(publication))
    store.promote(first, judge(store, first), expected_champion=None)
    better = publish(store, made(publication, "b" * 64, wrong=0))
    decision = judge(store, better, store.evidence("toy", "1"))
    store.promote(better, decision, expected_champion="1")
    store.memory.books["toy"].pop()
    store.memory.point("toy", "champion", "1")
    with pytest.raises(EvidenceError):
        store.resolve("toy", "champion")


def test_previous_is_who_the_history_says(stored):
    assert stored.resolve("toy", "previous") is None
    stored._backend.point("toy", "previous", "1")
    with pytest.raises(EvidenceError, match="the alias previous points at 1"):
        stored.resolve("toy", "previous")


def test_one_person_is_one_however_the_name_is_written():
    assert len({person(name) for name in ("Ann", " ann ", "Ann.", "A nn", "a_n-n")}) == 1
    assert person("Ann") != person("Anna")


def test_a_version_that_no_database_can_number_is_none(open_again):
    assert open_again()._backend.version("toy", "9" * 30) is None


def test_of_two_who_sign_at_once_the_later_head_stays(
    keys, publication, judge, monkeypatch, publish
):
    monkeypatch.setattr(guard, "SIGNING_S", 0.0)
    key, public = keys
    one = MemoryStore(key=key)
    first, second = (
        publish(one, made(publication)),
        publish(one, made(publication, "b" * 64, wrong=2)),
    )
    one.promote(first, judge(one, first), expected_champion=None)
    other, sign, done = MemoryStore(one.memory, key=key), guard.signing.sign, []

    def late(name, text, private):
        if not done:
            done.append(1)
            decision = judge(other, second, other.evidence("toy", "1"))
            other.promote(second, decision, expected_champion="1")
        return sign(name, text, private)

    monkeypatch.setattr(guard.signing, "sign", late)
    one.approve(one.version("toy", "1"), by="ann")
    chain = one.history("toy")
    assert chain.champion == "2"
    assert one.signed_head("toy")[0] == chain.anchor
    assert verify(one, "toy", "champion", today=TODAY, key=public).problems == ()
    one.approve(one.version("toy", "2"), by="bob")


def test_a_version_whose_run_was_deleted_says_how_to_bring_it_back(
    open_again, publication, judge, publish
):
    """Its files stay until `mlflow gc`, and with them goes the champion."""
    store = open_again()
    version = publish(store, publication(evidence("a" * 64, facts(rights(500, 5)))))
    store.promote(version, judge(store, version), expected_champion=None)
    store._backend._client.delete_run(version.run)
    (said,) = verify(store, "toy", "champion", today=date(2026, 11, 26)).problems
    assert f"`mlflow runs restore --run-id {version.run}` brings it back" in said
    store._backend._client.restore_run(version.run)
    assert verify(store, "toy", "champion", today=date(2026, 11, 26)).ok
