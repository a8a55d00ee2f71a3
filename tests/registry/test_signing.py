"""A key of one's own: what was written without it does not verify against it."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import date

import pytest

from audits.errors import EvidenceError, SpecError
from registry import guard, signing
from registry import seal as sealing
from registry.history import Entry, replay
from registry.mlflow_store import open_store
from registry.policy import Policy
from registry.rules import AtLeast
from registry.testing import Memory, MemoryStore, evidence, facts, rights
from registry.verifying import verify

TODAY = date(2026, 11, 24)
LAX = AtLeast(measure="facts/recall", bound=0.5)


@pytest.fixture
def signed(keys, publication, judge):
    """A registry whose one version was judged and promoted with the key."""
    store = MemoryStore(key=keys[0])
    promoted(store, publication, judge)
    return store


def promoted(store, publication, judge, weights="a" * 64, wrong=5):
    version = store.publish(
        publication(evidence(weights, facts(rights(500, wrong)))),
        parent=store.begin("tests", "one"),
    )
    before = store.resolve("toy", "champion")
    known = store.evidence("toy", before.number) if before else None
    decision = judge(store, version, known)
    number = before.number if before else None
    return store.promote(version, decision, expected_champion=number)


def problems(store, key=None, which="champion"):
    return verify(store, "toy", which, today=TODAY, key=key).problems


def test_a_signature_vouches_for_one_text_under_one_name_by_one_key(keys, tmp_path, key_pair):
    private, public = keys
    signature = signing.sign("seal.json", "text", private)
    assert len(signature) < 5000  # a tag of a registered model holds no more
    assert signing.flaw("seal.json", "text", signature, public) == ""
    other = key_pair(tmp_path, "other")[1]
    for said in (
        signing.flaw("seal.json", "texts", signature, public),
        signing.flaw("head.json", "text", signature, public),
        signing.flaw("seal.json", "text", signature, other),
        signing.flaw("seal.json", "text", signature[:-9], public),
        signing.flaw("seal.json", "text", "{}", public),
    ):
        assert "does not fit it" in said
    assert signing.flaw("seal.json", "text", "", public) == "it is not signed"


def test_a_key_that_is_none_is_refused_with_a_remedy(keys, tmp_path):
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("rubbish", "utf-8")
    with pytest.raises(SpecError, match="there is no such key file"):
        signing.sign("a", "b", tmp_path / "absent")
    with pytest.raises(SpecError, match="elliptic-curve private key as PEM"):
        signing.sign("a", "b", rubbish)
    signature = signing.sign("a", "b", keys[0])
    with pytest.raises(SpecError, match="elliptic-curve public key as PEM"):
        signing.flaw("a", "b", signature, rubbish)


def test_without_the_library_a_key_is_refused_with_what_to_install(keys, monkeypatch):
    monkeypatch.setitem(sys.modules, "model_signing.signing", None)
    with pytest.raises(SpecError, match=r"pip install 'slm-assay\[sign\]'"):
        signing.sign("a", "b", keys[0])


def test_signing_and_verifying_reach_for_no_network(keys):
    code = (
        "import socket, sys, pathlib\n"
        "def refuse(*_, **__): raise SystemExit('reached for the network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from registry import signing\n"
        "private, public = map(pathlib.Path, sys.argv[1:])\n"
        "print(repr(signing.flaw('a', 'b', signing.sign('a', 'b', private), public)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, keys)], capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.returncode) == ("''", 0), done.stderr


def test_what_is_signed_verifies_with_its_key_and_no_other(signed, keys, tmp_path, key_pair):
    assert problems(signed, keys[1]) == ()
    assert problems(signed) == ()
    seal, history = problems(signed, key_pair(tmp_path, "other")[1])
    assert "its seal does not verify: its signature does not fit it and other.pub" in seal
    assert "the history of toy does not verify" in history


def test_a_registry_opened_with_a_key_signs_what_it_keeps(
    empty_registry, keys, publication, judge, tmp_path
):
    shutil.copyfile(empty_registry, tmp_path / "assay.db")
    store = open_store(f"sqlite:///{tmp_path}/assay.db", key=keys[0])
    promoted(store, publication, judge)
    fresh = open_store(f"sqlite:///{tmp_path}/assay.db")
    assert problems(fresh, keys[1]) == ()


def test_what_is_unsigned_says_so_and_fails_where_a_key_is_given(publication, judge, keys):
    store = MemoryStore()
    promoted(store, publication, judge)
    found = verify(store, "toy", "champion", today=TODAY)
    assert found.ok
    assert [c.said for c in found.checks if "sign" in c.name] == [
        "unsigned: whoever can write to the registry can rewrite it as a whole"
    ] * 2
    seal, history = problems(store, keys[1])
    assert "its seal does not verify: it is not signed" in seal
    assert "the history of toy does not verify: it is not signed" in history


def test_a_removed_or_altered_signature_is_named(signed, keys):
    folder = signed.snapshot("toy", "1").folder
    for path in (folder / "seal.sig", *folder.glob("seals/*.sig")):
        whole = path.read_text("utf-8")
        path.write_text(whole[:-5], "utf-8")
        assert any("seal.sig and seals/" in p for p in problems(signed, keys[1]))
        path.unlink()
        assert any("seal.sig and seals/" in p for p in problems(signed))
        path.write_text(whole, "utf-8")
    for path in (folder / "seal.sig", *folder.glob("seals/*.sig")):
        path.unlink()
    assert any(
        "its seal does not verify: it is not signed" in p for p in problems(signed, keys[1])
    )


@pytest.mark.parametrize("value", ["", "{}", "[]", "1", '{"head": "", "signature": ""}'])
def test_a_removed_signature_of_the_head_is_named(signed, keys, value):
    signed.memory.mark("toy", "assay.signed", value)
    (said,) = problems(signed, keys[1])
    assert "the history of toy does not verify: it is not signed" in said


def test_a_history_written_anew_without_the_key_is_caught(signed, keys, publication, judge):
    """Everything is consistent again, seals, anchors and aliases; only the key is missing."""
    forger = MemoryStore(Memory())
    promoted(forger, publication, judge, wrong=6)
    forged, real = forger.memory, signed.memory
    for number, text in forged.entries("toy"):
        assert number <= len(real.books["toy"])
        real.books["toy"][number - 1] = (number, text)
    real.tags["toy"]["assay.history"] = forged.tags["toy"]["assay.history"]
    real.versions, real.aliases = forged.versions, forged.aliases
    real.runs, real._files = forged.runs, forged._files
    assert problems(signed) == ()  # without a key nobody can tell
    seal, history = problems(signed, keys[1])
    assert "its seal does not verify: it is not signed" in seal
    assert "the head that was signed, entry 3, is not in it" in history


def test_an_older_signed_head_does_not_vouch_for_what_was_added(
    signed, keys, publication, judge
):
    promoted(MemoryStore(signed.memory), publication, judge, "b" * 64)  # without the key
    said = problems(signed, keys[1])
    assert any("entry 5, a decision of version 2 by gate, is newer" in p for p in said)
    with pytest.raises(
        EvidenceError, match=r"entry 5 .* is covered by no signature of this key"
    ):
        promoted(signed, publication, judge, "c" * 64)
    assert problems(signed, keys[1])  # nothing was signed by the way
    assert "`assay history toy --sign` with the key vouches" in " ".join(said)
    signed.vouch("toy")  # somebody looked at it
    (said,) = problems(signed, keys[1])
    assert "its seal does not verify: it is not signed; judge it again with the key" in said
    version = signed.version("toy", signed.history("toy").champion)
    judge(signed, version, signed.evidence("toy", version.number))  # comes to the same
    assert problems(signed, keys[1]) == ()


@pytest.mark.parametrize("how", ["rollback", "promotion", "decision"])
def test_whoever_has_the_key_does_not_sign_what_others_did_by_the_way(
    signed, keys, publication, judge, how, monkeypatch
):
    promoted(signed, publication, judge, "b" * 64)
    other = MemoryStore(signed.memory)
    if how == "rollback":
        other.rollback("toy", by="mallory")
    elif how == "promotion":
        promoted(other, publication, judge, "c" * 64)
    else:
        judge(other, other.version("toy", "1"), policy=Policy(name="lax", rules=(LAX,)))
    monkeypatch.setattr(guard, "SIGNING_S", 0.0)
    actions = (
        lambda: signed.approve(signed.version("toy", "2"), by="ann"),
        lambda: signed.rollback("toy", by="ann"),
        lambda: promoted(signed, publication, judge, "d" * 64),
        lambda: promoted(signed, publication, judge, "b" * 64),
    )
    for act in actions:
        with pytest.raises(EvidenceError, match="assay history toy --sign"):
            act()
    assert problems(signed, keys[1])


def forge(store, path):
    """Alter a file; seal and publish it as a run without the key can, over the same weights."""
    folder = store.snapshot("toy", "1").folder
    file = folder / path
    file.write_text("altered", "utf-8")
    chain = store.history("toy")
    real = sealing.read(folder, chain.last("1", "decision").seal)
    files = {**real.files, path: sealing.digest_of(file)}
    tags = real.tags | {"assay.verdict": ""}
    forged = real.model_copy(update={"files": files, "decision": "", "tags": tags})
    (folder / "seals" / f"{forged.digest[:12]}.json").write_text(forged.text, "utf-8")
    held = store.memory.versions["toy", "1"]
    store.memory.versions["toy", "1"] = replace(
        held, tags=held.tags | {"assay.verdict": ""}, verdict=""
    )
    entry = json.loads(chain.last("1", "decision").text) | {
        "kind": "publication", "seq": len(chain.entries) + 1, "before": chain.head,
        "seal": forged.digest, "verdict": "", "policy": "", "by": "run",
    }  # fmt: skip
    store.memory.append("toy", Entry.model_validate_json(json.dumps(entry)).text)


@pytest.mark.parametrize("path", ["model/MLmodel", "model/data/model/config.json"])
def test_a_file_of_the_model_altered_by_a_publication_is_never_judged(
    signed, keys, judge, path, monkeypatch
):
    monkeypatch.setattr(guard, "SIGNING_S", 0.0)
    forge(signed, path)
    unsigned = MemoryStore(signed.memory)
    for store in (signed, unsigned):
        for key in (None, keys[1]):
            assert any(f"{path} is not what it was first" in p for p in problems(store, key))
        with pytest.raises(EvidenceError, match="is not what it was first published as"):
            judge(store, store.version("toy", "1"), store.evidence("toy", "1"))


def test_what_others_published_over_a_judged_version_is_not_signed_by_judging_it(
    signed, keys, publication, judge, monkeypatch
):
    """Evidence that is added without the key; a run file of it may say anything."""
    monkeypatch.setattr(guard, "SIGNING_S", 0.0)
    other = MemoryStore(signed.memory)
    known = evidence("a" * 64, facts(rights(500, 4), name="more"))
    version = other.publish(publication(known), parent=other.begin("tests", "two"))
    with pytest.raises(EvidenceError, match="a publication of version 1 by run, is covered by"):
        judge(signed, version, signed.evidence("toy", "1"))
    signed.vouch("toy")
    judge(signed, signed.version("toy", "1"), signed.evidence("toy", "1"))
    assert problems(signed, keys[1]) == ()


def test_what_others_published_over_what_was_signed_and_not_yet_judged_is_not_judged(
    keys, publication, judge, monkeypatch
):
    monkeypatch.setattr(guard, "SIGNING_S", 0.0)
    store = MemoryStore(key=keys[0])
    promoted(store, publication, judge)
    bad = publication(evidence("b" * 64, facts(rights(500, 300))))
    version = store.publish(bad, parent=store.begin("tests", "two"))
    other = MemoryStore(store.memory)
    good = publication(evidence("b" * 64, facts(rights(500, 4))))
    other.publish(good, parent=other.begin("tests", "three"))
    with pytest.raises(EvidenceError, match="a publication of version 2 by run, is covered by"):
        judge(store, version, store.evidence("toy", "1"))
    assert store.unsigned("toy") == (store.history("toy").entries[-1].seq,)


def test_what_others_write_in_between_is_not_signed(signed, keys, publication, judge):
    promoted(signed, publication, judge, "b" * 64)
    other = MemoryStore(signed.memory)
    point, done = signed.memory.point, []

    def late(name, alias, number):
        point(name, alias, number)
        if alias == "champion" and not done:
            done.append(number)
            judge(other, other.version("toy", "1"), policy=Policy(name="lax", rules=(LAX,)))

    signed.memory.point = late
    promoted(signed, publication, judge, "c" * 64)
    last = signed.history("toy").entries[-1]
    assert (last.kind, last.version) == ("decision", "1")
    assert signed.signed_head("toy")[0].startswith(f"{last.seq - 1} ")
    assert any(
        f"entry {last.seq}, a decision of version 1" in p for p in problems(signed, keys[1])
    )


@pytest.mark.parametrize("value", ["", "{}", '{"head": "%s", "signature": "x"}'])
def test_a_head_whose_signature_was_taken_away_is_not_signed_again(signed, keys, value):
    anchor = signed.history("toy").anchor
    signed.memory.mark("toy", "assay.signed", value % anchor if "%" in value else value)
    with pytest.raises(EvidenceError, match="is covered by no signature of this key"):
        signed.approve(signed.version("toy", "1"), by="ann")


def test_a_history_is_signed_only_with_a_key_and_only_where_it_follows_the_rules(signed):
    other = MemoryStore(signed.memory)
    with pytest.raises(SpecError, match="ASSAY_SIGNING_KEY"):
        other.vouch("toy")
    last = signed.history("toy").entries[-1]
    forged = json.loads(last.text) | {
        "seq": last.seq + 1,
        "before": last.digest,
        "kind": "rollback",
    }
    forged["replaces"] = "7"
    signed.memory.append("toy", Entry.model_validate_json(json.dumps(forged)).text)
    signed.memory.mark("toy", "assay.history", "")
    with pytest.raises(EvidenceError, match="it is forged"):
        signed.vouch("toy")


def test_a_publication_forged_over_altered_weights_verifies_for_nobody(signed, keys):
    """Weights, a seal of them on the shelf, an entry that refers to it: it takes no key."""
    folder = signed.snapshot("toy", "1").folder
    file = folder / "model/data/model/config.json"
    file.write_text('{"altered": 1}', "utf-8")
    chain = signed.history("toy")
    real = sealing.read(folder, chain.last("1", "decision").seal)
    for weights in ("f" * 64, real.weights):
        files = {**real.files, "model/data/model/config.json": sealing.digest_of(file)}
        tags = {k: v for k, v in real.tags.items() if k != "assay.verdict"}
        forged = real.model_copy(
            update={"weights": weights, "files": files, "decision": "", "tags": tags}
        )
        (folder / "seals" / f"{forged.digest[:12]}.json").write_text(forged.text, "utf-8")
        held = signed.memory.versions["toy", "1"]
        signed.memory.versions["toy", "1"] = replace(held, tags=tags, verdict="")
        entry = json.loads(chain.last("1", "decision").text) | {
            "kind": "publication", "seq": len(chain.entries) + 1, "before": chain.head,
            "weights": weights, "seal": forged.digest, "verdict": "", "policy": "",
        }  # fmt: skip
        book = list(signed.memory.books["toy"])
        signed.memory.append("toy", Entry.model_validate_json(json.dumps(entry)).text)
        for key in (None, keys[1]):
            said = problems(signed, key)
            assert any("evidence was added since" in p for p in said), said
        signed.memory.books["toy"] = book
        signed.memory.versions["toy", "1"] = held


def test_people_may_approve_without_the_key(signed, keys):
    MemoryStore(signed.memory).approve(signed.version("toy", "1"), by="ann")
    assert problems(signed, keys[1]) == ()


def test_the_signature_of_another_model_is_none_here(signed, keys):
    held = json.loads(signed.memory.tags["toy"]["assay.signed"])
    text = json.dumps({"model": "top", "head": held["head"]}, sort_keys=True)
    held["signature"] = signing.sign("head.json", text, keys[0])
    signed.memory.mark("toy", "assay.signed", json.dumps(held))
    (said,) = problems(signed, keys[1])
    assert "does not fit it" in said


def test_every_head_is_signed_as_it_grows(signed):
    chain = replay("toy", signed.memory.entries("toy"))
    assert signed.signed_head("toy")[0] == chain.anchor
    signed.approve(signed.version("toy", "1"), by="ann")
    assert signed.signed_head("toy")[0] == signed.history("toy").anchor
