"""What does an evaluation read from outside the artifact root? By digest, before it is made.

Task files of a person, files of the data catalog, and sets of the hub: each is part of the
stage's key, so that other documents are another evaluation. lm-eval's own task files follow
its version.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audits.settings import Settings
from tasks.artifact import fingerprint
from tasks.evaluate.hub import is_local, revision
from tasks.evaluate.index import lm_evals
from tasks.evaluate.names import included_files, require_include_path
from tasks.evaluate.ours import reads
from tasks.evaluate.settings import EvaluateSettings
from tasks.evaluate.yamls import read_yaml


class Catalogued(Settings):
    """A file of the data catalog that is on this machine, verified."""

    path: str
    repo: str
    revision: str
    sha256: str

    @property
    def said(self) -> str:
        """Where its documents come from, for a person."""
        return f"{self.repo} @ {self.revision[:12]} (sha256 {self.sha256[:12]}…)"


Locate = Callable[[str], Catalogued | None]
"""Finds a set of the data catalog by name; None where it is not on this machine."""


@dataclass(frozen=True, slots=True)
class Outside:
    """`sources` decide the result and are part of the key; `context` says where to read."""

    sources: Mapping[str, str]
    context: Mapping[str, str]


def outside(settings: EvaluateSettings, sets: Collection[str], locate: Locate) -> Outside:
    """Everything the tasks read that is neither the dataset's nor lm-eval's own.

    Args:
        settings: what will be evaluated.
        sets: names of the dataset's sets, which come before the catalog's.
        locate: finds a file of the data catalog.

    Raises:
        SpecError: `include_path` is no folder with tasks.
        EvidenceError: a file of the catalog has other bytes.
    """
    require_include_path(settings)
    sources, context = dict(_included(settings)), {}
    mine = _mine(settings)
    for task in settings.tasks:
        ours = None if task in mine else reads(task)
        if ours is not None and ours.get("set") in sets:
            continue
        found = locate(ours["catalog"]) if ours and "catalog" in ours else None
        if ours is not None and found is not None:
            sources[f"catalog/{ours['catalog']}"] = found.sha256
            context[f"catalog/{ours['catalog']}"] = found.model_dump_json()
            continue
        for config in _configs(task, mine):
            _add_documents(config, sources)
    context |= {name: said for name, said in sources.items() if name.startswith("hub/")}
    return Outside(sources, context)


def catalogued(context: Mapping[str, str]) -> dict[str, Catalogued]:
    """The files of the catalog that `outside` found, by name."""
    return {
        name.removeprefix("catalog/"): Catalogued.model_validate_json(said)
        for name, said in context.items()
        if name.startswith("catalog/")
    }


def _included(settings: EvaluateSettings) -> Iterator[tuple[str, str]]:
    if settings.include_path is not None:
        yield "include_path", fingerprint(Path(settings.include_path))


_Files = dict[str, tuple[Path, ...]]


def _mine(settings: EvaluateSettings) -> _Files:
    """Files of the person's own folder by the names in them."""
    found: _Files = {}
    for file in included_files(settings.include_path):
        config = read_yaml(file)
        tags = config.get("tag") or []
        names = [config.get("task"), config.get("group")]
        names += [tags] if isinstance(tags, str) else tags
        for name in names:
            if isinstance(name, str):
                found[name] = (*found.get(name, ()), file)
    return found


def _configs(name: str, mine: _Files, above: frozenset[str] = frozenset()) -> Iterator[Any]:
    """What the task files behind a name say; of a group, those of its members."""
    if name in above:
        return
    for file in mine.get(name) or lm_evals().files(name):
        yield from _members(read_yaml(file), mine, above | {name})


def _members(config: Any, mine: _Files, above: frozenset[str]) -> Iterator[Any]:  # noqa: ANN401 - YAML
    """A group's members stand under `task`, each a name or a configuration of its own."""
    listed = config.get("task")
    if not isinstance(listed, list):
        yield config
        return
    for member in listed:
        if isinstance(member, str):
            yield from _configs(member, mine, above)
        elif isinstance(member, dict):
            yield from _members(member, mine, above)
            yield from _configs(str(member.get("task", "")), mine, above)


def _add_documents(config: Mapping[str, Any], sources: dict[str, str]) -> None:
    """Identity of what one configuration reads, under a name for it."""
    path, given = config.get("dataset_path"), config.get("dataset_kwargs")
    more = given if isinstance(given, dict) else {}
    if not isinstance(path, str):
        return
    if is_local(path):
        for name in (path, *_strings(more.get("data_files")), *_strings(more.get("data_dir"))):
            if Path(name).exists():
                sources[f"file/{name}"] = fingerprint(Path(name))
    elif f"hub/{path}" not in sources:
        sources[f"hub/{path}"] = revision(path, more.get("revision"))


def _strings(value: Any) -> Iterator[str]:  # noqa: ANN401 - YAML
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
