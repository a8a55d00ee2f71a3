"""A disk that takes no more is one sentence with its place, and leaves nothing half-written."""

import errno
import sqlite3
import sys
from contextlib import suppress
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audits.errors import EvidenceError, NoRoom, SpecError, StageError
from tasks import stages
from tasks.artifact import Vault
from tasks.room import lacking, writing
from tasks.stages import TABLE, Row
from tasks.train import CheckpointSettings

MB = 1024 * 1024
PAGE = 4096


class LibraryError(Exception):
    """What a library that knows no OSError raises."""


def writes(settings, job):
    """A stage that writes three megabytes, and hides why it could not."""
    try:
        with (job.out / "weights").open("wb") as stream:
            for _ in range(3):
                stream.write(bytes(MB))
                stream.flush()
    except OSError:
        raise LibraryError("the library does not say why") from None


@pytest.fixture
def perform(monkeypatch):
    """Performs, in an artifact root, a stage of our own under the name of one in the table."""
    monkeypatch.setitem(
        TABLE, "checkpoint",
        Row("model", "own_stage:writes", "tasks.train:CheckpointSettings", 1, metered=False),
    )  # fmt: skip
    module = ModuleType("own_stage")
    module.writes = writes
    monkeypatch.setitem(sys.modules, "own_stage", module)
    return lambda root: stages.perform(wanted(root))


def wanted(root):
    return stages.call("checkpoint", CheckpointSettings(path="./m"), {}, root=root)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        LibraryError("I/O error: No space left on device (os error 28)"),
        sqlite3.OperationalError("database or disk is full"),
        StageError("the stage failed", OSError(errno.ENOSPC, "")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_full_disk_is_named_whoever_speaks_of_it(tmp_path, error):
    if isinstance(error, StageError):
        error.__cause__ = error.args[1]
    with (
        pytest.raises(NoRoom, match=r"its disk takes no more .* make room there") as told,
        writing(tmp_path),
    ):
        raise error
    assert told.value.exit_code == 3


def test_a_limit_of_one_file_is_told_as_such_and_only_by_its_number(tmp_path):
    error = OSError(errno.EFBIG, "File too large", str(tmp_path / "model"))
    assert str(lacking(tmp_path, error)).startswith(f"{tmp_path}: a file may not grow")
    assert lacking(tmp_path, RuntimeError("server answered 413: File too large")) is None
    assert lacking(tmp_path, RuntimeError("warning: the remote's disk is full")) is None


def test_the_place_is_that_of_the_file_which_could_not_be_written(tmp_path):
    elsewhere = tmp_path / "other" / "file"
    error = OSError(errno.ENOSPC, "No space left on device", str(elsewhere))
    assert str(lacking(tmp_path / "home", error)).startswith(f"{elsewhere.parent}: its disk")
    copying = OSError(errno.ENOSPC, "No space left on device", "/from/a", None, str(elsewhere))
    assert str(lacking(tmp_path / "home", copying)).startswith(f"{elsewhere.parent}: its disk")


def test_what_may_not_be_written_is_named_where_it_is_ours(tmp_path):
    shut = OSError(errno.EROFS, "Read-only file system", str(tmp_path / "x"))
    assert f"{tmp_path}: may not be written (read-only file" in str(lacking(tmp_path, shut))
    elsewhere = OSError(errno.EROFS, "Read-only file system", "/proc/x")
    unread = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "x"))
    assert lacking(tmp_path, elsewhere) is None
    assert lacking(tmp_path, unread) is None  # for the folder can be written
    locked = sqlite3.OperationalError("attempt to write a readonly database")
    assert str(lacking(tmp_path, locked)).startswith(f"{tmp_path}: may not be written")


@given(st.sampled_from([SpecError, EvidenceError, StageError, ValueError, RuntimeError]),
       st.text(alphabet="abc ", max_size=9))  # fmt: skip
def test_any_other_error_passes_as_it_is(tmp_path_factory, kind, words):
    error = kind(words)
    with pytest.raises(kind) as told, writing(tmp_path_factory.getbasetemp()):
        raise error
    assert told.value is error


def test_an_error_that_does_not_tell_is_asked_by_writing(disk):
    folder = disk.mount("1m")
    (folder / "fills").write_bytes(bytes(MB))
    error = LibraryError("llama.cpp said nothing")
    assert "its disk takes no more (0.0 MB are free)" in str(lacking(folder, error))
    assert lacking(folder, SpecError("seed: unknown key")) is None  # it knows its reason


def test_a_disk_that_may_only_be_read_is_named(disk, perform):
    folder = disk.mount("1m")
    disk.mount("1m", "ro")
    refused = pytest.raises(NoRoom, match=r"may not be written \(read-only file system\)")
    with refused, writing(folder):
        perform(folder / "home")


def test_a_stage_that_fills_the_disk_leaves_nothing_and_is_made_once_there_is_room(
    disk, perform
):
    folder = disk.mount("1m")
    with pytest.raises(NoRoom, match="its disk takes no more"):
        perform(folder)
    assert Vault(folder).find("checkpoint", wanted(folder).key) is None
    assert not list(folder.rglob("content"))
    disk.mount("8m")
    made = perform(folder)
    Vault(folder).verify(made)
    assert (made.folder / "weights").stat().st_size == 3 * MB


@given(pages=st.integers(1, 14))
@settings(
    max_examples=14, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_wherever_sealing_runs_out_of_room_it_is_whole_or_not_there(disk, pages):
    folder = disk.mount(pages * PAGE)
    try:
        vault, key = Vault(folder), "k" * 64
        with suppress(OSError):
            (folder / "made").mkdir()
            (folder / "made" / "a").write_bytes(bytes(PAGE))
            vault.seal(
                "dataset", folder / "made", stage="data", key=key, parents=(),
                facts={"long": "x" * 5 * PAGE},
            )  # fmt: skip
        found = vault.find("data", key)
        assert (found is not None) == (folder / "sealed" / "data" / key[:32]).is_dir()
        if found is not None:
            assert len(str(vault.facts(found)["long"])) == 5 * PAGE
        assert not list(folder.glob("work/sealing-*"))
    finally:
        disk.end()
