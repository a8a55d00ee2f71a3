"""What is sealed is whole, known by its content, and never half there."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audits.errors import EvidenceError
from tasks.artifact import Vault, fingerprint

trees = st.dictionaries(
    st.text("abc", min_size=1, max_size=3), st.binary(max_size=8), min_size=1
)


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def seal(vault: Vault, key: str, files: dict[str, bytes]):
    content = fill(vault.work("data", key) / "content", files)
    return vault.seal(
        "dataset", content, stage="data", key=key, parents=(), facts={"seconds": 1}
    )


@settings(max_examples=50)
@given(trees, trees)
def test_equal_digests_mean_equal_content(tmp_path_factory, one, two):
    digests = [
        fingerprint(fill(tmp_path_factory.mktemp("t") / "x", tree)) for tree in (one, two)
    ]
    assert (digests[0] == digests[1]) == (one == two)


def test_a_name_cannot_pose_as_content(tmp_path):
    one = fill(tmp_path / "one", {"a": b"b"})
    two = fill(tmp_path / "two", {"ab": b""})
    assert fingerprint(one) != fingerprint(two)


def test_time_and_place_are_no_part_of_the_digest(tmp_path):
    one = fill(tmp_path / "one", {"a": b"1"})
    two = fill(tmp_path / "elsewhere" / "two", {"a": b"1"})
    os.utime(one / "a", (0, 0))
    assert fingerprint(one) == fingerprint(two)


def test_what_was_sealed_is_found_again_and_what_was_not_is_not(tmp_path):
    vault = Vault(tmp_path)
    sealed = seal(vault, "k" * 64, {"a": b"1"})
    assert vault.find("data", "k" * 64) == sealed
    assert vault.find("data", "x" * 64) is None
    assert vault.facts(sealed) == {"seconds": 1}


def test_a_moved_root_still_finds_its_artifacts(tmp_path):
    seal(Vault(tmp_path / "old"), "k" * 64, {"a": b"1"})
    (tmp_path / "old").rename(tmp_path / "new")
    found = Vault(tmp_path / "new").find("data", "k" * 64)
    assert found is not None
    assert (found.folder / "a").read_bytes() == b"1"


def test_altered_content_does_not_verify(tmp_path):
    vault = Vault(tmp_path)
    sealed = seal(vault, "k" * 64, {"a": b"1"})
    vault.verify(sealed)
    (sealed.folder / "a").write_bytes(b"2")
    with pytest.raises(EvidenceError, match="differs from its sealed digest"):
        vault.verify(sealed)


def test_a_stage_killed_before_sealing_leaves_nothing_in_the_root(tmp_path):
    vault = Vault(tmp_path)
    fill(vault.work("data", "k" * 64) / "content", {"half": b"1"})
    assert vault.find("data", "k" * 64) is None
    assert not (tmp_path / "sealed").exists()
