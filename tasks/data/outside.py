"""What a dataset reads from outside the artifact root, by digest, before it is made."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from audits.errors import SpecError
from tasks.data.settings import AnyData, SetsData, Source


def sources(settings: AnyData, roots: Sequence[Path]) -> Mapping[str, str]:
    """The sha256 of every file that the settings name; a generated world reads none.

    Raises:
        SpecError: a file is not on this machine, with what to do about it.
        EvidenceError: a file of the catalog has other bytes.
    """
    if not isinstance(settings, SetsData):
        return {}
    return {name: _digest(source, roots) for name, source in sorted(settings.sets.items())}


def _digest(source: Source, roots: Sequence[Path]) -> str:
    if source.joined:
        parts = [f"{role} {_digest(each, roots)}\n" for role, each in source.joined.items()]
        return hashlib.sha256("".join(parts).encode()).hexdigest()
    if source.name:
        from tasks.data.catalog import entry, locate

        locate(source.name, roots)
        return entry(source.name).sha256
    file = Path(source.path)
    if not file.is_file():
        raise SpecError(f"{file}: there is no such file; check the path of the data set")
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
