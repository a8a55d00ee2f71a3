"""A registry opens whole, or one sentence says why not."""

import socket

import pytest

from audits.errors import EvidenceError, SpecError
from registry.mlflow_store import open_store


def test_what_a_killed_opener_left_is_no_registry_and_no_hindrance(tmp_path):
    left = tmp_path / ".mlflow.db.new"
    left.write_bytes(b"half a database")
    store = open_store(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)
    assert store.versions("any") == ()
    assert not left.exists()
    assert (tmp_path / "mlflow.db").is_file()


def test_a_file_that_is_no_database_is_named(tmp_path):
    file = tmp_path / "mlflow.db"
    file.write_bytes(b"junk" * 1000)
    with pytest.raises(EvidenceError, match="not a registry, or a damaged one") as caught:
        open_store(f"sqlite:///{file}", tmp_path)
    assert "\n" not in str(caught.value)
    assert file.read_bytes() == b"junk" * 1000


def test_a_server_that_is_not_there_is_said_at_once():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(SpecError, match="no registry answers there"):
        open_store(uri)


def test_an_address_with_a_password_is_refused_without_repeating_it():
    with pytest.raises(SpecError, match="MLFLOW_TRACKING_PASSWORD") as caught:
        open_store("https://me:secret@mlflow.example.org")
    assert "secret" not in str(caught.value)
