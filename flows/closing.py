"""The closing words of a run."""

from collections.abc import Mapping
from typing import Any


def closing(outcome: Mapping[str, Any]) -> str:
    """The table of candidates, what the run cost, and where to look next."""
    answer = outcome["answer"]
    cost, stages = answer["overhead"], answer["stages"]
    made = sum(not s["cached"] for s in stages)
    said = (
        f"{made} stages made, {len(stages) - made} unchanged; {cost['wall_s']:.0f} s, "
        f"of which Prefect, MLflow and hashing {cost['share']:.1%}"
    )
    return "\n".join(
        [
            outcome["table"], "", said, f"report    {answer['report']}",
            f"registry  assay ui   ({answer['tracking_uri']})",
        ]
    )  # fmt: skip
