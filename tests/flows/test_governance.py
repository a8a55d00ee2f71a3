"""What may be done with a champion, by whom, and what shows when it was done otherwise."""

import json
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from registry.mlflow_store import open_store

NAME = "governed"
FLOOR = {"kind": "at_most", "measure": "evaluate/bits_per_byte/heldout", "bound": 20}
PARENT = {
    "kind": "no_worse", "measure": "evaluate/bits_per_byte/heldout", "than": "parent",
    "margin": 0.01,
}  # fmt: skip


@pytest.fixture(scope="module")
def governed(again, tiny):
    """The tiny run under a name of its own: base 1, int8 2 (champion), pruned80 3 (refused)."""
    said = again("run", tiny, "--json", "--set", f"registered_model={NAME}")
    assert said.code == 0, said.err
    return {c["name"]: c["version"] for c in said.document["candidates"]}


@pytest.fixture
def policy(tmp_path):
    def write(*rules, **rest):
        file = tmp_path / "policy.yaml"
        file.write_text(yaml.safe_dump({"name": "asked", "rules": list(rules)} | rest))
        return file

    return write


def champion(again):
    ((number,),) = again.champion(NAME)
    return str(number)


def test_a_promoted_version_verifies_and_its_history_says_how_it_came_about(
    governed, here, ask_json
):
    said = ask_json("verify", NAME)
    assert (said["verified"], said["version"]) == (True, governed["int8"]), said
    told = ask_json("history", NAME)
    assert told["champion"] == governed["int8"]
    kinds = ["publication", "decision"]
    assert [e["kind"] for e in told["entries"]] == [k for k in kinds for _ in "123"] + [
        "promotion"
    ]
    verdicts = {e["version"]: e["verdict"] for e in told["entries"]}
    assert verdicts[governed["pruned80"]] == "fail"
    code, out, _ = here("history", NAME)
    assert code == 0
    assert out.strip().endswith(f"champion {governed['int8']}")


def test_a_worse_version_is_refused_by_hand_as_by_the_run(governed, here, again):
    code, _, err = here("promote", f"{NAME}/{governed['pruned80']}")
    assert code == 1
    assert "worse than the parent" in err
    assert champion(again) == governed["int8"]


def test_too_few_examples_are_inconclusive_and_say_how_many_would_do(
    governed, here, again, policy
):
    store = open_store(f"sqlite:///{again.home / 'mlflow.db'}", again.home)
    measure = "evaluate/acc/world_choice"
    known = store.evidence(NAME, governed["base"]).measures()[measure].value
    file = policy(FLOOR, {"kind": "at_least", "measure": measure, "bound": known - 0.02})
    code, _, err = here("promote", f"{NAME}/{governed['base']}", "--policy", file)
    assert code == 1
    assert "cannot be decided" in err
    assert "examples would settle it" in err


def test_approving_one_version_approves_no_other(governed, here, again, policy, ask_json):
    file = policy(FLOOR, {"kind": "approved"})
    base, int8 = (f"{NAME}/{governed[n]}" for n in ("base", "int8"))
    code, _, err = here("promote", base, "--policy", file)
    assert (code, "nobody has approved" in err) == (1, True)
    assert here("approve", base, "--by", "ann", "--note", "read the report")[0] == 0
    assert here("promote", int8, "--policy", file)[0] == 1
    assert here("promote", base, "--policy", file)[0] == 0
    assert champion(again) == governed["base"]
    assert ask_json("verify", NAME)["verified"]
    code, out, _ = here("rollback", NAME, "--by", "ann", "--note", "too large")
    assert code == 0, out
    assert champion(again) == governed["int8"]
    kinds = [e["kind"] for e in ask_json("history", NAME)["entries"]]
    assert kinds.count("approval") == 1
    assert kinds[-1] == "rollback"
    assert ask_json("verify", NAME)["verified"]


def test_a_tag_set_in_the_ui_approves_what_its_digest_says(
    governed, here, again, policy, ask_json
):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{again.home / 'mlflow.db'}")
    file = policy(FLOOR, {"kind": "approved", "by": ["bob"]})
    number = governed["int8"]
    weights = client.get_model_version(NAME, number).tags["assay.weights"]
    other = client.get_model_version(NAME, governed["base"]).tags["assay.weights"]
    client.set_model_version_tag(NAME, number, "assay.approval.bob", other[:12])
    assert here("promote", f"{NAME}/{number}", "--policy", file)[0] == 1
    client.set_model_version_tag(NAME, number, "assay.approval.bob", f"{weights[:12]} fine")
    assert here("promote", f"{NAME}/{number}", "--policy", file)[0] == 0
    said = [e for e in ask_json("history", NAME)["entries"] if e["by"] == "bob"]
    assert [(e["kind"], e["version"], e["note"]) for e in said] == [
        ("approval", number, "by a tag: fine")
    ]


def test_whoever_deploys_brings_the_head_and_the_policy(
    governed, here, again, policy, ask_json, tmp_path
):
    head = tmp_path / "kept" / "head.json"
    code, out, _ = here("verify", NAME, "--head", head)
    assert code == 0, out
    first = head.read_text("utf-8")
    assert json.loads(first)["head"] == ask_json("verify", NAME)["head"]
    assert here("approve", f"{NAME}/{governed['base']}", "--by", "cyd")[0] == 0
    assert here("verify", NAME, "--head", head)[0] == 0
    later = head.read_text("utf-8")
    assert later != first  # brought up
    seq, _, digest = json.loads(later)["head"].partition(" ")
    head.write_text(later.replace(f"{seq} {digest}", f"{int(seq) + 1} {digest}"), "utf-8")
    code, out, _ = here("verify", NAME, "--head", head)  # as if the registry was set back
    assert code == 4
    assert "head.json remembers entry" in out
    assert f"{int(seq) + 1} {digest}" in head.read_text("utf-8")  # and stays as it was
    for text in ("", "[]", later.replace(NAME, "other")):
        head.write_text(text, "utf-8")
        code, _, err = here("verify", NAME, "--head", head)
        assert code == 2
        assert "--head" in err
    code, out, _ = here("verify", NAME, "--policy", policy(FLOOR | {"bound": 30}))
    assert code == 4
    assert "BAD policy" in out


@pytest.mark.parametrize(("days", "code"), [(-1, 1), (30, 0)])
def test_a_waiver_carries_a_version_until_it_lapses(
    governed, here, again, policy, ask_json, days, code
):
    expires = (datetime.now(UTC).date() + timedelta(days=days)).isoformat()
    rule = "evaluate/bits_per_byte/heldout no worse than parent by 0.01"
    waiver = {"rule": rule, "owner": "ann", "reason": "a demo", "expires": expires}
    file = policy(FLOOR, PARENT, waivers=[waiver])
    pruned = f"{NAME}/{governed['pruned80']}"
    said, out, err = here("promote", pruned, "--policy", file)
    assert said == code, err
    if days < 0:
        assert f"the waiver of ann lapsed on {expires}" in err
        return
    assert f"1 waived ({rule}: ann, until {expires}: a demo)" in out
    assert champion(again) == governed["pruned80"]
    assert ask_json("verify", NAME)["verified"]
    (promotion,) = ask_json("history", NAME)["entries"][-1:]
    assert promotion["waivers"] == [f"{rule}: ann, until {expires}: a demo"]
    assert here("rollback", NAME, "--by", "ann")[0] == 0


def test_an_alias_moved_by_hand_is_caught_and_stops_every_promotion(
    governed, here, again, tmp_path
):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{again.home / 'mlflow.db'}")
    right, wrong = governed["int8"], governed["base"]
    client.set_registered_model_alias(NAME, "champion", wrong)
    code, out, _ = here("verify", NAME)
    assert code == 4
    assert "BAD aliases" in out
    for command in (
        ("promote", f"{NAME}/{right}"),
        ("export", f"{NAME}@champion", "--out", tmp_path / "out"),
        ("report", f"{NAME}@champion", "--out", tmp_path / "x.html"),
        ("rollback", NAME, "--by", "ann"),
    ):
        code, _, err = here(*command)
        assert code == 4, command
        assert f"`assay rollback {NAME} --to {right} --by YOU` puts it back" in err
    assert not any(tmp_path.iterdir())
    assert (
        here("rollback", NAME, "--to", right, "--by", "ann", "--note", "x\n  9 forged")[0] == 0
    )
    assert here("verify", NAME)[0] == 0
    _, out, _ = here("history", NAME)
    assert f"ann: the champion alias had been moved by hand to {wrong}" in out


def test_a_history_that_lost_its_newest_entry_says_so(governed, here, again):
    database = again.home / "mlflow.db"
    change = (
        "update model_versions set current_stage = ? where name = ? and version = "
        "(select max(version) from model_versions where name = ?)"
    )
    book = f"{NAME}.history"
    for stage, code in (("Deleted_Internal", 4), ("None", 0)):
        with sqlite3.connect(database) as held:
            held.execute(change, (stage, book, book))
        said, out, _ = here("history", NAME)
        assert said == code, out
        assert ("BAD" in out, "entries were removed or altered" in out) == (code > 0,) * 2


def test_a_note_is_one_line_of_the_history(governed, here):
    note = "x\n   99  2026-11-25T21:36:00Z promotion  4  pass  gate\x1b[1A"
    assert here("approve", f"{NAME}/{governed['base']}", "--by", "eve", "--note", note)[0] == 0
    _, out, _ = here("history", NAME)
    (line,) = [row for row in out.splitlines() if "eve" in row]
    assert "promotion  4  pass" in line
    assert "\x1b" not in out


def test_a_looser_policy_promotes_and_says_who_refused_before(
    governed, here, policy, ask_json, again
):
    worse, asked = f"{NAME}/{governed['pruned80']}", ("--policy", policy(FLOOR))
    code, _, err = here("promote", worse, *asked)
    assert code == 1
    assert f"ann went back from it to version {governed['int8']}" in err
    code, out, err = here("promote", worse, *asked, "--by", "ann")
    assert code == 0, err
    assert "note: on the same evidence it failed by policy" in out
    assert ask_json("history", NAME)["entries"][-1]["note"].startswith(
        "on the same evidence it"
    )
    code, out, _ = here("verify", NAME)
    assert code == 0
    assert "it failed by policy" in out
    assert here("rollback", NAME, "--by", "ann")[0] == 0


def test_a_backtest_says_what_another_policy_would_have_decided(
    governed, here, again, policy, ask_json
):
    rows = again.rows("select count(*) from runs")
    strict = policy(FLOOR | {"bound": 0.01})
    said = {r["title"]: r for r in ask_json("policy", "backtest", strict, NAME)["versions"]}
    assert {r["now"] for r in said.values()} == {"fail"}
    assert said["int8"]["then"] == "pass"
    code, out, _ = here("policy", "backtest", policy(FLOOR), NAME)
    assert code == 0
    assert "verdicts would have been another" in out
    assert again.rows("select count(*) from runs") == rows


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["verify", "nobody"], 2, "nobody"),
        (["history", "nobody"], 2, "no such model is registered"),
        (["rollback", NAME, "--by", "ann", "--to", "99"], 1, "never was champion"),
        (["promote", f"{NAME}/99"], 2, "no such version"),
        (["promote", f"{NAME}/1", "--policy", "gone.yaml"], 2, "gone.yaml"),
        (["approve", f"{NAME}/99", "--by", "ann"], 2, "no such version"),
        (["policy", "backtest", "gone.yaml", NAME], 2, "gone.yaml"),
        (["verify", NAME, "--key", "gone.pem"], 2, "gone.pem"),
        (["verify", NAME, "--policy", "gone.yaml"], 2, "gone.yaml"),
    ],
)
def test_a_mistake_is_one_sentence(governed, here, arguments, code, words):
    said, _, err = here(*arguments)
    assert said == code, err
    assert words in err
    assert "Traceback" not in err


def test_a_store_can_be_read_by_those_who_only_have_its_address(governed, again):
    store = open_store(f"sqlite:///{again.home / 'mlflow.db'}", again.home)
    assert store.history(NAME).champion == champion(again)
