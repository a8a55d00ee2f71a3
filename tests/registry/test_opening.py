"""A registry opens whole, or one sentence says why not."""

import shutil
import socket
from datetime import date

import pytest

from audits.errors import EvidenceError, SpecError
from registry.mlflow_store import open_store
from registry.testing import evidence, facts, rights
from registry.verifying import verify


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


def test_a_registry_may_keep_its_runs_behind_a_link_and_a_copy_of_it_writes_none(
    empty_registry, publication, publish, tmp_path
):
    home, disk, copied = (tmp_path / name for name in ("home", "disk", "copied"))
    (home / "artifacts").mkdir(parents=True)
    disk.mkdir()
    (home / "artifacts" / "runs").symlink_to(disk)
    shutil.copyfile(empty_registry, home / "assay.db")
    store = open_store(f"sqlite:///{home}/assay.db")
    publish(store, publication(evidence("a" * 64, facts(rights(500, 5)))))
    assert any(disk.iterdir())
    shutil.copytree(home, copied, symlinks=True)
    copy = open_store(f"sqlite:///{copied}/assay.db")
    with pytest.raises(EvidenceError, match="this is a copy of a registry"):
        publish(copy, publication(evidence("b" * 64, facts(rights(500, 6)))))


def test_a_registry_that_was_moved_and_left_a_link_goes_on(
    empty_registry, publication, publish, tmp_path
):
    home, moved = tmp_path / "home", tmp_path / "moved"
    home.mkdir()
    shutil.copyfile(empty_registry, home / "assay.db")
    made = publication(evidence("a" * 64, facts(rights(500, 5))))
    publish(open_store(f"sqlite:///{home}/assay.db"), made)
    home.rename(moved)
    home.symlink_to(moved)
    store = open_store(f"sqlite:///{moved}/assay.db")
    publish(store, publication(evidence("a" * 64, facts(rights(500, 6)))))
    assert len(store.history("toy").entries) == 2


def test_a_copy_of_a_registry_never_writes_into_the_original(
    empty_registry, publication, publish, judge, policy, tmp_path
):
    """The addresses of a run's files are absolute, and a copied database still has them."""
    original, copied = tmp_path / "original", tmp_path / "copied"
    original.mkdir()
    shutil.copyfile(empty_registry, original / "assay.db")
    store = open_store(f"sqlite:///{original}/assay.db")
    version = publish(store, publication(evidence("a" * 64, facts(rights(500, 5)))))
    store.promote(version, judge(store, version), expected_champion=None)
    shutil.copytree(original, copied)
    copy = open_store(f"sqlite:///{copied}/assay.db")
    lax = policy.model_copy(update={"name": "lax"})
    for write in (
        lambda: publish(copy, publication(evidence("a" * 64, facts(rights(500, 6))))),
        lambda: publish(copy, publication(evidence("b" * 64, facts(rights(500, 6))))),
        lambda: judge(copy, copy.version("toy", "1"), policy=lax),
    ):
        with pytest.raises(EvidenceError, match="this is a copy of a registry"):
            write()
    assert copy.evidence("toy", "1").subject == "a" * 64
    assert verify(store, "toy", "champion", today=date(2026, 11, 26)).ok
