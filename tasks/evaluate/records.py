"""What did each document of a benchmark come to?"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.evaluate.finding import Found

Row = Mapping[str, object]

TRUNCATED = "truncated"
"""Column of how many tokens a question's context lost on its left."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Records about one benchmark or text set, and what identifies its questions."""

    name: str
    """`task/NAME` or `text/NAME`; also the records' column `question`."""
    expected: tuple[str, ...]
    rows: tuple[Row, ...]
    values: frozenset[str]
    """Columns that hold what was measured."""
    hashes: tuple[str, ...]
    notes: Mapping[str, object]
    documents: tuple[str, ...] = ()
    """How many documents came from where, for a person; not what the questions are."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One lm-eval task with its documents, fixed before the model is asked."""

    name: str
    task: Any
    docs: Sequence[Mapping[str, Any]]

    @property
    def meta(self) -> Mapping[str, Any]:
        """What the task's YAML says beyond lm-eval's own keys."""
        found = self.task.config.metadata
        return found if isinstance(found, Mapping) else {}

    def example(self, number: int) -> str:
        """Id of a document: the task's own, or its number."""
        return f"{self.name}/{self._say('id', self.docs[number]) or number}"

    def ids(self) -> tuple[str, ...]:
        """Ids of all documents."""
        return tuple(self.example(i) for i in range(len(self.docs)))

    def keys(self, number: int) -> dict[str, object]:
        """Example, cluster and group of a document."""
        example, doc = self.example(number), self.docs[number]
        cluster = self._say("cluster", doc)
        return {
            "example": example,
            "cluster": f"{self.name}/{cluster}" if cluster else example,
            "group": self._say("group", doc),
        }

    def _say(self, key: str, doc: Mapping[str, Any]) -> str:
        from lm_eval.utils import apply_template

        template = self.meta.get(key)
        return str(apply_template(str(template), dict(doc))) if template is not None else ""


def outcome(
    found: "Found",
    samples: Mapping[str, Sequence[Mapping[str, Any]]],
    metrics: Sequence[str],
    lost: Mapping[tuple[str | None, int | None], int | None],
) -> Outcome:
    """Turn lm-eval's logged samples of a requested task into records.

    Where a task has several filters, its first one counts. `truncated` is in a record how
    many tokens of `lost` (see `HarnessModel.truncated`) its context was cut by: lm-eval
    counts such an answer like any other. It is absent where the model does not tell; a text
    scored in windows loses nothing.
    """
    rows: list[Row] = []
    hashes: list[str] = []
    notes: dict[str, object] = {}
    offered: set[str] = set()
    for leaf in found.leaves:
        logged = list(_first_filter(samples[leaf.name]))
        notes[leaf.name] = {
            "version": str(leaf.task.VERSION),
            "filter": logged[0]["filter"] if logged else "",
            "num_fewshot": leaf.task.config.num_fewshot,
        }
        for sample in logged:
            offered |= set(sample["metrics"])
            key = leaf.keys(sample["doc_id"])
            rows.append(
                {"question": f"task/{found.name}", "task": leaf.name}
                | key
                | _values(sample, metrics)
                | _truncated(lost.get((leaf.task.config.task, sample["doc_id"]), 0))
            )
            hashes.append(_question_hash(sample))
    return Outcome(
        name=f"task/{found.name}",
        expected=tuple(example for leaf in found.leaves for example in leaf.ids()),
        rows=tuple(rows),
        values=frozenset(offered),
        hashes=tuple(hashes),
        notes=notes,
        documents=found.documents,
    )


def _truncated(tokens: int | None) -> dict[str, object]:
    return {} if tokens is None else {TRUNCATED: float(tokens)}


def _question_hash(sample: Mapping[str, Any]) -> str:
    """Hash of the document, with lm-eval's own of the prompt and the target.

    lm-eval's hash of a document depends on the order of its fields, and `datasets` gives
    the same file's fields now in one order, now in another.
    """
    doc = json.dumps(sample["doc"], sort_keys=True, default=str)
    digest = hashlib.sha256(doc.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{digest}-{sample['prompt_hash']}-{sample['target_hash']}"


def _first_filter(samples: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    first = samples[0]["filter"] if samples else None
    return (s for s in samples if s["filter"] == first)


def _values(sample: Mapping[str, Any], metrics: Sequence[str]) -> dict[str, object]:
    """The metrics as numbers, or why there are none; and what the model preferred."""
    found: dict[str, object] = {}
    for metric in metrics:
        if metric not in sample["metrics"]:
            continue
        numbers = _numbers(metric, sample[metric])
        if not numbers or not all(map(math.isfinite, numbers.values())):
            return {"why": f"lm-eval gave no number for {metric}"}
        found |= numbers
    answers = sample["filtered_resps"]
    if len(answers) > 1 and all(isinstance(a, tuple | list) for a in answers):
        said = [float(a[0]) for a in answers]
        found["chosen"] = float(said.index(max(said)))
    elif len(answers) == 1 and isinstance(answers[0], tuple | list):
        found["logprob"] = float(answers[0][0])
    return found


def _numbers(metric: str, value: object) -> dict[str, float]:
    """Columns that a metric of one document becomes; none where it is no number.

    A rolling metric is a log-probability in nats and the bytes it is spread over.
    """
    if metric == "bits_per_byte" and isinstance(value, tuple | list) and len(value) == 2:
        return {"bits": -float(value[0]) / math.log(2), "bytes": float(value[1])}
    if isinstance(value, bool | int | float) and metric != "bits_per_byte":
        return {metric: float(value)}
    return {}
