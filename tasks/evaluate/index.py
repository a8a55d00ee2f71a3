"""Which file names which of lm-eval's tasks? Known without importing lm-eval or YAML.

lm-eval reads its 14,000 files as YAML in 10 s; the few lines that give names take one.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path

SKIPPED = frozenset({"__pycache__", ".ipynb_checkpoints"})

# A key at the left margin, then one word, or a list of them.
_KEY = r"""^["']?{}["']?[ \t]*:[ \t]*"""
_WORD = r"""["']?([\w./+-]+)["']?[ \t]*(?:\#.*)?$"""
_LIST = r"""(.*(?:\n[ \t]*- .*)*)"""
_NAMED = {key: re.compile(_KEY.format(key) + _WORD, re.MULTILINE) for key in ("task", "group")}
_LISTED = {
    key: re.compile(_KEY.format(key) + _LIST, re.MULTILINE) for key in ("tag", "include")
}
_CODED = re.compile(_KEY.format("class"), re.MULTILINE)
_ITEM = re.compile(r"[\w./+-]*\w")


@dataclass(frozen=True, slots=True)
class Head:
    """What a task file says at its left margin, with what the files it includes say."""

    task: str = ""
    group: str = ""
    tags: tuple[str, ...] = ()
    coded: bool = False
    """Whether the task is a Python class."""


@dataclass(slots=True)
class Index:
    """Files by name: one for a task or group, all its members' for a tag."""

    tasks: dict[str, Path] = field(default_factory=dict)
    tags: dict[str, list[Path]] = field(default_factory=dict)

    def files(self, name: str) -> tuple[Path, ...]:
        """The files behind a name; none where lm-eval has no such task."""
        if name in self.tasks:
            return (self.tasks[name],)
        return tuple(self.tags.get(name, ()))

    def names(self) -> frozenset[str]:
        """Everything that can be asked for."""
        return frozenset(self.tasks) | frozenset(self.tags)


@cache
def lm_evals() -> Index:
    """lm-eval's own tasks, groups and tags, by its own rules of what names one."""
    index = Index()
    found = find_spec("lm_eval")
    if found is None or not found.submodule_search_locations:
        return index
    heads: dict[Path, Head] = {}
    for file in _files(Path(found.submodule_search_locations[0], "tasks")):
        head = _head(file, heads)
        name = head.task if head.coded or not head.group else head.group
        if not name:
            continue
        index.tasks.setdefault(name, file)
        for tag in head.tags if name == head.task else ():
            index.tags.setdefault(tag, []).append(file)
    return index


def _files(home: Path) -> Iterator[Path]:
    """Files that lm-eval reads as tasks: those whose names end in .yaml, and no template."""
    for folder, below, files in os.walk(home):
        below[:] = sorted(name for name in below if name not in SKIPPED)
        yield from (Path(folder, name) for name in sorted(files) if name.endswith(".yaml"))


def _head(file: Path, known: dict[Path, Head]) -> Head:
    """A file's own words win over those of the files it includes."""
    if file in known:
        return known[file]
    known[file] = Head()  # an include that leads back here adds nothing
    try:
        text = file.read_text("utf-8", "replace")
    except OSError:
        return known[file]
    said: dict[str, str] = {}
    tags: tuple[str, ...] = ()
    coded = bool(_CODED.search(text))
    for below in _items("include", text):
        base = _head(file.parent / below, known)
        said |= {"task": base.task or said.get("task", "")}
        said |= {"group": base.group or said.get("group", "")}
        tags, coded = base.tags or tags, coded or base.coded
    own = {key: found[1] for key, form in _NAMED.items() if (found := form.search(text))}
    said |= own
    known[file] = Head(
        said.get("task", ""), said.get("group", ""), _items("tag", text) or tags, coded
    )
    return known[file]


def _items(key: str, text: str) -> tuple[str, ...]:
    found = _LISTED[key].search(text)
    return tuple(_ITEM.findall(found[1])) if found else ()
