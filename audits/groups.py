"""Values by group of examples, from fairlearn's MetricFrame."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from fairlearn.metrics import MetricFrame


def group_table(frame: "pd.DataFrame", value: str, by: str = "group") -> "pd.DataFrame":
    """Count and mean of a column in each group of `by`, over valid rows in some group."""
    import pandas as pd

    return pd.DataFrame(_by_group(frame, value, by).by_group)


def group_difference(frame: "pd.DataFrame", value: str, by: str = "group") -> float:
    """Largest minus smallest mean between groups, over the same rows."""
    return float(_by_group(frame, value, by).difference(method="between_groups")["mean"])


def _by_group(frame: "pd.DataFrame", value: str, by: str) -> "MetricFrame":
    from fairlearn.metrics import MetricFrame, count, mean_prediction

    rows = frame[(frame["why"] == "") & (frame[by] != "")]
    numbers = rows[value].to_numpy(dtype=float)
    return MetricFrame(
        metrics={"count": count, "mean": mean_prediction},
        y_true=numbers,
        y_pred=numbers,
        sensitive_features=rows[by].to_numpy(dtype=str),
    )
