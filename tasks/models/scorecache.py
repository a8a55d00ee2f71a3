"""What models answered before: one SQLite file that runs share, bounded, never wrong.

A cache may forget, and it can be done without; it must not answer another question. So each
row carries a checksum, a damaged file is set aside, and whatever else the disk has against
us ends in one line on stderr and in computing anew.
"""

import re
import sqlite3
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from filelock import BaseFileLock

MOST_BYTES = 2**30
"""What the file and its journal may take on disk, some nine million short answers. A damaged
file that was set aside may take as much again."""
ROWS = 10_000
"""Answers written in one transaction."""
KEYS = 900
"""Keys looked up in one statement; older SQLite takes 999."""
PATIENCE_S = 60.0
"""How long to wait for another process that writes."""

_PAGE = 4096
_ROW = 100
"""Bytes of a row that are not its value, index included."""
_DAMAGED = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
"""What SQLite says of a file that is not the one we wrote: our own statements are right."""
_NAME = re.compile(r"scores-(\d+)\.sqlite")
_SCHEMA = """CREATE TABLE IF NOT EXISTS answer
(id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, value BLOB NOT NULL, crc INTEGER NOT NULL)
"""

Row = tuple[bytes, bytes, int]
Got = TypeVar("Got")


class _DamagedRowError(Exception):
    """A value is not the one that was written."""


class ScoreCache:
    """Values by key, in a folder that any number of processes of a machine may use at once.

    Writers wait for one another and readers for nobody (write-ahead log); a killed process
    leaves whole transactions. The oldest answers leave first. Damaged files are never renamed
    or overwritten, for others may hold them open: the next one is begun beside them, and the
    highest number counts.
    """

    def __init__(
        self,
        folder: Path,
        *,
        most_bytes: int = MOST_BYTES,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.folder, self.most_bytes = folder, most_bytes
        self._say = say or _to_stderr
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._file = folder
        self._off = False

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values of those keys that are known."""
        return self._attempt(lambda db: _read(db, keys), {})

    def put(self, values: Mapping[bytes, bytes]) -> None:
        """Keep values; a key that is known keeps the value it has."""
        for rows in _transactions(values, self.most_bytes // 8):
            self._attempt(lambda db, rows=rows: self._write(db, rows), None)  # type: ignore[misc]  # bound now

    def close(self) -> None:
        """Let go of the file; the next question opens it again."""
        with self._lock:
            self._drop()

    def _attempt(self, work: Callable[[sqlite3.Connection], Got], otherwise: Got) -> Got:
        """What `work` gives, or `otherwise` where the disk does not play along."""
        with self._lock:
            for _ in range(2):
                if self._off:
                    break
                try:
                    return work(self._open())
                except (sqlite3.Error, _DamagedRowError, OSError) as error:
                    self._react(error)
        return otherwise

    def _react(self, error: Exception) -> None:
        """Begin anew where the file is damaged; do without it where something else is."""
        self._drop()
        code = getattr(error, "sqlite_errorcode", None)
        foreign = code is not None and code & 0xFF in _DAMAGED
        if foreign or isinstance(error, _DamagedRowError):
            with suppress(OSError):
                self._set_aside()
                self._say(
                    f"score cache: {self._file} is damaged and set aside; a new one begins"
                )
                return
        self._off = True
        self._say(f"score cache: {self.folder} cannot be used ({error}); all is computed anew")

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Two processes that switch a new file to WAL together do not wait for each other.
            with self._alone():
                self._file = self.folder / f"scores-{max(self._numbers(), default=1)}.sqlite"
                self._db = self._connect()
        return self._db

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self._file, timeout=PATIENCE_S, isolation_level=None, check_same_thread=False
        )
        try:
            pages = self.most_bytes // _PAGE
            db.execute(f"PRAGMA page_size={_PAGE}")
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute(f"PRAGMA wal_autocheckpoint={max(1, min(1000, pages // 16))}")
            db.execute(f"PRAGMA journal_size_limit={self.most_bytes // 8}")
            db.execute(_SCHEMA)
        except BaseException:
            db.close()
            raise
        return db

    def _write(self, db: sqlite3.Connection, rows: Sequence[Row]) -> None:
        db.execute("BEGIN IMMEDIATE")
        try:
            self._make_room(db, rows)
            db.executemany(
                "INSERT OR IGNORE INTO answer (key, value, crc) VALUES (?, ?, ?)", rows
            )
            db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise

    def _make_room(self, db: sqlite3.Connection, rows: Sequence[Row]) -> None:
        """Let the oldest answers go; a quarter of the room is the journal's."""
        needed = sum(len(value) + _ROW for _, value, _ in rows) // _PAGE * 2 + 2
        room = self.most_bytes // _PAGE * 3 // 4
        while _used(db) + needed > room:
            oldest = "SELECT id FROM answer ORDER BY id LIMIT ?"
            gone = db.execute(f"DELETE FROM answer WHERE id IN ({oldest})", [2 * len(rows)])
            if not gone.rowcount:
                return

    def _set_aside(self) -> None:
        """Begin the next file, unless another process has; only the last damaged one stays."""
        with self._alone():
            numbers, mine = self._numbers(), int(_NAME.fullmatch(self._file.name)[1])  # type: ignore[index]  # ours
            if max(numbers, default=0) <= mine:
                (self.folder / f"scores-{mine + 1}.sqlite").touch()
            for old in (n for n in numbers if n < mine):
                for ending in ("", "-wal", "-shm"):
                    (self.folder / f"scores-{old}.sqlite{ending}").unlink(missing_ok=True)

    def _numbers(self) -> list[int]:
        names = (_NAME.fullmatch(file.name) for file in self.folder.iterdir())
        return [int(name[1]) for name in names if name]

    def _alone(self) -> "BaseFileLock":
        from filelock import FileLock

        return FileLock(self.folder / "lock", timeout=PATIENCE_S)

    def _drop(self) -> None:
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
            self._db = None


@cache
def opened(folder: Path) -> ScoreCache:
    """The cache in a folder: one for this process, however many stages ask for it."""
    return ScoreCache(folder)


def _read(db: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for start in range(0, len(keys), KEYS):
        some = keys[start : start + KEYS]
        marks = ",".join("?" * len(some))
        asked = f"SELECT key, value, crc FROM answer WHERE key IN ({marks})"
        for key, value, crc in db.execute(asked, some):
            if not isinstance(value, bytes) or _crc(key, value) != crc:
                raise _DamagedRowError
            found[key] = value
    return found


def _transactions(values: Mapping[bytes, bytes], most_bytes: int) -> Iterator[list[Row]]:
    """Rows in the order of their keys (a page of the index is written once), a few at a time.

    A value too large for that is not kept.
    """
    rows: list[Row] = []
    size = 0
    for key, value in sorted(values.items()):
        more = len(value) + _ROW
        if more > most_bytes:
            continue
        if len(rows) == ROWS or size + more > most_bytes:
            yield rows
            rows, size = [], 0
        rows.append((key, value, _crc(key, value)))
        size += more
    if rows:
        yield rows


def _used(db: sqlite3.Connection) -> int:
    """Pages that hold something."""
    [[pages]], [[free]] = db.execute("PRAGMA page_count"), db.execute("PRAGMA freelist_count")
    return int(pages) - int(free)


def _crc(key: bytes, value: bytes) -> int:
    return zlib.crc32(value, zlib.crc32(key))


def _to_stderr(sentence: str) -> None:
    from tqdm import tqdm

    tqdm.write(sentence, file=sys.stderr)  # leaves bars whole
