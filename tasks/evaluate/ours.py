"""The benchmark tasks that ship with us, and which documents they read."""

from collections.abc import Collection, Mapping
from pathlib import Path

from audits.errors import SpecError

OURS = Path(__file__).parent / "defaults"


def reads(task: str) -> Mapping[str, str] | None:
    """What a task of ours says of itself; None for any other task.

    `set` of a dataset, else `catalog` (a set of the data catalog), and templates for `id`,
    `cluster` and `group`.
    """
    from tasks.evaluate.yamls import read_yaml

    file = OURS / f"{task}.yaml"
    if not file.is_file():
        return None
    return {key: str(value) for key, value in read_yaml(file)["metadata"].items()}


def reads_any(task: str, sets: Collection[str], catalogued: Collection[str]) -> bool:
    """Whether one of a dataset's sets, or of the catalog's here, holds our task's documents."""
    ours = reads(task) or {}
    return ours.get("set") in sets or ours.get("catalog") in catalogued


def count_clusters(task: str, rows: "list[Mapping[str, object]]") -> int:
    """Number of clusters that the task's own template makes of these rows."""
    from jinja2.exceptions import TemplateError
    from jinja2.sandbox import SandboxedEnvironment

    template = (reads(task) or {}).get("cluster", "")
    if not template:
        return len(rows)
    made = SandboxedEnvironment().from_string(template)
    try:
        return len({made.render(**{str(k): v for k, v in row.items()}) for row in rows})
    except TemplateError as error:
        raise SpecError(
            f"evaluate: task {task!r} cannot name the cluster of a row ({error}); its set "
            "lacks a field the task reads"
        ) from error
