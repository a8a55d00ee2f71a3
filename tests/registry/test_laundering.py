"""Whatever was altered of a version, judging it again does not make it right."""

import sqlite3
from contextlib import contextmanager
from datetime import date

import pytest

from audits.errors import EvidenceError, GateRefused
from registry.gate import Case, decide
from registry.policy import Policy
from registry.rules import AtLeast
from registry.testing import evidence, facts, rights
from registry.verifying import verify

TODAY, FIRST = date(2026, 11, 24), "b" * 64
LAX = AtLeast(measure="facts/recall", bound=0.5)


@pytest.fixture
def judged(open_again, publication, judge, tmp_path):
    """A version that passed, its registry, and its database."""
    note = tmp_path / "spec.json"
    note.write_text("{}", "utf-8")
    store = open_again()
    known = evidence(FIRST, facts(rights(500, 5)))
    version = store.publish(
        publication(known, attachments={"run/spec.json": note}),
        parent=store.begin("tests", "one"),
    )
    judge(store, version)
    return store, tmp_path / "assay.db"


def again(store, name="lax"):
    """Judge it by a looser policy, and promote it."""
    version = store.version("toy", "1")
    policy = Policy(name=name, rules=(LAX,))
    decision = decide(policy, Case(store.evidence("toy", "1")))
    store.record(version, decision, policy.model_dump(mode="json"))
    store.promote(version, decision, expected_champion=store.history("toy").champion)


def problems(store):
    return verify(store, "toy", "1", today=TODAY).problems


def refused(store):
    """Why neither a judgement nor a promotion takes place; the history does not grow."""
    before = store.history("toy").head
    with pytest.raises((EvidenceError, GateRefused)) as caught:
        again(store)
    assert store.history("toy").head == before
    assert store.pointed("toy", "champion") is None
    assert problems(store)
    return str(caught.value)


@contextmanager
def run(database, do, undo):
    """A registry in whose database something was altered, for a while."""
    for at, (text, *given) in enumerate((do, undo)):
        with sqlite3.connect(database, timeout=30) as held:
            held.execute(text, given)
        if not at:
            yield


def test_every_file_altered_or_removed(judged):
    store, _ = judged
    folder = store.snapshot("toy", "1").folder
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    assert len(files) >= 14
    for path in files:
        whole = path.read_bytes()
        for harm in (whole + b" ", b"", None):
            path.unlink()
            if harm is not None:
                path.write_bytes(harm)
            name = path.relative_to(folder).as_posix()
            if name.startswith(("decisions/", "policies/", "seals/")):
                assert any(path.name in said for said in problems(store)), name
            else:
                assert path.name in refused(store), name
            path.write_bytes(whole)
    again(store)
    assert problems(store) == ()


@pytest.mark.parametrize("place", ["model/x.pkl", "evidence/z", "run/a"])
def test_every_added_file(judged, place):
    store, _ = judged
    path = store.snapshot("toy", "1").folder / place
    path.write_text("x", "utf-8")
    assert f"{place} was added after the seal" in refused(store)
    path.unlink()
    again(store)
    assert problems(store) == ()


ADD = "insert into model_version_tags (name, version, key, value) values ('toy', 1, ?, ?)"
TAKE = "delete from model_version_tags where name = 'toy' and version = 1 and key = ?"
SET = "update model_version_tags set value = ? where name = 'toy' and version = 1 and key = ?"


def test_every_tag_altered_or_added(judged):
    store, database = judged
    tags = dict(store.version("toy", "1").tags)
    assert {"assay.data", "assay.spec", "assay.parent", "assay.variant"} <= tags.keys()
    for key, value in tags.items():
        if key in ("assay.verdict", "assay.policy", "assay.judged_against"):
            continue  # a judgement writes these anew
        with run(database, (SET, "forged", key), (SET, value, key)):
            assert refused(store), key
        if key not in ("assay.sealed", "assay.weights"):  # without these it is no version
            with run(database, (TAKE, key), (ADD, key, value)):
                assert f"the tag {key} was removed" in refused(store)
    with run(database, (ADD, "assay.forged", "x"), (TAKE, "assay.forged")):
        assert "the tag assay.forged was added" in refused(store)
    again(store)
    assert problems(store) == ()


def test_a_verdict_taken_away_opens_no_door(judged):
    store, database = judged
    folder = store.snapshot("toy", "1").folder
    with run(database, (SET, "", "assay.verdict"), (SET, "pass", "assay.verdict")):
        with run(database, (SET, "f00d", "assay.data"), (SET, "d1", "assay.data")):
            assert "the tag assay.data was altered" in refused(store)
        (folder / "run" / "a").write_text("x", "utf-8")
        assert "run/a was added" in refused(store)
        (folder / "run" / "a").unlink()
        again(store)  # nothing else was altered
    assert problems(store) == ()


def test_every_metric_and_param_altered_or_added(judged):
    store, database = judged
    home = store.version("toy", "1").run
    numbers = store.snapshot("toy", "1").metrics
    change = "update latest_metrics set value = ? where run_uuid = ? and key = ?"
    for key, value in numbers.items():
        with run(database, (change, value + 1e-3, home, key), (change, value, home, key)):
            assert f"the metric {key} was altered" in refused(store)
    add = (
        "insert into latest_metrics (key, value, timestamp, step, is_nan, run_uuid) "
        "values ('forged', 0.5, 1, 0, 0, ?)"
    )
    with run(database, (add, home), ("delete from latest_metrics where key = 'forged'",)):
        assert "the metric forged was added" in refused(store)
        assert any("forged 0.5 follows from no records" in said for said in problems(store))
    param = "update params set value = ? where key = 'bits'"
    with run(database, (param, "4"), (param, "8")):
        assert "the param bits was altered" in refused(store)
    again(store)
    assert problems(store) == ()


def test_evidence_put_in_the_place_of_what_was_published(judged, publication):
    """A whole bundle that is consistent in itself, and no entry of the history knows it."""
    from registry import bundle

    store, database = judged
    folder = store.snapshot("toy", "1").folder
    better = evidence(FIRST, facts(rights(500, 0)))
    digest = bundle.write(better, folder / "forged")
    for path in sorted((folder / "forged").rglob("*")):
        place = folder / "evidence" / path.relative_to(folder / "forged")
        place.mkdir(exist_ok=True) if path.is_dir() else path.rename(place)
    for key in ("assay.sealed", "assay.evidence"):
        with sqlite3.connect(database) as held:
            held.execute(SET, (digest, key))
    assert "a publication was broken off, or a tag was altered" in refused(store)
    # Published by the rules it is on record, and what the run shows is what it says.
    store.publish(publication(better), parent=store.begin("tests", "two"))
    assert [e.kind for e in store.history("toy").entries] == [
        "publication", "decision", "publication",
    ]  # fmt: skip
    again(store)
    assert problems(store) == ()


def test_evidence_that_is_added_makes_nothing_right_and_a_cut_off_publication_can_be_followed(
    judged, publication
):
    store, _ = judged
    folder, parent = store.snapshot("toy", "1").folder, store.begin("tests", "two")
    (records,) = folder.glob("evidence/facts/*/records.parquet")
    whole = records.read_bytes()

    def cut(*_, **__):
        raise KeyboardInterrupt

    append, store._backend.append = store._backend.append, cut
    with pytest.raises(KeyboardInterrupt):  # its evidence is there, and nobody knows of it
        store.publish(publication(evidence(FIRST, facts(rights(500, 9)))), parent=parent)
    store._backend.append = append
    records.write_bytes(whole + b" ")
    with pytest.raises(EvidenceError, match=r"records\.parquet"):
        store.publish(publication(evidence(FIRST, facts(rights(500, 7)))), parent=parent)
    records.write_bytes(whole)
    (folder / "evidence" / "evil.pkl").write_text("x", "utf-8")
    store.publish(publication(evidence(FIRST, facts(rights(500, 7)))), parent=parent)
    assert "evidence/evil.pkl was added after the seal" in refused(store)
    (folder / "evidence" / "evil.pkl").unlink()
    records.write_bytes(whole + b" ")  # what the decision before rests on
    assert "records.parquet was altered" in refused(store)
    records.write_bytes(whole)
    again(store)
    assert problems(store) == ()


def test_a_version_is_judged_for_the_first_time_as_it_was_published(
    open_again, publication, judge
):
    store = open_again()
    version = store.publish(
        publication(evidence(FIRST, facts(rights(500, 5)))), parent=store.begin("tests", "one")
    )
    file = store.attachment(version, "model/data/model/config.json")
    file.write_text("{ }", "utf-8")
    with pytest.raises(EvidenceError, match=r"config\.json was altered"):
        judge(store, version)
    file.write_text("{}", "utf-8")
    judge(store, version)
    assert problems(store) == ()


def test_a_model_that_was_deleted_is_not_published_over_its_history(
    open_again, publication, judge
):
    store = open_again()
    parent = store.begin("tests", "one")
    known = evidence(FIRST, facts(rights(500, 5)))
    judge(store, store.publish(publication(known), parent=parent))
    store._backend._client.delete_registered_model("toy")
    with pytest.raises(
        EvidenceError, match="its versions were deleted and its history was not"
    ):
        store.publish(publication(known), parent=parent)


def test_a_refused_version_that_was_deleted_does_not_come_back_without_its_past(
    open_again, publication, judge
):
    """Its looks would be gone with it, and its weights judged as if for the first time."""
    store = open_again()
    parent = store.begin("tests", "one")
    store.publish(publication(evidence("a" * 64, facts(rights(500, 5)))), parent=parent)
    bad = store.publish(publication(evidence(FIRST, facts(rights(500, 95)))), parent=parent)
    assert not judge(store, bad).promote
    store._backend._client.delete_model_version("toy", bad.number)
    store._backend._client.delete_run(bad.run)
    with pytest.raises(EvidenceError, match="these weights were this version"):
        store.publish(publication(evidence(FIRST, facts(rights(500, 60)))), parent=parent)
    assert [v.number for v in store.versions("toy")] == ["1"]
