"""Where is the benchmark of this name, and which documents will it ask about?"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from audits.errors import AssayError, EvidenceError, SpecError
from tasks.evaluate.index import lm_evals
from tasks.evaluate.names import no_such_task, require_include_path
from tasks.evaluate.ours import OURS, reads
from tasks.evaluate.outside import Catalogued, catalogued
from tasks.evaluate.records import Leaf
from tasks.evaluate.settings import EvaluateSettings
from tasks.evaluate.yamls import read_yaml


@dataclass(frozen=True, slots=True)
class Found:
    """A requested task: what lm-eval is given, and the tasks with documents inside it."""

    name: str
    built: tuple[Any, ...]
    leaves: tuple[Leaf, ...]
    documents: tuple[str, ...] = ()
    """How many documents of each leaf come from where, for a person."""


class Finder:
    """Finds and builds tasks by name: the include path's, then ours, then lm-eval's.

    Ours count where their documents are at hand: a set of the dataset, or a file of the data
    catalog. lm-eval takes 10 s to read its some 15,000 tasks, so it does so only for a group
    or a tag of its own.
    """

    def __init__(
        self,
        settings: EvaluateSettings,
        folder: Path | None,
        scratch: Path,
        context: Mapping[str, str],
    ) -> None:
        require_include_path(settings)
        self.settings, self.folder, self.scratch = settings, folder, scratch
        self.catalogued = catalogued(context)
        self.revisions = {k: v for k, v in context.items() if k.startswith("hub/")}
        mine = settings.include_path
        self.mine = self._manager(include_path=mine, include_defaults=False)
        self.all: Any = None

    def find(self, name: str) -> Found:
        """The task of this name, built over its documents.

        Raises:
            SpecError: there is no such task, or its documents cannot be had.
            EvidenceError: a file of the data catalog changed since it was verified.
        """
        specs, origin, manager = self._specs(name)
        try:
            loaded = manager.load(specs)
        except AssayError:
            raise
        except Exception as error:
            first = str(error).strip().partition("\n")[0]
            wanted = (reads(name) or {}).get("catalog")
            near = f", or `assay data fetch {wanted}` and ASSAY_DATA" if wanted else ""
            raise SpecError(
                f"evaluate: task {name!r} cannot be loaded ({type(error).__name__}: {first}); "
                "a task whose data lies on the hub needs a connected machine or a local "
                f"copy{near}"
            ) from error
        top = loaded["groups"].get(name) if "groups" in loaded else None
        built = (top,) if top is not None else tuple(loaded["tasks"].values())
        leaves = tuple(
            Leaf(leaf, task, list(islice(task.eval_docs, self.settings.limit)))
            for leaf, task in loaded["tasks"].items()
        )
        said = tuple(
            f"{leaf.name}: {len(leaf.docs)} of {len(leaf.task.eval_docs)} from "
            f"{origin or self._origin(leaf.task)}"
            for leaf in leaves
        )
        return Found(name, built, leaves, said)

    def _specs(self, name: str) -> tuple[list[Any], str, Any]:
        """What shall be built, where its documents are from if known, and who builds it."""
        mine = self.mine.task_index.get(name)
        if mine is not None and mine.kind.name != "GROUP":
            return *self._listed(name, self.mine), self.mine
        ours = reads(name) if mine is None else None
        if ours is not None and self._has(ours.get("set")):
            spec = self._over_set(OURS / f"{name}.yaml", name, ours["set"])
            return [spec], _set(ours["set"]), self.mine
        file = self.catalogued.get(ours.get("catalog", "")) if ours else None
        if ours is not None and file is not None:
            spec = self._over_catalog(OURS / f"{name}.yaml", ours["catalog"], file)
            return [spec], file.said, self.mine
        manager = self._lm_evals(name)
        return *self._listed(name, manager), manager

    def _lm_evals(self, name: str) -> Any:  # noqa: ANN401 - untyped library
        """Who builds a task of lm-eval's: of a single one, only its own folder is read."""
        files = lm_evals().files(name)
        if name not in self.mine.task_index and not files:
            ours = (file.stem for file in OURS.glob("*.yaml"))
            raise no_such_task(name, [*self.mine.all_tasks, *ours, *lm_evals().names()])
        if len(files) == 1 and read_yaml(files[0]).get("task") == name:
            return self._manager(include_path=str(files[0].parent), include_defaults=False)
        if self.all is None:
            mine = self.settings.include_path
            self.all = self._manager(include_path=mine, include_defaults=True)
        return self.all

    def _listed(self, name: str, manager: Any) -> tuple[list[Any], str]:  # noqa: ANN401
        """A task of lm-eval's index; one may name a set of the dataset in its `metadata`."""
        entry = manager.task_index[name]
        members = sorted(entry.tags) if entry.kind.name == "TAG" else [name]
        specs: list[Any] = []
        sets = set()
        for member in members:
            wanted = _set_of(manager.task_index[member])
            if wanted is None:
                specs.append(member)
                continue
            sets.add(wanted)
            specs.append(self._over_set(manager.task_index[member].yaml_path, member, wanted))
        return specs, _set(sets.pop()) if len(sets) == 1 else ""

    def _manager(self, *, include_path: str | None, include_defaults: bool) -> Any:  # noqa: ANN401
        from lm_eval.tasks import TaskManager

        return TaskManager(include_path=include_path, include_defaults=include_defaults)

    def _has(self, name: str | None) -> bool:
        from tasks import dataset

        return self.folder is not None and name is not None and dataset.has(self.folder, name)

    def _over_set(self, file: Path, task: str, name: str) -> dict[str, Any]:
        """A task's configuration, reading the rows of a set of the dataset."""
        from tasks import dataset

        if self.folder is None:
            raise SpecError(f"evaluate: task {task!r} reads the set {name!r}; name a dataset")
        rows = dataset.rows(self.folder, name)
        if not rows:
            raise SpecError(
                f"evaluate: task {task!r} reads the set {name!r} of the dataset, which has "
                "no rows; make the dataset with some, or leave the task out"
            )
        return self._reading(file, name, rows)

    def _over_catalog(self, file: Path, name: str, found: Catalogued) -> dict[str, Any]:
        """A task's configuration, reading a file of the data catalog."""
        from tasks.evaluate.documents import read

        source = Path(found.path)
        with source.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != found.sha256:
            raise EvidenceError(
                f"{source}: changed since it was verified; put back the file that the data "
                f"catalog means by {name!r}"
            )
        return self._reading(file, name, read(name, source))

    def _reading(
        self, file: Path, name: str, rows: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """The configuration in a file over these rows, its test split."""
        from lm_eval.tasks._yaml_loader import load_yaml

        copy = self.scratch / "sets" / f"{name}.jsonl"
        copy.parent.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        copy.write_text("".join(lines), "utf-8")
        config: dict[str, Any] = load_yaml(file)
        return config | {
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {
                "data_files": {"test": str(copy)},
                "cache_dir": str(self.scratch / "datasets"),
            },
        }

    def _origin(self, task: Any) -> str:  # noqa: ANN401 - untyped library
        """What lm-eval itself reads: a set of the hub, or files of the person's own."""
        path = str(task.config.dataset_path)
        revision = self.revisions.get(f"hub/{path}")
        return f"{path} @ {revision[:12]}" if revision else path


def _set(name: str) -> str:
    return f"the set {name!r} of the dataset"


def _set_of(entry: Any) -> str | None:  # noqa: ANN401 - untyped library
    """The set of the dataset that a task's YAML says it reads."""
    meta = (entry.cfg or {}).get("metadata")
    return str(meta["set"]) if isinstance(meta, dict) and "set" in meta else None
