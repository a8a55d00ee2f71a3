"""How the champion moves; over the registry in memory and over MLflow alike."""

from datetime import date

import pytest

from audits.errors import EvidenceError, GateRefused, SpecError
from registry.policy import Policy
from registry.rules import Approved, AtLeast
from registry.store import model_name
from registry.testing import disk, evidence, facts, rights
from registry.verifying import verify

GOOD = rights(500, 5)
WEIGHTS = ["a" * 64, "b" * 64, "c" * 64]


@pytest.fixture
def versions(store, publication):
    """Three versions of different weights and nearly the same answers."""
    parent = store.begin("tests", "one")
    return [
        store.publish(publication(evidence(w, facts(rights(500, 5 + i)))), parent=parent)
        for i, w in enumerate(WEIGHTS)
    ]


@pytest.fixture
def promote(store, judge):
    def promoted(version, **more):
        before = store.resolve("toy", "champion")
        champion = store.evidence("toy", before.number) if before else None
        return store.promote(
            version, judge(store, version, champion),
            expected_champion=before.number if before else None, **more,
        )  # fmt: skip

    return promoted


def told(store):
    """What happened after the versions were published."""
    entries = [e for e in store.history("toy").entries if e.kind != "publication"]
    return [(e.kind, e.version, e.replaces) for e in entries]


def test_every_step_stands_in_the_history(store, versions, promote):
    promote(versions[0])
    promote(versions[1], by="ann", note="after review")
    store.approve(versions[2], by="bob", note="looks fine")
    back = store.rollback("toy", by="ann", note="slow in service")
    assert back.number == "1"
    assert told(store) == [
        ("decision", "1", ""), ("promotion", "1", ""), ("decision", "2", ""),
        ("promotion", "2", "1"), ("approval", "3", ""), ("rollback", "1", "2"),
    ]  # fmt: skip
    last = store.history("toy").entries[-1]
    assert (last.by, last.note, last.weights) == ("ann", "slow in service", WEIGHTS[0])
    assert len(last.seal) == 64
    assert [e.by for e in store.history("toy").entries if e.kind == "promotion"] == [
        "gate", "ann",
    ]  # fmt: skip
    assert store.resolve("toy", "champion").number == "1"
    assert store.resolve("toy", "previous").number == "2"


def test_rolling_back_goes_on_back_and_ends_with_a_reason(store, versions, promote):
    for version in versions:
        promote(version)
    assert store.rollback("toy", by="ann").number == "2"
    assert store.rollback("toy", by="ann").number == "1"
    with pytest.raises(GateRefused, match="no champion came before it"):
        store.rollback("toy", by="ann")
    assert store.rollback("toy", to="3", by="ann").number == "3"
    assert store.rollback("toy", to="3", by="ann").number == "3"
    assert told(store)[-1] == ("rollback", "3", "1")


def test_what_somebody_went_back_from_is_promoted_again_by_a_person_only(
    store, versions, promote
):
    """The same run file would pass the same rules again, the night after."""
    promote(versions[0])
    promote(versions[1])
    store.rollback("toy", by="ann", note="it insults people")
    with pytest.raises(GateRefused, match=r"ann went back from it .*\(it insults people\)"):
        promote(versions[1])
    promote(versions[2])
    with pytest.raises(GateRefused, match="--by YOU"):
        promote(versions[1])
    promote(versions[1], by="bob")
    assert store.resolve("toy", "champion").number == "2"
    store.rollback("toy", to="1", by="ann")
    store.rollback("toy", to="2", by="ann")
    promote(versions[2])
    promote(versions[1])  # ann herself went to it again


def test_only_what_was_champion_can_be_gone_back_to(store, versions, promote):
    with pytest.raises(GateRefused, match="there is no champion to roll back"):
        store.rollback("toy", by="ann")
    promote(versions[0])
    with pytest.raises(GateRefused, match="toy/2: it never was champion"):
        store.rollback("toy", to="2", by="ann")
    with pytest.raises(SpecError, match="say who"):
        store.rollback("toy", by="")


def test_an_altered_version_is_not_gone_back_to(store, versions, promote):
    promote(versions[0])
    promote(versions[1])
    file = store.attachment(versions[0], "model/data/model/config.json")
    file.write_text('{"a": 1}', "utf-8")
    with pytest.raises(EvidenceError, match=r"file model/data/model/config.json was altered"):
        store.rollback("toy", by="ann")
    assert store.resolve("toy", "champion").number == "2"


def test_a_decision_that_is_not_on_record_promotes_nothing(store, versions, look, judge):
    with pytest.raises(GateRefused, match="not the one on record"):
        store.promote(versions[0], look(store, versions[0]), expected_champion=None)
    assert told(store) == []


class Cut(Exception):
    pass


def cut(*_, **__):
    raise Cut


def test_a_promotion_cut_before_its_alias_is_finished_by_the_next(store, versions, promote):
    promote(versions[0])
    whole = store._backend.point
    store._backend.point = cut  # the process dies in this call
    with pytest.raises(Cut):
        promote(versions[1])
    store._backend.point = whole
    assert store.pointed("toy", "champion") == "1"
    assert store.resolve("toy", "champion").number == "2"  # as the history says
    assert promote(versions[2]).number == "3"
    assert store.resolve("toy", "previous").number == "2"
    assert store.history("toy").champion == "3"


def test_the_same_promotion_again_finishes_it_and_adds_nothing(store, versions, judge):
    decision = judge(store, versions[0])
    whole = store._backend.point
    store._backend.point = cut
    with pytest.raises(Cut):
        store.promote(versions[0], decision, expected_champion=None)
    store._backend.point = whole
    assert store.promote(versions[0], decision, expected_champion=None).number == "1"
    assert store.resolve("toy", "champion").number == "1"
    assert told(store) == [("decision", "1", ""), ("promotion", "1", "")]


def test_an_alias_moved_by_hand_stops_promotions_and_rollbacks(store, versions, promote):
    for version in versions:
        promote(version)
    store._backend.point("toy", "champion", "1")
    with pytest.raises(EvidenceError, match="moved by hand from 3 to 1; history says 3"):
        promote(versions[1])
    for refused in (
        lambda: store.rollback("toy", by="ann"),
        lambda: store.resolve("toy", "champion"),
    ):
        with pytest.raises(EvidenceError, match="`assay rollback toy --to 3 --by YOU` puts it"):
            refused()
    store._backend.point("toy", "champion", "3")
    assert store.rollback("toy", by="ann").number == "2"


def test_where_the_champion_was_deleted_somebody_goes_back_before_it(
    open_again, publication, publish, judge
):
    store = open_again()
    for number, weights in enumerate(WEIGHTS[:2], 1):
        version = publish(store, publication(evidence(weights, facts(GOOD))))
        champion = store.evidence("toy", "1") if number > 1 else None
        before = "1" if number > 1 else None
        store.promote(version, judge(store, version, champion), expected_champion=before)
    store._backend._client.delete_model_version("toy", "2")
    for stopped in (
        lambda: store.resolve("toy", "champion"),
        lambda: store.rollback("toy", by="ann"),
    ):
        with pytest.raises(EvidenceError, match="or go back: `assay rollback toy --to 1 --by"):
            stopped()
    assert store.rollback("toy", to="1", by="ann").number == "1"
    assert store.resolve("toy", "champion").number == "1"
    assert store.resolve("toy", "previous") is None
    assert verify(store, "toy", "champion", today=date(2026, 11, 26)).ok
    store._backend._client.delete_model_version("toy", "1")
    with pytest.raises(EvidenceError, match="deleted; restore it from a backup, or publish"):
        store.resolve("toy", "champion")


def test_an_alias_moved_by_hand_is_put_back_by_its_remedy_and_that_is_noted(
    store, versions, promote
):
    for version in versions:
        promote(version)
    store._backend.point("toy", "champion", "1")
    assert store.rollback("toy", to="3", by="ann").number == "3"
    assert store.pointed("toy", "champion") == "3"
    last = store.history("toy").entries[-1]
    assert (last.kind, last.version, last.by) == ("repair", "3", "ann")
    assert last.note == "the champion alias had been moved by hand to 1"
    store._backend.point("toy", "champion", "1")
    assert store.rollback("toy", to="2", by="ann").number == "2"
    assert told(store)[-2:] == [("repair", "3", ""), ("rollback", "2", "3")]


def test_a_champion_without_a_history_is_refused_with_a_remedy(store, versions, promote):
    store._backend.point("toy", "champion", "1")
    with pytest.raises(EvidenceError, match="its history knows no promotion; remove the alias"):
        promote(versions[1])


def test_a_removed_tail_stops_everything(store, versions, promote, judge):
    promote(versions[0])
    held = store._backend.entries
    store._backend.entries = lambda name: held(name)[:-1]
    with pytest.raises(EvidenceError, match="entries were removed or altered"):
        judge(store, versions[1])


def test_another_entry_in_between_is_no_reason_to_refuse(store, versions, judge):
    decision = judge(store, versions[0])
    append = store._backend.append

    def late(name, text):
        store._backend.append = append
        store.approve(versions[2], by="bob")  # comes first
        return append(name, text)

    store._backend.append = late
    assert store.promote(versions[0], decision, expected_champion=None).number == "1"
    assert told(store) == [
        ("decision", "1", ""), ("approval", "3", ""), ("promotion", "1", ""),
    ]  # fmt: skip
    assert len(store.history("toy").lost) == 1


def test_another_promotion_in_between_refuses_this_one(store, versions, judge):
    mine, theirs = judge(store, versions[0]), judge(store, versions[1])
    append = store._backend.append

    def late(name, text):
        store._backend.append = append
        store.promote(versions[1], theirs, expected_champion=None)
        return append(name, text)

    store._backend.append = late
    with pytest.raises(GateRefused, match="the champion is version 2 and no longer none"):
        store.promote(versions[0], mine, expected_champion=None)
    assert store.resolve("toy", "champion").number == "2"
    assert store.history("toy").champion == "2"


def test_a_slow_writer_of_aliases_ends_at_the_last_promotion(store, versions, judge, promote):
    """The first has appended and not yet pointed while the second does both."""
    decision = judge(store, versions[0])
    point = store._backend.point

    def slow(name, alias, number):
        store._backend.point = point
        point(name, alias, number)
        promote(versions[1])
        point(name, alias, number)  # takes effect late, over what the second set

    store._backend.point = slow
    store.promote(versions[0], decision, expected_champion=None)
    assert store.history("toy").champion == "2"
    assert store.resolve("toy", "champion").number == "2"


def test_an_alias_seen_just_before_another_process_pointed_it_is_no_hand(
    store, versions, judge, promote
):
    decision = judge(store, versions[1])
    promote(versions[0])
    alias, calls = store._backend.alias, []

    def stale(name, which):
        calls.append(which)
        return None if len(calls) == 1 else alias(name, which)

    store._backend.alias = stale
    with pytest.raises(GateRefused, match="the champion is version 1 and no longer none"):
        store.promote(versions[1], decision, expected_champion=None)


def test_an_approval_is_of_one_version_only(store, versions):
    held = store.approve(versions[0], by="ann", note="read the report")
    assert held.tags["assay.approval.ann"] == f"{WEIGHTS[0]} read the report"
    (said,) = store.approvals(versions[0])
    assert (said.by, said.weights, said.note) == ("ann", WEIGHTS[0], "read the report")
    assert said.covers(WEIGHTS[0])
    assert not said.covers(WEIGHTS[1])
    assert store.approvals(versions[1]) == ()
    store.approve(versions[0], by="ann", note="read the report")
    assert told(store) == [("approval", "1", "")]


def test_a_tag_set_by_hand_is_an_approval_of_the_digest_it_names(store, versions):
    tags = {
        "assay.approval.bob": WEIGHTS[1][:12] + "  in the UI",
        "assay.approval.eve": WEIGHTS[0],  # copied from another version
        "assay.approval.dan": "yes",
        "assay.approval.gone": "",
    }
    store._backend.describe(versions[1], tags=tags)
    said = {a.by: a for a in store.approvals(versions[1])}
    assert set(said) == {"bob", "eve", "dan"}
    assert said["bob"].note == "in the UI"
    assert [by for by, a in said.items() if a.covers(WEIGHTS[1])] == ["bob"]


def test_who_approves_must_be_a_name(store, versions):
    for by in ("", " ", "a/b", "a@b", "é", "x" * 101):
        with pytest.raises(SpecError, match="say who"):
            store.approve(versions[0], by=by)


def test_all_judgements_are_kept_with_what_they_rested_on(store, publication, judge, policy):
    parent = store.begin("tests", "one")
    first = store.publish(publication(evidence("w1", facts(GOOD))), parent=parent)
    judge(store, first)
    old = store.records(first)
    again = store.publish(publication(evidence("w1", facts(rights(500, 9)))), parent=parent)
    judge(store, again)
    one, two = store.judgements(again)
    assert one.parts == old
    assert two.parts == store.records(again) != old
    assert one.policy == policy.model_dump(mode="json")
    assert (one.entry.evidence, two.entry.evidence) == (first.evidence, again.evidence)
    assert two.decision == store.decision(store.version("toy", "1"))
    then = store.evidence_at(again, one.entry.evidence)
    assert then.measures()["facts/recall"].value == pytest.approx(0.99)
    assert store.judgements(store.publish(
        publication(evidence("w2", facts(GOOD))), parent=parent)) == ()  # fmt: skip


STEPS = ["upload", "append", "describe", "mark"]


@pytest.mark.parametrize("step", STEPS)
def test_an_interrupted_judgement_is_none(store, versions, look, judge, policy, step):
    judge(store, versions[0])
    other = look(store, versions[0], policy=policy.model_copy(update={"name": "other"}))
    whole = getattr(store._backend, step)
    calls = []

    def third(*given, **named):
        calls.append(step)
        if step != "describe" or len(calls) == 3:  # the verdict, which is set last
            raise Cut
        return whole(*given, **named)

    setattr(store._backend, step, third)
    with pytest.raises(Cut):
        store.record(versions[0], other, policy.model_dump(mode="json"))
    setattr(store._backend, step, whole)
    now = store.version("toy", "1")
    assert now.verdict == ""
    assert store.decision(now) is None
    assert store.record(now, other, policy.model_dump(mode="json")).verdict == "pass"
    assert store.decision(store.version("toy", "1")) == other


def test_an_entry_too_long_for_a_database_is_refused(store, versions):
    with pytest.raises(SpecError, match="shorten the note"):
        store.approve(versions[0], by="ann", note="x" * 5000)
    assert store.approvals(versions[0]) == ()


def test_no_model_is_called_like_a_history(store):
    with pytest.raises(SpecError, match=r"names that end in \.history hold histories"):
        model_name("toy.history")


def test_what_another_process_records_at_this_moment_is_still_on_record(
    store, versions, judge, policy
):
    """Two runs judge the same evidence; one has taken the verdict away to write it again."""
    decision = judge(store, versions[0])
    store._backend.describe(store.version("toy", "1"), tags={"assay.verdict": ""})
    assert store.promote(versions[0], decision, expected_champion=None).number == "1"
    assert store.record(versions[0], decision, policy.model_dump(mode="json")).verdict == "pass"


def test_of_two_that_record_the_same_the_second_finds_it_done(store, versions, look, policy):
    document = policy.model_dump(mode="json")
    first, second = (look(store, versions[0]) for _ in range(2))
    store.record(versions[0], first, document)
    again = store.record(versions[0], second, document)
    assert again.verdict == "pass"
    assert told(store) == [("decision", "1", "")]
    assert store.promote(versions[0], second, expected_champion=None).number == "1"


def test_a_decision_on_evidence_that_has_grown_since_promotes_nothing(
    store, versions, judge, publication
):
    decision = judge(store, versions[0])
    more = evidence(WEIGHTS[0], disk(3))
    store.publish(publication(more), parent=store.begin("tests", "two"))
    with pytest.raises(GateRefused, match="not the one on record"):
        store.promote(versions[0], decision, expected_champion=None)


def test_who_approved_by_a_tag_stands_in_the_history_once(store, versions, look):
    asked = Policy(name="asked", rules=(AtLeast(measure="facts/recall", bound=0.8), Approved()))
    document = asked.model_dump(mode="json")
    tags = {
        "assay.approval.bob": f"{WEIGHTS[0][:12]} fine",
        "assay.approval.eve": WEIGHTS[1],  # of another version
    }
    store._backend.describe(versions[0], tags=tags)
    store.approve(versions[0], by="ann")
    said = store.approvals(versions[0])
    decision = look(store, versions[0], policy=asked, approvals=said)
    store.record(versions[0], decision, document)
    store.promote(versions[0], decision, expected_champion=None)
    entries = [e for e in store.history("toy").entries if e.kind != "publication"]
    assert [(e.kind, e.by, e.note) for e in entries] == [
        ("approval", "ann", ""), ("approval", "bob", "by a tag: fine"),
        ("decision", "gate", ""), ("promotion", "gate", ""),
    ]  # fmt: skip
    more = asked.model_copy(update={"name": "more"})
    again = look(store, versions[0], policy=more, approvals=said)
    store.record(versions[0], again, more.model_dump(mode="json"))
    assert [e.kind for e in store.history("toy").entries].count("approval") == 2
