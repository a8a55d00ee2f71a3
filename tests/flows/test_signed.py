"""With a key of one's own, a rewritten registry does not verify."""

import json
import sqlite3

import pytest

NAME = "signed"


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Two pairs of elliptic-curve keys as PEM files: private, public, and another public."""
    pytest.importorskip("model_signing")
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("keys")
    for name in ("mine", "other"):
        key = ec.generate_private_key(ec.SECP256R1())
        (folder / f"{name}.pem").write_bytes(
            key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
        )
        (folder / f"{name}.pub").write_bytes(
            key.public_key().public_bytes(
                form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo
            )
        )
    return folder


@pytest.fixture(scope="module")
def signed(again, tiny, keys):
    said = again(
        "run", tiny, "--json", "--set", f"registered_model={NAME}",
        ASSAY_SIGNING_KEY=str(keys / "mine.pem"),
    )  # fmt: skip
    assert said.code == 0, said.err
    return said


def test_what_was_signed_verifies_with_its_key_and_with_no_other(signed, here, keys, ask_json):
    assert here("verify", NAME, "--key", keys / "mine.pub")[0] == 0
    code, out, _ = here("verify", NAME, "--key", keys / "other.pub")
    assert code == 4
    assert "BAD signature" in out
    assert "BAD signed history" in out
    assert ask_json("verify", NAME)["verified"]


def test_unsigned_is_stated_and_with_a_key_it_does_not_verify(again, here, keys):
    code, out, _ = here("verify", "tiny")
    assert code == 0
    assert "unsigned" in out
    assert here("verify", "tiny", "--key", keys / "mine.pub")[0] == 4


def test_a_run_with_the_key_adds_evidence_and_signs_it(signed, again, tiny, keys, ask_json):
    said = again(
        "run", tiny, "--set", f"registered_model={NAME}", "--set", "evaluate.limit=2",
        ASSAY_SIGNING_KEY=str(keys / "mine.pem"),
    )  # fmt: skip
    assert "no signature of this key" not in said.err + said.out
    assert said.code in (0, 1), said.err
    assert ask_json("verify", NAME, "--key", keys / "mine.pub")["verified"]


def test_terminal_codes_in_an_entry_hide_nothing(signed, again, here):
    """Whoever is told to look at the history sees every row of it."""
    from registry.history import Entry
    from registry.mlflow_store import open_store

    name, escape = "hidden", "gate\x1b[2K\x1b[1A\x1b[2K"
    store = open_store(f"sqlite:///{again.home / 'mlflow.db'}", again.home)
    store._backend._client.create_registered_model(name)
    entry = Entry(
        seq=1, at="2026-11-24T00:00:00Z", kind="approval", model=name, version="1",
        weights="a" * 64, evidence="e" * 64, by=escape, before="",
    )  # fmt: skip
    store._backend.append(name, entry.text)
    code, out, _ = here("history", name)
    assert code == 0
    assert "\x1b" not in out
    assert "gate" in out


def test_an_entry_rewritten_in_the_database_shows(signed, again, here, keys):
    with sqlite3.connect(again.home / "mlflow.db") as database:
        where = f"name = '{NAME}.history' and version = 1"
        ((text,),) = database.execute(
            f"select description from model_versions where {where}"
        ).fetchall()
        database.execute(
            f"update model_versions set description = ? where {where}",
            [json.dumps(json.loads(text) | {"note": "nothing happened"})],
        )
    code, out, _ = here("verify", NAME, "--key", keys / "mine.pub")
    assert code == 4
    assert "altered" in out
