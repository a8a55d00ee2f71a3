"""Run lm-eval's tasks on a model of ours, and keep every logged sample."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from audits.errors import SpecError
from tasks.evaluate.names import no_such_task, require_include_path
from tasks.evaluate.ours import OURS
from tasks.evaluate.records import Leaf, Outcome, outcome
from tasks.evaluate.settings import EvaluateSettings
from tasks.evaluate.table import Results

if TYPE_CHECKING:
    from audits.model import LanguageModel


def run_tasks(
    settings: EvaluateSettings, model: "LanguageModel", folder: Path | None, scratch: Path
) -> tuple[Results, list[Outcome]]:
    """lm-eval's results, and one outcome for each requested task in order.

    Args:
        settings: what to run.
        model: whom to ask.
        folder: the dataset whose sets tasks may read.
        scratch: where copies of sets and the caches of `datasets` go.
    """
    if not settings.tasks:
        return {}, []
    import lm_eval

    from tasks.models.harness import HarnessModel

    with _hushed():
        finder = Finder(settings, folder, scratch)
        found = [finder.find(name) for name in settings.tasks]
        results = lm_eval.simple_evaluate(
            model=HarnessModel(model, seed=settings.seed),
            tasks=[built for task in found for built in task.built],
            task_manager=finder.manager,
            num_fewshot=settings.num_fewshot,
            limit=settings.limit,
            bootstrap_iters=0,
            log_samples=True,
            random_seed=settings.seed,
            numpy_random_seed=settings.seed,
            torch_random_seed=settings.seed,
            fewshot_random_seed=settings.seed,
        )
    samples = results["samples"]
    return results, [outcome(t.name, t.leaves, samples, settings.metrics) for t in found]


@dataclass(frozen=True, slots=True)
class Found:
    """A requested task: what lm-eval is given, and the tasks with documents inside it."""

    name: str
    built: tuple[Any, ...]
    leaves: tuple[Leaf, ...]


class Finder:
    """Finds and builds tasks by name: the include path's, then ours, then lm-eval's.

    lm-eval's index of some 15,000 tasks takes seconds to read, so it is read only for a
    name that is found nowhere else.
    """

    def __init__(self, settings: EvaluateSettings, folder: Path | None, scratch: Path) -> None:
        require_include_path(settings)
        self.settings, self.folder, self.scratch = settings, folder, scratch
        self.paths = [
            str(self._ours()),
            *([settings.include_path] if settings.include_path else []),
        ]
        self.manager = self._manager(include_defaults=False)

    def find(self, name: str) -> Found:
        """The task of this name, built over its documents.

        Raises:
            SpecError: there is no such task, or its documents cannot be had.
        """
        entry = self._entry(name)
        members = sorted(entry.tags) if entry.kind.name == "TAG" else [name]
        try:
            loaded = self.manager.load([self._spec(member) for member in members])
        except SpecError:
            raise
        except Exception as error:
            first = str(error).strip().partition("\n")[0]
            raise SpecError(
                f"evaluate: task {name!r} cannot be loaded ({type(error).__name__}: {first}); "
                "a task whose data lies on the hub needs a connected machine or a local copy"
            ) from error
        top = loaded["groups"].get(name) if "groups" in loaded else None
        built = (top,) if top is not None else tuple(loaded["tasks"].values())
        leaves = tuple(
            Leaf(leaf, task, list(islice(task.eval_docs, self.settings.limit)))
            for leaf, task in loaded["tasks"].items()
        )
        return Found(name, built, leaves)

    def _ours(self) -> Path:
        """Copies of our tasks whose sets the dataset has; others must not hide lm-eval's."""
        from tasks import dataset

        home = self.scratch / "tasks"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        for file in sorted(OURS.glob("*.yaml")):
            wanted = yaml.safe_load(file.read_text("utf-8"))["metadata"]["set"]
            if self.folder is not None and dataset.has(self.folder, wanted):
                shutil.copyfile(file, home / file.name)
        return home

    def _manager(self, *, include_defaults: bool) -> Any:  # noqa: ANN401 - untyped library
        from lm_eval.tasks import TaskManager

        return TaskManager(include_path=list(self.paths), include_defaults=include_defaults)

    def _entry(self, name: str) -> Any:  # noqa: ANN401 - untyped library
        entry = self.manager.task_index.get(name)
        if entry is None:
            self.manager = self._manager(include_defaults=True)
            entry = self.manager.task_index.get(name)
        if entry is None:
            raise no_such_task(name, self.manager.all_tasks)
        return entry

    def _spec(self, name: str) -> Any:  # noqa: ANN401 - a name or lm-eval's configuration
        """A name, or the configuration of a task that reads a set of the dataset."""
        from lm_eval.tasks._yaml_loader import load_yaml

        entry = self.manager.task_index[name]
        wanted = _set_of(entry)
        if wanted is None:
            return name
        file = self._copy(name, wanted)
        return load_yaml(entry.yaml_path) | {
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {
                "data_files": {"test": str(file)},
                "cache_dir": str(self.scratch / "datasets"),
            },
        }

    def _copy(self, task: str, name: str) -> Path:
        """Write a set's rows where `datasets` can read them, one JSON object per line."""
        from tasks import dataset

        if self.folder is None:
            raise SpecError(f"evaluate: task {task!r} reads the set {name!r}; name a dataset")
        rows = dataset.rows(self.folder, name)
        if not rows:
            raise SpecError(
                f"evaluate: task {task!r} reads the set {name!r} of the dataset, which has no "
                "rows; make the dataset with some, or leave the task out"
            )
        file = self.scratch / "sets" / f"{name}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        file.write_text("".join(lines), "utf-8")
        return file


def _set_of(entry: Any) -> str | None:  # noqa: ANN401 - untyped library
    """The set of the dataset that a task's YAML says it reads."""
    meta = (entry.cfg or {}).get("metadata")
    return str(meta["set"]) if isinstance(meta, dict) and "set" in meta else None


@contextmanager
def _hushed() -> Iterator[None]:
    """Silence the bars and log lines of lm-eval and `datasets`; ours remain.

    Also spares lm-eval's look at the machine (it runs pip and git, and git complains outside
    a checkout): conditions are recorded with the part.
    """
    import datasets
    from lm_eval import evaluator
    from lm_eval.api import task as lm_task

    from tasks.models.quiet import quiet

    bars, bar = datasets.is_progress_bar_enabled(), lm_task.tqdm
    look, commit = evaluator.add_env_info, evaluator.get_git_commit_hash
    datasets.disable_progress_bars()
    lm_task.tqdm = partial(bar, disable=True)
    evaluator.add_env_info = lambda storage: None
    evaluator.get_git_commit_hash = lambda: None
    try:
        with quiet():
            yield
    finally:
        lm_task.tqdm = bar
        evaluator.add_env_info, evaluator.get_git_commit_hash = look, commit
        if bars:
            datasets.enable_progress_bars()
