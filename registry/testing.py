"""A registry in dictionaries, and small evidence made by hand, for tests and dry runs."""

import json
import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from audits.estimand import Declared, Exact, Ratio
from audits.evidence import Evidence, Part, records_frame
from registry import layout
from registry.backend import Facts
from registry.store import Dataset, Publication, Value, Version
from registry.versions import VersionStore

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Run:
    """What was recorded about one run."""

    title: str
    experiment: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, Value] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    datasets: list[Dataset] = field(default_factory=list)
    status: str = "RUNNING"


class Memory:
    """Makes the calls of `registry.backend.Backend` of dictionaries and a temporary folder."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.versions: dict[tuple[str, str], Version] = {}
        self.aliases: dict[tuple[str, str], str] = {}
        self.books: dict[str, list[tuple[int, str]]] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self._files = tempfile.TemporaryDirectory(prefix="assay-memory-")
        self._turn = Lock()

    def experiment(self, name: str, place: str | None) -> str:
        """Its name."""
        return name

    def experiment_of(self, run: str) -> str:
        """The experiment the run was begun in."""
        return self.runs[run].experiment

    def start(self, experiment: str, title: str, tags: Mapping[str, str]) -> str:
        """Open a run; returns its id."""
        run = f"run{len(self.runs)}"
        self.runs[run] = Run(title, experiment, tags=dict(tags))
        (Path(self._files.name) / run).mkdir()
        return run

    def end(self, run: str, *, ok: bool) -> None:
        """Close a run."""
        self.runs[run].status = "FINISHED" if ok else "FAILED"

    def find_run(self, experiment: str, tags: Mapping[str, str]) -> str | None:
        """A run of the experiment that has all these tags."""
        found = (
            key
            for key, run in self.runs.items()
            if run.experiment == experiment and tags.items() <= run.tags.items()
        )
        return next(found, None)

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
        held = self.runs[run]
        held.params = {**(params or {}), **held.params}
        held.metrics |= {k: layout.finite(k, v) for k, v in (metrics or {}).items()}
        held.tags |= tags or {}
        held.datasets += datasets

    def facts(self, run: str) -> Facts:
        """What a run has logged."""
        held = self.runs[run]
        return Facts(
            dict(held.metrics), {k: str(v) for k, v in held.params.items()}, f"memory:/{run}"
        )

    def loads(self, name: str, number: str) -> tuple[str, ...]:
        """Where the files of a version's run lie."""
        found = self.version(name, number)
        return (f"memory:/{found.run if found else ''}/{layout.MODEL}",)

    def upload(self, run: str, folder: Path, place: str | None = None) -> None:
        """Add the files of a folder to a run's artifacts, below `place`."""
        home = Path(self._files.name) / run / (place or "")
        shutil.copytree(folder, home, dirs_exist_ok=True)

    def fetch(self, run: str, path: str, aside: Path) -> Path:
        """Where a file or folder of a run's artifacts lies."""
        return Path(self._files.name) / run / path

    def write_model(self, folder: Path, publication: Publication) -> None:
        """A note of the loader: nothing is served from memory."""
        folder.mkdir(parents=True)
        said = {"flavors": {"python_function": {"loader_module": publication.loader}}}
        (folder / "MLmodel").write_text(json.dumps(said), "utf-8")

    def register(
        self, name: str, run: str, *, tags: Mapping[str, str], description: str
    ) -> str:
        """Make a version; returns its number."""
        with self._turn:
            number = str(len(self.search(name)) + 1)
            made = Version(name, number, "", run, "", card=description)
            self.versions[name, number] = _tagged(made, tags)
        return number

    def describe(
        self, version: Version, *, tags: Mapping[str, str], description: str | None = None
    ) -> None:
        """Change a version's card and tags."""
        held = self.versions[version.name, version.number]
        card = held.card if description is None else description
        self.versions[held.name, held.number] = _tagged(replace(held, card=card), tags)

    def version(self, name: str, number: str) -> Version | None:
        """One version, or None."""
        found = self.versions.get((name, number))
        if found is None:
            return None
        held = [a for (n, a), at in self.aliases.items() if (n, at) == (name, number)]
        return replace(found, aliases=tuple(sorted(held)))

    def search(self, name: str, weights: str = "") -> list[Version]:
        """Versions of a model, oldest first, only those of some weights where given."""
        found = [v for (n, _), v in self.versions.items() if n == name]
        return [v for v in found if not weights or v.weights == weights]

    def alias(self, name: str, alias: str) -> Version | None:
        """The version an alias points at, or None."""
        number = self.aliases.get((name, alias))
        return self.version(name, number) if number else None

    def point(self, name: str, alias: str, number: str) -> None:
        """Move an alias; take it away where no number is given."""
        if number:
            self.aliases[name, alias] = number
        else:
            self.aliases.pop((name, alias), None)

    def marks(self, name: str) -> Mapping[str, str]:
        """The tags of the registered model itself."""
        return dict(self.tags.get(name, {}))

    def mark(self, name: str, key: str, value: str) -> None:
        """Set a tag of the registered model itself."""
        self.tags.setdefault(name, {})[key] = value

    def append(self, name: str, text: str) -> int:
        """Add an entry to a model's history; returns its number."""
        with self._turn:
            book = self.books.setdefault(name, [])
            number = book[-1][0] + 1 if book else 1
            book.append((number, text))
        return number

    def entries(self, name: str) -> list[tuple[int, str]]:
        """All entries of a model's history, ascending by number."""
        return list(self.books.get(name, ()))


class MemoryStore(VersionStore):
    """A registry that is gone with the process."""

    def __init__(self, memory: Memory | None = None, *, key: Path | None = None) -> None:
        self.memory = memory or Memory()
        super().__init__(self.memory, None, key=key)


def _tagged(version: Version, tags: Mapping[str, str]) -> Version:
    both = {**version.tags, **tags}
    return replace(
        version,
        tags=both,
        weights=both.get("assay.weights", ""),
        evidence=both.get("assay.sealed", ""),
        verdict=both.get("assay.verdict", ""),
    )


RECALL = Declared(
    name="recall", better="higher", about="Share answered right.", of=Ratio(value="right")
)
WRONG = Declared(name="wrong", better="lower", about="Share wrong.", of=Ratio(value="wrong"))
SIZE = Declared(
    name="size_bytes", better="lower", about="On disk.", unit="bytes", of=Exact(value="bytes")
)


def rights(n: int, wrong: int) -> list[int]:
    """`n` answers, 1 for right; the `wrong` ones are spread evenly."""
    step = n // wrong if wrong else n + 1
    at = {i * step for i in range(wrong)}
    return [0 if i in at else 1 for i in range(n)]


def facts(
    outcomes: Sequence[int],
    *,
    per_cluster: int = 1,
    basis: str = "asked",
    lost: Collection[str] = (),
    name: str = "facts",
) -> Part:
    """Right (1) and wrong (0) answers to examples e0, e1, …; `lost` ids have no record."""
    answers = list(outcomes)
    asked = _asked(len(answers), per_cluster)
    records = asked.assign(right=answers, wrong=[1 - r for r in answers])
    if lost:
        records = records[~records["example"].isin(lost)].reset_index(drop=True)
    return Part(
        name=name,
        kind="closed_world",
        declared=(RECALL, WRONG),
        expected=tuple(asked["example"]),
        records=records,
        basis=basis,
    )


@lru_cache(maxsize=64)
def _asked(n: int, per_cluster: int) -> "pd.DataFrame":
    """Records without answers; simulations ask for the same thousands of times."""
    return records_frame(
        {"example": f"e{i}", "cluster": f"c{i // per_cluster}"} for i in range(n)
    )


def disk(size: int, **conditions: str) -> Part:
    """A profile that knows only the size of a model's files."""
    return Part(
        name="profile",
        kind="profile",
        declared=(SIZE,),
        expected=("disk",),
        records=records_frame([{"example": "disk", "bytes": size}]),
        basis="disk",
        conditions=conditions,
    )


def evidence(subject: str, *parts: Part, parent: str = "") -> Evidence:
    """Evidence about weights `subject`, made from the weights `parent`."""
    return Evidence.gather(subject, parts, {"parent": parent})
