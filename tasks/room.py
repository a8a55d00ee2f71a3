"""Did it fail because nothing more can be written? Asked in one place of every library's error.

A full disk speaks through whoever wrote last: an OSError of ours, safetensors, SQLite inside
MLflow or inside Prefect's server, llama.cpp. So the error is looked through, and where it does
not tell, a little is written.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from audits.errors import EvidenceError, GateRefused, NoRoom, SpecError

FULL = (errno.ENOSPC, errno.EDQUOT)
SHUT = (errno.EROFS, errno.EACCES, errno.EPERM)
SAID = (*(os.strerror(code) for code in FULL), "database or disk is full")
"""What libraries repeat of the system's words, and what SQLite says in its own."""
SAID_SHUT = (os.strerror(errno.EROFS), "readonly database")
PROBE = 64 * 1024
"""Bytes that are written to see whether any can be: more than a header, less than a model."""
OURS = (SpecError, EvidenceError, GateRefused)
"""Errors that know their reason, unless one below them tells of the disk."""


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Say in one sentence that nothing can be written in or beside `folder`, where it is so.

    Raises:
        NoRoom: that is what an error inside came from; any other passes as it is.
    """
    try:
        yield
    except Exception as error:
        lack = lacking(folder, error)
        if lack is None or lack is error:
            raise
        raise lack from error


def lacking(folder: Path, error: Exception) -> NoRoom | None:
    """The error in a person's words, if it came from a disk that takes nothing more."""
    for one in chain(error):
        if isinstance(one, NoRoom):
            return one
        if (told := _told(folder, one)) is not None:
            return told
    if isinstance(error, OURS) or not folder.is_dir():
        return None
    try:
        _probe(folder)
    except OSError as refused:
        return _told(folder, refused)
    return None


def _told(folder: Path, error: BaseException) -> NoRoom | None:
    """What one error says of the disk, by its number or, of a library's, by its words."""
    if not isinstance(error, OSError):
        words = str(error)
        if any(said in words for said in SAID):
            return _full(_fuller(folder), folder)
        return _shut(folder, errno.EROFS) if any(s in words for s in SAID_SHUT) else None
    named, code = error.filename2 or error.filename, error.errno  # a copy: from, to
    place = Path(os.fsdecode(named)).parent if isinstance(named, str | bytes) else None
    if code in FULL:
        return _full(place or _fuller(folder), folder)
    if code == errno.EFBIG:  # by its number alone: a server says "File too large" of a request
        return _long(place or folder)
    ours = code in SHUT and place is not None and place.is_relative_to(folder)
    return _shut(place, code) if ours and place and _refuses(place, code) else None


def _refuses(place: Path, code: int | None) -> bool:
    """Whether it was writing that was refused: a file that may not be read looks the same."""
    return code == errno.EROFS or not os.access(place, os.W_OK)


def _full(place: Path, folder: Path) -> NoRoom:
    there = next(p for p in (place, *place.absolute().parents) if p.exists())
    free = shutil.disk_usage(there).free / 1e6
    home = " or let ASSAY_HOME name another disk" if place.is_relative_to(folder) else ""
    return NoRoom(
        f"{place}: its disk takes no more ({free:,.1f} MB are free); make room there{home}, "
        "and run again: what is finished stays"
    )


def _long(place: Path) -> NoRoom:
    return NoRoom(
        f"{place}: a file may not grow as long as is needed there (`ulimit -f` shows the "
        "shell's limit; some file systems have one too); raise it, and run again: what is "
        "finished stays"
    )


def _shut(place: Path, code: int | None) -> NoRoom:
    why = os.strerror(code or errno.EROFS).lower()
    return NoRoom(
        f"{place}: may not be written ({why}); mend that, or let ASSAY_HOME name another folder"
    )


def _fuller(folder: Path) -> Path:
    """Of the home and the folder of temporary files, the one on the disk with less room."""
    places = [p for p in (folder, Path(tempfile.gettempdir())) if p.is_dir()]
    return min(places, key=lambda p: shutil.disk_usage(p).free, default=folder)


def _probe(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder) as stream:
        stream.write(bytes(PROBE))
        stream.flush()


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it came from, each once."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop(0)
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
