"""Which tasks can be asked for by name? Known without importing lm-eval: that takes seconds."""

import difflib
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from audits.errors import SpecError
from tasks.evaluate.ours import OURS, reads
from tasks.evaluate.settings import EvaluateSettings

NOT_YAML = (".py", ".pyc", ".md", ".json", ".txt")
"""Endings of files beside lm-eval's tasks that name none; templates have any other or none."""
SKIPPED = frozenset({"__pycache__", ".ipynb_checkpoints"})

# A key at the left margin, then one word, or (of tags) a list of them. Reading the 14,000
# files as YAML takes lm-eval 10 s; these lines take less than one.
_NAMED = re.compile(
    r"""^["']?(?:task|group|tag)["']?[ \t]*:[ \t]*["']?([\w.+-]+)["']?[ \t]*(?:\#.*)?$""",
    re.MULTILINE,
)
_TAGS = re.compile(r"""^["']?tag["']?[ \t]*:(.*(?:\n[ \t]*- .*)*)""", re.MULTILINE)
_TAG = re.compile(r"[\w.+-]*\w")


def require_tasks(settings: EvaluateSettings, sets: Collection[str]) -> None:
    """Refuse a task that nobody has, or that reads a set the data will not have.

    Args:
        settings: what will be evaluated.
        sets: names of the sets that will have rows.

    Raises:
        SpecError: naming the task, and the nearest names or the missing set.
    """
    require_include_path(settings)
    own, ours = dict(_included(settings.include_path)), _ours(sets)
    for task in settings.tasks:
        if task in own:
            _require_set(task, own[task], sets)
        elif task not in ours and task not in lm_evals():
            raise no_such_task(task, [*own, *ours, *lm_evals()])


def require_include_path(settings: EvaluateSettings) -> None:
    """Refuse an `include_path` that is no folder."""
    if settings.include_path is not None and not Path(settings.include_path).is_dir():
        raise SpecError(
            f"evaluate: include_path {settings.include_path!r} is no folder; give the "
            "folder that holds the tasks' YAML files"
        )


def no_such_task(name: str, known: Iterable[str]) -> SpecError:
    """What to say of a task that is not there: the set it lacks, or the nearest names."""
    if (ours := reads(name)) is not None:
        return SpecError(
            f"evaluate: there is no task {name!r} here, for the dataset lacks the set it "
            f"reads ({ours['set']}); leave it out, or give data with that set"
        )
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    hint = f"; the nearest names are {', '.join(near)}" if near else ""
    return SpecError(f"evaluate: there is no task {name!r}{hint}")


@cache
def lm_evals() -> frozenset[str]:
    """Names of lm-eval's own tasks, groups and tags, from the lines that give them."""
    found = find_spec("lm_eval")
    if found is None or not found.submodule_search_locations:
        return frozenset()
    names: set[str] = set()
    for folder, below, files in os.walk(Path(found.submodule_search_locations[0], "tasks")):
        below[:] = [name for name in below if name not in SKIPPED]
        for name in files:
            if not name.endswith(NOT_YAML):
                text = Path(folder, name).read_text("utf-8", "replace")
                names.update(_NAMED.findall(text))
                names.update(tag for tags in _TAGS.findall(text) for tag in _TAG.findall(tags))
    return frozenset(names - {"null"})


def _ours(sets: Collection[str]) -> list[str]:
    return [
        file.stem
        for file in sorted(OURS.glob("*.yaml"))
        if (ours := reads(file.stem)) is not None and ours["set"] in sets
    ]


def _require_set(task: str, wanted: str, sets: Collection[str]) -> None:
    if wanted and wanted not in sets:
        raise SpecError(
            f"evaluate: task {task!r} reads the set {wanted!r}, which the data will not have; "
            f"its sets are: {', '.join(sorted(sets))}"
        )


def _included(folder: str | None) -> Iterator[tuple[str, str]]:
    """Names in a folder of a person's own tasks, each with the set it says it reads, or ""."""
    if folder is None:
        return
    for file in sorted(Path(folder).rglob("*.yaml")):
        config = _read(file)
        meta = config.get("metadata")
        wanted = str(meta["set"]) if isinstance(meta, Mapping) and "set" in meta else ""
        for key in ("task", "group"):
            if isinstance(config.get(key), str):
                yield config[key], wanted
        tags = config.get("tag") or []
        for tag in [tags] if isinstance(tags, str) else tags:
            yield str(tag), ""


def _read(file: Path) -> dict[str, Any]:
    """A task's YAML with what it includes below it; empty where lm-eval would skip it."""
    try:
        found = yaml.load(file.read_text("utf-8"), Loader=_Lenient)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    if not isinstance(found, dict):
        return {}
    below = found.pop("include", None)
    base = _read(file.parent / below) if isinstance(below, str) else {}
    return base | found


class _Lenient(yaml.SafeLoader):
    """Reads what lm-eval reads, and runs none of the code it names (`!function`)."""


def _as_text(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> str:
    return str(node.value) if isinstance(node, yaml.ScalarNode) else suffix


_Lenient.add_multi_constructor("!", _as_text)
