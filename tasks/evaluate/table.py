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


def with_documents(text: str, documents: Sequence[str]) -> str:
    """The table, and below it how many documents came from where."""
    return "\n".join([text, "", "documents", *(f"- {said}" for said in documents)])


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
