"""Which calls does a registry come down to? The seam between our rules and what keeps things.

`registry.mlflow_store.Mlflow` makes them of MLflow, `registry.testing.Memory` of dictionaries;
every promise of a store is kept above, once, by `registry.publishing` and `registry.versions`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from registry.store import Dataset, Publication, Value, Version


@dataclass(frozen=True, slots=True)
class Facts:
    """What a run has logged."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    artifacts: str = ""
    """Where its artifacts lie, as the registry writes it."""


class Backend(Protocol):
    """Runs with artifacts, numbered versions with tags, aliases, and numbered entries."""

    def loads(self, name: str, number: str) -> tuple[str, ...]:
        """From where whoever loads a version gets its files: one place, if all is well."""
        ...

    def experiment(self, name: str, place: str | None) -> str:
        """The id of an experiment, made on first use with its artifacts at `place`."""
        ...

    def experiment_of(self, run: str) -> str:
        """The id of the experiment a run belongs to."""
        ...

    def start(self, experiment: str, title: str, tags: Mapping[str, str]) -> str:
        """Open a run; returns its id."""
        ...

    def end(self, run: str, *, ok: bool) -> None:
        """Close a run."""
        ...

    def find_run(self, experiment: str, tags: Mapping[str, str]) -> str | None:
        """A run of the experiment that has all these tags."""
        ...

    def log(
        self,
        run: str,
        *,
        params: Mapping[str, Value] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
        datasets: Sequence[Dataset] = (),
    ) -> None:
        """Everything about a run; of a parameter the first value stands."""
        ...

    def facts(self, run: str) -> Facts:
        """What a run has logged. EvidenceError where there is no such run."""
        ...

    def upload(self, run: str, folder: Path, place: str | None = None) -> None:
        """Add the files of a folder to a run's artifacts, below `place`."""
        ...

    def fetch(self, run: str, path: str, aside: Path) -> Path:
        """A file or folder of a run's artifacts (all, for an empty path), in place or copied.

        Raises:
            EvidenceError: it is not there, or the registry does not answer.
        """
        ...

    def write_model(self, folder: Path, publication: Publication) -> None:
        """Write what a server needs beside the weights."""
        ...

    def register(
        self, name: str, run: str, *, tags: Mapping[str, str], description: str
    ) -> str:
        """Make a version of the model among a run's artifacts; returns its number."""
        ...

    def describe(
        self, version: Version, *, tags: Mapping[str, str], description: str | None = None
    ) -> None:
        """Change a version's card and tags; the tags last, in their order."""
        ...

    def version(self, name: str, number: str) -> Version | None:
        """One version, or None."""
        ...

    def search(self, name: str, weights: str = "") -> list[Version]:
        """Versions of a model, oldest first, only those of some weights where given."""
        ...

    def alias(self, name: str, alias: str) -> Version | None:
        """The version an alias points at, or None."""
        ...

    def point(self, name: str, alias: str, number: str) -> None:
        """Move an alias; take it away where no number is given."""
        ...

    def marks(self, name: str) -> Mapping[str, str]:
        """The tags of the registered model itself; none where there is no such model."""
        ...

    def mark(self, name: str, key: str, value: str) -> None:
        """Set a tag of the registered model itself."""
        ...

    def append(self, name: str, text: str) -> int:
        """Add an entry to a model's history; returns its number.

        Numbers are given once and grow; whoever sees an entry sees all with smaller numbers.
        """
        ...

    def entries(self, name: str) -> list[tuple[int, str]]:
        """All entries of a model's history, ascending by number."""
        ...
