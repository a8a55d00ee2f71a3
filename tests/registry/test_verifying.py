"""Whatever is altered of a version, its history or its aliases: verify names it."""

import json
import shutil
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

from audits.errors import SpecError
from registry.checks import UNSIGNED
from registry.history import Entry
from registry.mlflow_store import open_store
from registry.policy import Policy, Waiver
from registry.retracing import read_history, verify_chain
from registry.rules import Approved, AtLeast, NoWorse
from registry.store import overruled
from registry.testing import disk, evidence, facts, rights
from registry.verifying import verify

TODAY = date(2026, 11, 24)
PARENT, FIRST, SECOND = "a" * 64, "b" * 64, "c" * 64
STRICT = Policy(
    name="strict",
    rules=(
        AtLeast(measure="facts/recall", bound=0.8),
        AtLeast(measure="facts/recall", bound=0.9999, because="More than there is."),
        NoWorse(measure="facts/recall", than="parent", margin=0.05),
        NoWorse(measure="facts/recall", than="champion", margin=0.05),
        Approved(),
    ),
    waivers=(
        Waiver(
            rule="facts/recall >= 0.9999",
            owner="ann",
            reason="known",
            expires=date(2026, 12, 1),
        ),
    ),
)


@dataclass
class World:
    """A registry with a parent, a champion before and a champion, and what can be harmed."""

    store: object
    database: Path

    def verify(self, which="champion", today=TODAY, **more):
        return verify(self.store, "toy", which, today=today, **more)

    def sql(self, text, *given):
        with sqlite3.connect(self.database, timeout=30) as held:
            return held.execute(text, given).fetchall()

    def folder(self, number="3"):
        return self.store.snapshot("toy", number).folder

    @contextmanager
    def altered(self, change, back):
        """What verify says between two statements, the second of which undoes the first."""
        self.sql(*change)
        try:
            yield self.verify().problems
        finally:
            self.sql(*back)

    @contextmanager
    def written(self, path, raw):
        """What verify says while a file holds other bytes (None: is not there)."""
        whole = path.read_bytes() if path.exists() else None
        path.unlink(missing_ok=True)
        if raw is not None:
            path.write_bytes(raw)
        try:
            yield self.verify().problems
        finally:
            path.unlink(missing_ok=True)
            if whole is not None:
                path.write_bytes(whole)

    @contextmanager
    def pointing(self, alias, to):
        """What verify says while an alias points elsewhere."""
        before = self.store.pointed("toy", alias)
        self.store._backend.point("toy", alias, to)
        try:
            yield self.verify().problems
        finally:
            self.store._backend.point("toy", alias, before)


def tell(store, publication, attached):
    """Publish, judge, approve and promote as a run does."""
    parent = store.begin("tests", "one")

    def make(weights, wrong, of=""):
        known = evidence(weights, facts(rights(500, wrong)), disk(9), parent=of)
        return store.publish(
            publication(known, attachments={"run/spec.json": attached}), parent=parent
        )

    base = make(PARENT, 4)
    champion = None
    for weights, wrong in ((FIRST, 5), (SECOND, 6)):
        version = make(weights, wrong, PARENT)
        store.approve(version, by="bob", note="read it")
        case = {
            "approvals": store.approvals(version), "today": TODAY,
        }  # fmt: skip
        decision = decided(store, version, base, champion, **case)
        store.record(version, decision, STRICT.model_dump(mode="json"))
        version = store.promote(
            version, decision, expected_champion=champion.number if champion else None
        )
        champion = version
    return version


def decided(store, version, base, champion, **case):
    from registry.gate import Case, decide

    def known(one):
        return store.evidence("toy", one.number) if one else None

    return decide(STRICT, Case(known(version), known(base), known(champion), **case))


@pytest.fixture(scope="module")
def world(empty_registry, tmp_path_factory):
    from registry.store import Dataset, Publication

    home = tmp_path_factory.mktemp("world")
    shutil.copyfile(empty_registry, home / "assay.db")
    folder = home / "weights"
    folder.mkdir()
    (folder / "config.json").write_text("{}", "utf-8")
    (folder / "model.safetensors").write_bytes(b"weights")
    attached = home / "spec.json"
    attached.write_text("{}", "utf-8")

    def publication(known, **changes):
        return Publication(
            name="toy", title="int8", folder=folder, evidence=known, loader="tasks.serving",
            requirements=("torch==2.13.0",), params={"bits": 8}, tags={"spec": "s1"},
            datasets=(Dataset("world", "d" * 64, "/somewhere"),), **changes,
        )  # fmt: skip

    store = open_store(f"sqlite:///{home}/assay.db")
    tell(store, publication, attached)
    return World(store, home / "assay.db")


def test_an_untouched_champion_verifies(world):
    found = world.verify()
    assert found.problems == ()
    assert found.ok
    assert found.version == "3"
    assert {c.name for c in found.checks} == {
        "history", "aliases", "seal", "metrics", "judgements", "grounds", "decision",
        "promotion", "signature", "signed history",
    }  # fmt: skip
    assert [c.said for c in found.checks if "sign" in c.name] == [UNSIGNED, UNSIGNED]
    assert world.verify("2").ok
    assert world.verify("previous").version == "2"


def test_every_file_of_a_version_altered_in_turn_is_named(world):
    folder = world.folder()
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    heads = {p.relative_to(folder).parts[0] for p in files}
    assert heads == {
        "model", "evidence", "run", "decisions", "policies", "seals", "decision.json",
        "policy.json", "card.md", "seal.json",
    }  # fmt: skip
    assert len(files) >= 16
    for path in files:
        whole = path.read_bytes()
        for harm in (whole + b" ", whole[:-1], None):
            with world.written(path, harm) as said:
                assert any(path.name in p for p in said), (path, harm, said)
    assert world.verify().ok


@pytest.mark.parametrize(
    "place", ["model/x.pkl", "model/data/model/y.py", "evidence/z", "run/a"]
)
def test_an_added_file_is_named(world, place):
    with world.written(world.folder() / place, b"x") as (said,):
        assert f"the file {place} was added after the seal" in said


def test_a_version_that_was_loaded_and_served_still_verifies(world):
    # mlflow.pyfunc.load_model("models:/toy@champion") leaves this file in the model's folder.
    with world.written(
        world.folder() / "model/registered_model_meta", b"model_name: toy"
    ) as said:
        assert said == ()


def test_every_tag_altered_or_removed_in_turn_is_named(world):
    tags = world.sql(
        "select key, value from model_version_tags where name = 'toy' and version = 3"
    )
    ours = [(k, v) for k, v in tags if k.startswith("assay.") and "approval" not in k]
    assert {k for k, _ in ours} == {
        "assay.weights", "assay.variant", "assay.parent", "assay.spec", "assay.evidence",
        "assay.sealed", "assay.policy", "assay.judged_against", "assay.verdict",
    }  # fmt: skip
    change = "update model_version_tags set value = ? where version = 3 and key = ?"
    for key, value in ours:
        with world.altered((change, "x", key), (change, value, key)) as said:
            assert any(f"the tag {key} was altered" in p for p in said), (key, said)
        gone = "delete from model_version_tags where version = 3 and key = ?", key
        with world.altered(gone, (ADD, key, value)) as said:
            assert any(f"the tag {key} was removed" in p for p in said), (key, said)
    assert world.verify().ok


ADD = "insert into model_version_tags (name, version, key, value) values ('toy', 3, ?, ?)"


def test_an_added_tag_of_ours_is_named_and_one_of_a_reviewer_is_not(world):
    gone = "delete from model_version_tags where version = 3 and key = ?"
    with world.altered((ADD, "assay.reviewed", "x"), (gone, "assay.reviewed")) as (said,):
        assert "the tag assay.reviewed was added" in said
    with world.altered((ADD, "my.note", "x"), (gone, "my.note")) as said:
        assert said == ()


def test_every_metric_altered_in_turn_is_named(world):
    (run,) = {world.store.version("toy", "3").run}
    metrics = world.sql("select key, value from latest_metrics where run_uuid = ?", run)
    assert len(metrics) == 12
    for key, value in metrics:
        change = "update latest_metrics set value = ? where run_uuid = ? and key = ?"
        new, old = (change, value + 1e-3, run, key), (change, value, run, key)
        with world.altered(new, old) as said:
            assert any(f"the metric {key} was altered" in p for p in said), (key, said)
            assert any(f"its records give {key} " in p for p in said), (key, said)
    assert world.verify().ok


def test_an_altered_param_and_an_altered_card_are_named(world):
    for text, back, name in (
        ("update params set value = '4' where key = 'bits'",
         "update params set value = '8' where key = 'bits'", "the param bits was altered"),
        ("update model_versions set description = description || '!' where name = 'toy'",
         "update model_versions set description = substr(description, 1, "
         "length(description) - 1) where name = 'toy'", "the card in its description"),
    ):  # fmt: skip
        with world.altered((text,), (back,)) as said:
            assert any(name in p for p in said), said
    assert world.verify().ok


@pytest.mark.parametrize(
    ("alias", "to", "says"),
    [
        ("champion", "1", "moved by hand from 3 to 1; history says 3"),
        ("champion", "2", "points at 2, and the history says 3"),
        ("previous", "1", "the alias previous points at 1, and the history says 2"),
    ],
)
def test_an_alias_moved_by_hand_is_named(world, alias, to, says):
    with world.pointing(alias, to) as said:
        assert any(says in p for p in said), said
    assert world.verify().ok


def test_an_alias_of_ones_own_vouches_only_for_what_was_champion(world):
    for number, says in (
        ("1", "toy@prod points at version 1, which was never promoted"),
        ("2", ""),
    ):
        world.store._backend.point("toy", "prod", number)
        said = world.verify("prod").problems
        assert (not said) if not says else any(says in p for p in said)
    assert world.verify("candidate" if world.store.pointed("toy", "candidate") else "2").ok


def test_a_removed_alias_is_named(world):
    client = world.store._backend._client
    client.delete_registered_model_alias("toy", "champion")
    found = world.verify()
    assert found.version == "3"
    assert any("moved by hand from 3 to none" in p for p in found.problems)
    client.set_registered_model_alias("toy", "champion", "3")
    assert world.verify().ok


def book(world):
    rows = world.sql(
        "select version, description from model_versions where name = 'toy.history' "
        "order by version"
    )
    assert len(rows) >= 6
    return rows


CHANGE = "update model_versions set description = ? where name = 'toy.history' and version = ?"
HIDE = "update model_versions set current_stage = ? where name = ? and version = ?"
GONE, THERE = "Deleted_Internal", "None"
"""How MLflow deletes a version."""


def test_an_altered_entry_is_named_wherever_it_stands(world):
    for number, text in book(world):
        for harm in (text.replace("toy", "top"), text.replace("Z", "z"), "", text + "\n"):
            with world.altered((CHANGE, harm, number), (CHANGE, text, number)) as said:
                assert any("altered" in p and "history" in p for p in said), (harm, said)
                assert not read_history(world.store, "toy")[0][0].ok
    assert world.verify().ok
    held, chain = world.store.anchors("toy"), world.store.history("toy")
    assert all(check.ok for check in verify_chain(world.store, chain, held))


def test_a_removed_entry_is_named_wherever_it_stood(world):
    for number, _ in book(world):
        gone, back = (HIDE, GONE, "toy.history", number), (HIDE, THERE, "toy.history", number)
        with world.altered(gone, back) as said:
            assert any("removed or altered" in p or "missing or altered" in p for p in said)
    assert world.verify().ok


def test_a_removed_tail_with_its_tag_still_shows_in_the_local_memory(world):
    last, text = book(world)[-1]
    entry = Entry.model_validate_json(text)
    tag = "update registered_model_tags set value = ? where key = 'assay.history'"
    ((head,),) = world.sql(
        "select value from registered_model_tags where key = 'assay.history'"
    )
    world.sql(tag, f"{entry.seq - 1} {entry.before}")
    gone, back = (HIDE, GONE, "toy.history", last), (HIDE, THERE, "toy.history", last)
    with world.altered(gone, back) as said:
        world.sql(tag, head)
        assert any("heads/toy.head remembers entry" in p for p in said), said
    assert world.verify().ok


def test_a_lapsed_waiver_is_named_and_a_day_before_it_carries(world):
    assert world.verify(today=date(2026, 12, 1)).ok
    (said,) = world.verify(today=date(2026, 12, 2)).problems
    assert "the waiver of ann for facts/recall >= 0.9999" in said
    assert "lapsed on 2026-12-01" in said
    assert world.verify("2", today=date(2026, 12, 2)).ok  # it is not champion


@pytest.mark.parametrize("value", ["", "no", SECOND[:11], FIRST])
def test_a_withdrawn_approval_is_named(world, value):
    change = (
        "update model_version_tags set value = ? "
        "where version = 3 and key = 'assay.approval.bob'"
    )
    with world.altered((change, value), (change, f"{SECOND} read it")) as (said,):
        assert "the approval of bob, on which it rests, no longer stands" in said
    assert world.verify().ok


def test_the_evidence_of_those_it_was_compared_with_is_checked(world):
    (records,) = world.folder("1").glob("evidence/facts/*/records.parquet")
    with world.written(records, records.read_bytes()[:-1]) as (said,):
        assert "cannot be decided again" in said
        assert "records.parquet" in said


def test_a_version_deleted_is_named(world):
    with world.altered((HIDE, GONE, "toy", 3), (HIDE, THERE, "toy", 3)) as _:
        said = world.verify("3").problems
    assert any("its history is there and the version is not" in p for p in said), said


def test_weights_are_weighed_where_it_can_be_done(world):
    assert world.verify(weigh=lambda folder: SECOND).ok
    (said,) = world.verify(weigh=lambda folder: FIRST).problems
    assert "its files weigh bbbbbbbbbbbb, its evidence is about cccccccccccc" in said


def test_what_is_not_there_is_a_mistake_of_the_command(world):
    for name, which in (("nobody", "champion"), ("toy", "9"), ("toy", "candidate")):
        with pytest.raises(SpecError, match="no "):
            verify(world.store, name, which, today=TODAY)


def test_a_version_that_was_never_judged_does_not_verify(world):
    (said,) = world.verify("1").problems
    assert "it was never judged" in said


def test_a_rollback_verifies(open_again, publication, tmp_path):
    attached = tmp_path / "spec.json"
    attached.write_text("{}", "utf-8")
    store = open_again()
    tell(store, publication, attached)
    assert store.rollback("toy", by="ann").number == "2"
    found = verify(store, "toy", "champion", today=TODAY)
    assert found.problems == ()
    assert found.version == "2"


def test_new_evidence_is_to_be_judged_before_it_verifies(open_again, publication, judge):
    store = open_again()
    parent = store.begin("tests", "one")
    version = store.publish(publication(evidence(FIRST, facts(rights(500, 5)))), parent=parent)
    judge(store, version)
    assert verify(store, "toy", "1", today=TODAY).ok
    later = evidence(FIRST, facts(rights(500, 6), name="more"))
    version = store.publish(publication(later), parent=parent)
    said = verify(store, "toy", "1", today=TODAY).problems
    assert any("evidence was added since" in p for p in said)
    judge(store, version)
    found = verify(store, "toy", "1", today=TODAY)
    assert found.problems == ()


def test_an_interrupted_promotion_is_named(open_again, publication, judge):
    store = open_again()
    version = store.publish(
        publication(evidence(FIRST, facts(rights(500, 5)))), parent=store.begin("tests", "one")
    )
    decision = judge(store, version)

    def cut(*_):
        raise KeyboardInterrupt

    store._backend.point = cut
    with pytest.raises(KeyboardInterrupt):
        store.promote(version, decision, expected_champion=None)
    fresh = open_again()
    said = verify(fresh, "toy", "champion", today=TODAY).problems
    assert any("that promotion was interrupted" in p for p in said)
    fresh.promote(version, decision, expected_champion=None)
    assert verify(fresh, "toy", "champion", today=TODAY).ok


def test_a_forged_promotion_rests_on_no_decision(open_again, publication, judge):
    store = open_again()
    version = store.publish(
        publication(evidence(FIRST, facts(rights(500, 200)))),
        parent=store.begin("tests", "one"),
    )
    judge(store, version)  # it fails
    chain = store.history("toy")
    forged = json.loads(chain.entries[-1].text) | {
        "kind": "promotion", "verdict": "pass", "seq": 3, "before": chain.head, "waivers": (),
    }  # fmt: skip
    store._backend.append("toy", Entry.model_validate(forged).text)
    store._backend.point("toy", "champion", "1")
    first, second = verify(store, "toy", "champion", today=TODAY).problems
    assert "rests on no judgement that passed; it is forged" in first
    assert "promoted by a decision that does not allow it" in second


@pytest.mark.parametrize(
    ("column", "value"),
    [("source", "/else"), ("storage_location", "/else"), ("status", "PENDING_REGISTRATION")],
)
def test_a_version_that_would_be_loaded_from_elsewhere_is_named(world, column, value):
    where = "where name = 'toy' and version = 3"
    ((held,),) = world.sql(f"select {column} from model_versions {where}")
    set_to = f"update model_versions set {column} = ? {where}"
    with world.altered((set_to, value), (set_to, held)) as problems:
        assert any("which is not its run's model" in said for said in problems), problems
    assert world.verify().ok


def test_a_judgement_that_was_broken_off_is_to_be_made_again_and_nothing_was_altered(
    store, publication, judge, policy
):
    version = store.publish(
        publication(evidence(FIRST, facts(rights(500, 5)))), parent=store.begin("tests", "one")
    )
    decision = judge(store, version)
    store.promote(version, decision, expected_champion=None)
    other = policy.model_copy(update={"name": "other"})

    def cut(*_):
        raise InterruptedError

    append, store._backend.append = store._backend.append, cut
    with pytest.raises(InterruptedError):  # files, tags and card are those of the new one
        judge(store, version, policy=other)
    store._backend.append = append
    said = verify(store, "toy", "champion", today=TODAY).problems
    assert said == (
        "toy/1: it is to be judged again (`assay promote toy/1`): a judgement was broken off, "
        "or its verdict was taken away",
    )
    file = store.attachment(store.version("toy", "1"), "model/data/model/config.json")
    file.write_text("{ }", "utf-8")
    said = verify(store, "toy", "champion", today=TODAY).problems
    assert any("config.json was altered" in p for p in said)
    file.write_text("{}", "utf-8")
    judge(store, version, policy=other)
    assert verify(store, "toy", "champion", today=TODAY).problems == ()


def test_what_a_stricter_policy_refused_before_is_said(open_again, publication, judge, policy):
    store = open_again()
    version = store.publish(
        publication(evidence(FIRST, facts(rights(500, 150)))),
        parent=store.begin("tests", "one"),
    )
    refused = judge(store, version)
    assert not refused.promote
    loose = Policy(name="loose", rules=(AtLeast(measure="facts/recall", bound=0.1),))
    decision = judge(store, version, policy=loose)
    store.promote(version, decision, expected_champion=None)
    found = verify(store, "toy", "champion", today=TODAY)
    assert found.ok
    (said,) = [c.said for c in found.checks if c.name == "decision"]
    assert f"on the same evidence it failed by policy strict ({policy.identity[:12]})" in said
    assert "it failed by policy strict" in overruled(
        store.judgements(version), decision, version.evidence
    )


def test_a_champion_that_rests_on_another_policy_is_named(world):
    assert world.verify(policy=STRICT).ok
    lax = STRICT.model_copy(update={"waivers": ()})
    (said,) = world.verify(policy=lax).problems
    assert f"it rests on policy strict ({STRICT.identity[:12]}) and not on strict" in said
    assert world.verify("2", policy=STRICT).ok


def test_whoever_remembers_a_head_sees_a_registry_that_was_set_back(world):
    """The whole registry as it was a promotion ago: consistent, and older than remembered."""
    found = world.verify()
    assert found.head == world.store.history("toy").anchor
    assert world.verify(remembered={"mine": found.head}).ok
    seq, _, digest = found.head.partition(" ")
    later = f"{int(seq) + 1} {'e' * 64}"
    for head in (later, f"{seq} {'e' * 64}", f"{int(seq) - 1} {digest}"):
        (said,) = world.verify(remembered={"mine": head}).problems
        assert "mine remembers entry" in said


def test_what_a_machine_words_otherwise_today_is_no_alteration(world, monkeypatch):
    from registry import wording

    monkeypatch.setattr(wording, "footing", lambda seen: " (said otherwise)")
    assert world.verify().problems == ()
