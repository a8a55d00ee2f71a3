"""The benchmark tasks that ship with us, and what they read of a dataset."""

from collections.abc import Mapping
from pathlib import Path

from audits.errors import SpecError

OURS = Path(__file__).parent / "defaults"


def reads(task: str) -> Mapping[str, str] | None:
    """What a task of ours says of itself: `set`, and templates for `id`, `cluster`, `group`.

    None for any other task.
    """
    import yaml

    file = OURS / f"{task}.yaml"
    if not file.is_file():
        return None
    found = yaml.safe_load(file.read_text("utf-8"))["metadata"]
    return {key: str(value) for key, value in found.items()}


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
