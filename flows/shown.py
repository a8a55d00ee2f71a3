"""What one stage measured, as a document and as a table."""

from typing import Any

from audits.evidence import Part
from registry import parts
from tasks.artifact import Artifact


def document_of(made: Artifact) -> dict[str, Any]:
    """What `--json` says of a stage that made a part."""
    part = parts.read(made.folder)
    measures, absent = part.measures()
    return {
        "part": part.name,
        "measures": [
            {"name": m.name, "value": m.value, "low": m.low, "high": m.high, "n": m.n,
             "clusters": m.clusters, "better": m.better, "unit": m.unit, "method": m.method}
            for m in measures
        ],
        "absent": dict(absent),
        "conditions": dict(part.conditions),
        "records": str(made.folder / "records.parquet"),
    }  # fmt: skip


def lines_of(part: Part) -> str:
    """The same as a table for people."""
    measures, absent = part.measures()
    lines = [f"{'measure':<44}{'value':>12}  95% interval"]
    lines += [
        f"{m.name:<44}{m.value:>12.4g}  [{m.low:.4g}, {m.high:.4g}]  n={m.n} {m.unit}"
        for m in measures
    ]
    lines += [f"{name:<44}{'absent':>12}  {why}" for name, why in absent.items()]
    return "\n".join([*lines, *_shortened(part)])


def _shortened(part: Part) -> list[str]:
    """How many examples a window cut short, where it did or nobody knows."""
    truncated = part.conditions.get("truncated", 0)
    if not isinstance(truncated, int):
        return ["whether the contexts fit the model's window is not known: it does not tell"]
    if not truncated:
        return []
    return [
        f"{truncated:,} of {len(part.expected):,} examples are longer than the window of "
        f"{part.conditions['window']:,} tokens and count as invalid"
    ]
