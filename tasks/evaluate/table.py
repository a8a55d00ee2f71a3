"""The numbers of an evaluation as a person reads them: lm-eval's own table."""

from collections.abc import Mapping, Sequence
from typing import Any

from audits.evidence import Part

Results = dict[str, dict[str, Any]]

KEPT = (
    "results",
    "groups",
    "group_subtasks",
    "versions",
    "n-shot",
    "higher_is_better",
    "n-samples",
)
"""What of lm-eval's results says the same on every machine and day."""


def table(results: Mapping[str, Any]) -> str:
    """Markdown table in lm-eval's style of what `lm_eval.json` holds."""
    from lm_eval.utils import make_table

    return str(make_table(dict(results))).rstrip()


def with_documents(text: str, documents: Sequence[str], said_of_cuts: str = "") -> str:
    """The table, below it what was cut, and how many documents came from where."""
    cuts = ["", said_of_cuts] if said_of_cuts else []
    listed = [f"- {said}" for said in documents]
    return "\n".join([text, *cuts, "", "documents", *listed])


def cut(part: Part) -> str:
    """How many questions lost their beginning for want of room; empty where none did."""
    truncated = part.conditions["truncated"]
    if not isinstance(truncated, int):
        return "whether the questions fit the model's window is not known: it does not tell"
    if not truncated:
        return ""
    asked = part.records["question"].str.startswith("task/").sum()
    return (
        f"{truncated:,} of {asked:,} questions were longer than the window of "
        f"{part.conditions['window']:,} tokens and were cut on the left, as lm-eval does"
    )


def with_texts(results: Results, part: Part) -> Results:
    """Add a line for each text measured."""
    merged = {key: dict(results.get(key, {})) for key in KEPT}
    for measure in part.measures()[0]:
        _, name, which = measure.name.split("/", 2)
        if name != "bits_per_byte" or which in merged["results"]:
            continue
        merged["results"][which] = {"alias": which, "bits_per_byte,none": measure.value}
        merged["versions"][which] = 1
        merged["n-shot"][which] = 0
        merged["higher_is_better"][which] = {"bits_per_byte": False}
        merged["n-samples"][which] = {"original": measure.n, "effective": measure.n}
    return merged
