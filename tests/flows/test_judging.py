"""What a run decides when others work on the same models."""

from types import SimpleNamespace

import pytest

from audits.errors import Renewed
from flows import governing
from flows.judging import judge, promote
from flows.outcome import candidate_report
from registry.policy import Policy
from registry.rules import AtLeast, NoWorse
from registry.store import Publication
from registry.testing import MemoryStore, evidence, facts, rights

POLICY = Policy(
    name="p",
    rules=(
        AtLeast(measure="facts/recall", bound=0.8),
        NoWorse(measure="facts/recall", than="champion", margin=0.05),
    ),
    prefer={"measure": "facts/wrong", "better": "lower"},
)
SPEC = SimpleNamespace(registered="toy", policy=POLICY)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A registry with `base` and `int8` (version 1 and 2), and how a run is judged in it."""
    (tmp_path / "config.json").write_text("{}", "utf-8")
    store = MemoryStore()
    monkeypatch.setattr("flows.judging.open_registry", lambda _: store)
    parent = store.begin("tests", "one")

    def publish(weights, wrong, of=""):
        known = evidence(weights * 64, facts(rights(500, wrong)), parent=of * 64)
        made = Publication("toy", weights, tmp_path, known, "tasks.serving", ())
        return store.publish(made, parent=parent).number

    numbers = {"base": publish("a", 10), "int8": publish("b", 5, of="a")}

    def judged(spec=SPEC, numbers=numbers):
        made = SimpleNamespace(candidates=[SimpleNamespace(name=name) for name in numbers])
        return judge(spec, None, made, numbers)

    return SimpleNamespace(store=store, publish=publish, judge=judged)


def test_what_others_publish_meanwhile_is_judged_with_the_rest(run, monkeypatch, capsys):
    record, late = run.store.record, iter([6])

    def meanwhile(*given):
        for wrong in late:
            run.publish("a", wrong)
        return record(*given)

    monkeypatch.setattr(run.store, "record", meanwhile)
    judged = run.judge()
    assert [one.decision.promote for one in judged] == [True, True]
    now = run.store.version("toy", "1")
    assert judged[0].decision.evidence == (now.evidence, "", "")
    assert "judging again" in capsys.readouterr().err


def test_a_person_who_promotes_judges_again_what_others_publish_meanwhile(
    run, monkeypatch, capsys
):
    run.judge()
    run.publish("b", 6, of="a")  # so it is to be judged again
    monkeypatch.setattr("flows.governing.open_registry", lambda _: run.store)
    grounds, late = run.store._docket.grounds, iter([7])

    def meanwhile(*given):
        for wrong in late:
            run.publish("b", wrong, of="a")
        return grounds(*given)

    monkeypatch.setattr(run.store._docket, "grounds", meanwhile)
    document, _ = governing.promote("toy/2", None, None)
    assert document["version"] == run.store.history("toy").champion == "2"
    now = run.store.version("toy", "2")
    assert run.store.decision(now).evidence[0] == now.evidence
    assert "judging again" in capsys.readouterr().err


def test_who_never_stops_publishing_is_not_waited_for(run, monkeypatch):
    record, wrong = run.store.record, iter(range(20, 40))
    monkeypatch.setattr(
        run.store, "record", lambda *a: (run.publish("a", next(wrong)), record(*a))
    )
    with pytest.raises(Renewed, match="judge it again"):
        run.judge()


def test_a_run_prefers_among_those_that_nobody_went_back_from(run, capsys):
    assert [one.name for one in promote(SPEC, None, run.judge()) if one.promoted] == ["int8"]
    (base, _) = run.judge()
    run.store.promote(base.version, base.decision, expected_champion="2", by="ann")
    run.store.rollback("toy", by="ann", note="too slow")
    run.store.rollback("toy", to="1", by="ann")  # so int8 was gone back from, and base was not
    done = promote(SPEC, None, run.judge())
    assert [one.name for one in done if one.promoted] == ["base"]
    assert run.store.resolve("toy", "champion").number == "1"
    assert "toy/2: ann went back from it to version 1" in capsys.readouterr().err


BESIDE = (
    AtLeast(measure="facts/recall", bound=0.5),
    NoWorse(measure="facts/recall", than="parent", margin=0.05),
)


@pytest.fixture
def spec():
    """A run whose policy asks only what became of the parent."""
    return SimpleNamespace(registered="toy", policy=POLICY.model_copy(update={"rules": BESIDE}))


def test_what_fell_behind_its_parent_is_not_made_again_from_a_worse_one(run, spec):
    numbers = {"base": "1", "int4": run.publish("d", 100, of="a")}
    (_, refused) = run.judge(spec, numbers)
    numbers = {"base": run.publish("c", 101), "int4": run.publish("d", 100, of="c")}
    (_, again) = run.judge(spec, numbers)
    assert refused.version.number == again.version.number
    assert not refused.decision.promote
    assert not again.decision.promote
    assert again.decision.parent == "a" * 64
    assert run.store.version("toy", again.version.number).tags["assay.parent"] == "a" * 64


def test_what_once_was_published_as_its_own_parent_still_has_to_keep_up_with_its_own(run, spec):
    alone = run.publish("d", 100, of="d")
    numbers = {"base": "1", "int4": run.publish("d", 100, of="a")}
    (_, refused) = run.judge(spec, numbers)
    assert numbers["int4"] == alone
    assert refused.decision.verdict == "fail"
    assert refused.decision.parent == "a" * 64


def test_a_parent_that_is_not_the_base_of_this_run_is_said_and_shown(run, spec, capsys):
    run.publish("d", 100, of="a")
    numbers = {"base": run.publish("c", 101), "int4": run.publish("d", 100, of="c")}
    base, int4 = run.judge(spec, numbers)
    said = capsys.readouterr().err
    assert f"int4 (toy/3): these weights were first made from {'a' * 12}" in said
    assert f"not beside the base of this run, {'c' * 12}" in said
    assert "base (toy" not in said
    (before,) = candidate_report(int4).made_from
    assert before.records["wrong"].sum() == 10  # of `a`, where `c` has 101
    assert candidate_report(base).made_from == ()
