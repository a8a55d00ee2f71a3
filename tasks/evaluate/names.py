"""Which tasks can be asked for by name? Known without importing lm-eval: that takes seconds."""

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from audits.errors import SpecError
from tasks.evaluate.index import lm_evals
from tasks.evaluate.ours import OURS, reads, reads_any
from tasks.evaluate.settings import EvaluateSettings
from tasks.evaluate.yamls import read_yaml


def require_tasks(
    settings: EvaluateSettings, sets: Collection[str], catalogued: Collection[str] = ()
) -> None:
    """Refuse a task that nobody has, or that reads documents that will not be there.

    Args:
        settings: what will be evaluated.
        sets: names of the sets of the dataset that will have rows.
        catalogued: sets of the data catalog whose files are on this machine.

    Raises:
        SpecError: naming the task, and the nearest names or the missing set.
    """
    require_include_path(settings)
    own, ours = dict(included(settings.include_path)), _ours(sets, catalogued)
    for task in settings.tasks:
        if task in own:
            _require_set(task, own[task], sets)
        elif task not in ours and not lm_evals().files(task):
            raise no_such_task(task, [*own, *ours, *lm_evals().names()])


def require_include_path(settings: EvaluateSettings) -> None:
    """Refuse an `include_path` that is no folder, or a folder without a task."""
    path = settings.include_path
    if path is None:
        return
    if not Path(path).is_dir():
        raise SpecError(
            f"evaluate: include_path {path!r} is no folder; give the folder that holds the "
            "tasks' YAML files"
        )
    if not any(included(path)):
        raise SpecError(
            f"evaluate: include_path {path!r} holds no .yaml file that names a task, a group "
            "or a tag; give the folder that holds the tasks' YAML files, or leave it out"
        )


def no_such_task(name: str, known: Iterable[str]) -> SpecError:
    """What to say of a task that is not there: the set it lacks, or the nearest names."""
    ours = reads(name)
    if ours is not None and "catalog" in ours:
        wanted = ours["catalog"]
        return SpecError(
            f"evaluate: task {name!r} reads {wanted!r} of the data catalog, which is not on "
            f"this machine; run `assay data fetch {wanted}`, or set ASSAY_DATA to a folder "
            "that has it"
        )
    if ours is not None:
        return SpecError(
            f"evaluate: there is no task {name!r} here, for the dataset lacks the set it "
            f"reads ({ours['set']}); leave it out, or give data with that set"
        )
    near = difflib.get_close_matches(name, list(dict.fromkeys(known)), n=3, cutoff=0.5)
    hint = f"; the nearest names are {', '.join(near)}" if near else ""
    return SpecError(f"evaluate: there is no task {name!r}{hint}")


def included(folder: str | None) -> Iterator[tuple[str, str]]:
    """Names in a folder of a person's own tasks, each with the set it says it reads, or ""."""
    for file in included_files(folder):
        config = read_yaml(file)
        meta = config.get("metadata")
        wanted = str(meta["set"]) if isinstance(meta, Mapping) and "set" in meta else ""
        for key in ("task", "group"):
            if isinstance(config.get(key), str):
                yield config[key], wanted
        tags = config.get("tag") or []
        for tag in [tags] if isinstance(tags, str) else tags:
            yield str(tag), ""


def included_files(folder: str | None) -> list[Path]:
    """The task files of a person's own folder, in order."""
    return sorted(Path(folder).rglob("*.yaml")) if folder is not None else []


def _ours(sets: Collection[str], catalogued: Collection[str]) -> list[str]:
    return [
        file.stem
        for file in sorted(OURS.glob("*.yaml"))
        if reads_any(file.stem, sets, catalogued)
    ]


def _require_set(task: str, wanted: str, sets: Collection[str]) -> None:
    if wanted and wanted not in sets:
        raise SpecError(
            f"evaluate: task {task!r} reads the set {wanted!r}, which the data will not have; "
            f"its sets are: {', '.join(sorted(sets))}"
        )
