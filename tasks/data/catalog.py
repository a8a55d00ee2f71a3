"""The data catalog: which public sets we know, exactly which version, and where they lie."""

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from audits.errors import EvidenceError, SpecError, StageError
from audits.settings import Settings

Format = Literal["lines", "stories", "csv", "tsv", "json", "nested", "jsonl", "jsonl.gz"]

RAW = "https://raw.githubusercontent.com"
TIMEOUT_S = 60
CHUNK = 1 << 20
SHIPPED = Path(__file__).with_name("shipped")
"""Sets of the project's own, which are part of the package."""


class Entry(Settings):
    """One set: where it comes from, under which licence, and the bytes it must have."""

    name: str
    file: str
    """Path below a data folder."""
    repo: str
    revision: str
    source: str
    """Path inside the repository; a pattern where the file was joined from several."""
    licence: str
    licence_verified: bool
    sha256: str
    bytes: int
    rows: int
    """Rows as its publisher counts them (lines of text, items)."""
    format: Format
    about: str
    note: str = ""

    @property
    def fetchable(self) -> bool:
        """Whether one file of the repository is this set; joined ones must be supplied."""
        return "*" not in self.source


@cache
def entries() -> tuple[Entry, ...]:
    """Every set of the catalog, in its own order."""
    text = Path(__file__).with_name("catalog.json").read_text("utf-8")
    return TypeAdapter(tuple[Entry, ...]).validate_json(text)


def entry(name: str) -> Entry:
    """The set of this name; SpecError with the known names where there is none."""
    for found in entries():
        if found.name == name:
            return found
    known = ", ".join(e.name for e in entries())
    raise SpecError(f"{name!r} is not in the data catalog; it has: {known}")


def locate(name: str, roots: Sequence[Path]) -> Path:
    """The verified file of a set, from the first of the roots that has it.

    Args:
        name: Name in the catalog.
        roots: Data folders in order of preference (the user's, then the cache).

    Raises:
        SpecError: unknown name, or the file is in none of the roots.
        EvidenceError: the file found is not the one the catalog means.
    """
    found = find(name, roots)
    if found is not None:
        return found
    wanted = entry(name)
    looked = ", ".join(str(root) for root in roots) or "no folder at all"
    raise SpecError(
        f"data set {name!r} ({wanted.file}) is not on this machine, looked in {looked}; "
        f"{_remedy(wanted)}"
    )


def find(name: str, roots: Sequence[Path]) -> Path | None:
    """The verified file of a set from the first of the roots that has it, or None.

    Raises:
        SpecError: unknown name.
        EvidenceError: the file found is not the one the catalog means.
    """
    wanted = entry(name)
    for root in (*roots, SHIPPED):
        file = root / wanted.file
        if file.is_file():
            verify(wanted, file)
            return file
    return None


def verify(wanted: Entry, file: Path) -> None:
    """Raise EvidenceError where a file's bytes are not those of the catalog."""
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != wanted.sha256:
        raise EvidenceError(
            f"{file} is not the {wanted.name!r} of the data catalog: its sha256 is "
            f"{found[:16]}…, expected {wanted.sha256[:16]}…; remove it and fetch it again"
        )


def fetch(name: str, cache_root: Path, *, base: str = RAW) -> Path:
    """Download a set at its pinned revision into the cache, unless it is there.

    The bytes are verified before the file appears under its name.

    Raises:
        SpecError: unknown name, or the set is not a single file to download.
        StageError: the download failed.
        EvidenceError: what was downloaded differs from the catalog's checksum.
    """
    wanted = entry(name)
    if (own := find(name, ())) is not None:
        return own
    file = cache_root / wanted.file
    if file.is_file():
        verify(wanted, file)
        return file
    if not wanted.fetchable:
        raise SpecError(f"data set {name!r} cannot be fetched: {_remedy(wanted)}")
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        _download(f"{base}/{wanted.repo}/{wanted.revision}/{wanted.source}", aside, wanted)
        verify(wanted, aside)
        os.replace(aside, file)
    finally:
        aside.unlink(missing_ok=True)
    return file


def _remedy(wanted: Entry) -> str:
    if wanted.fetchable:
        return (
            f"run `assay data fetch {wanted.name}` on a connected machine, or set ASSAY_DATA "
            f"to a folder that has it"
        )
    return (
        f"join {wanted.source} of {wanted.repo} at {wanted.revision[:12]} into "
        f"{wanted.file} ({wanted.about}) and set ASSAY_DATA to the folder that has it"
    )


def _download(url: str, target: Path, wanted: Entry) -> None:
    from tqdm import tqdm

    try:
        # The scheme is our own constant or the caller's; never taken from data.
        with (
            urllib.request.urlopen(url, timeout=TIMEOUT_S) as response,
            target.open("wb") as sink,
            tqdm(total=wanted.bytes, unit="B", unit_scale=True, desc=wanted.name) as bar,
        ):
            while block := response.read(CHUNK):
                sink.write(block)
                bar.update(len(block))
                if sink.tell() > wanted.bytes:
                    raise EvidenceError(
                        f"{url} sends more than the {wanted.bytes} bytes the catalog "
                        f"expects; nothing was kept"
                    )
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise StageError(
            f"data set {wanted.name!r} could not be fetched from {url} ({error}); try again "
            f"on a connected machine, or set ASSAY_DATA to a folder that has it"
        ) from error
