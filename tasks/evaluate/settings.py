"""What to evaluate a model on, and the measures that will come of it."""

from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator

from audits.estimand import Declared, Ratio
from audits.settings import Settings

Metric = Literal[
    "acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "f1", "bits_per_byte"
]
"""Metrics that become measures: of lm-eval's, those that each example has a share in.

All but `bits_per_byte` lie in [0, 1] and are better when higher. What else a task gives
(perplexity, BLEU) stands in lm-eval's own table.
"""
ALL_METRICS: tuple[Metric, ...] = get_args(Metric)

TaskName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.+-]+$")]


class EvaluateSettings(Settings):
    """Benchmarks by name, and texts to measure compression on.

    A task is found in `include_path`, else among our own, else among lm-eval's. Ours read a
    set of the dataset (`world_cloze`, `world_choice`, `blimp`) or a file of the data catalog
    (`blimp`, `hellaswag`, `arc_easy`, `piqa`, `boolq`, `copa`, `lambada_openai`,
    `truthfulqa_mc1`, `truthfulqa_mc2`, `wikitext2`), and count where that is at hand. A task
    whose `metadata` names a `set` reads that set of the dataset, as its test split. Python
    code that tasks in `include_path` refer to is run.
    """

    tasks: tuple[TaskName, ...] = ()
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1)] = ("acc",)
    include_path: str | None = None
    limit: Annotated[int, Field(ge=1)] | None = None
    """Only the first documents of each task."""
    num_fewshot: Annotated[int, Field(ge=0)] | None = None
    """None leaves it to each task; a task that fixes 0 keeps it, as in lm-eval."""
    apply_chat_template: bool = False
    """Put each question as a conversation, by the template of the model's tokenizer."""
    fewshot_as_multiturn: bool = True
    """With a chat template: each worked example is a turn of its own."""
    system_instruction: str | None = None
    """Stands before each question; with a chat template, as the system's turn."""
    texts: tuple[TaskName, ...] = ()
    """Sets of the dataset to compute bits per byte on."""
    text_limit: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    dtype: Literal["float32", "bfloat16"] = "float32"

    @field_validator("tasks", "metrics", "texts")
    @classmethod
    def _once_each(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if doubled := [name for at, name in enumerate(names) if name in names[:at]]:
            raise ValueError(f"{doubled[0]!r} stands twice; name it once")
        return names

    @property
    def version(self) -> int:
        """Raised when the code changes what is measured."""
        return 3

    def declares(self) -> tuple[Declared, ...]:
        """The measures promised: each metric of each task, bits per byte of each text."""
        return (
            *(_measure(metric, task) for task in self.tasks for metric in self.metrics),
            *(bits_per_byte(name) for name in self.texts),
        )


def _measure(metric: Metric, task: str) -> Declared:
    if metric == "bits_per_byte":
        return bits_per_byte(task, question=f"task/{task}")
    return accuracy(metric, task)


def accuracy(metric: str, task: str) -> Declared:
    """Mean of a metric over the documents of a task; of a group, over all its documents."""
    return Declared(
        name=f"{metric}/{task}",
        better="higher",
        about=f"mean {metric} on the benchmark {task}, as lm-eval scores it",
        of=Ratio(value=metric),
        where={"question": f"task/{task}"},
    )


def bits_per_byte(name: str, *, question: str = "") -> Declared:
    """Negative log2-probability of all documents of a set or task over their UTF-8 bytes."""
    return Declared(
        name=f"bits_per_byte/{name}",
        better="lower",
        about=f"bits the model needs for a byte of the texts in {name}",
        unit="bits/byte",
        of=Ratio(value="bits", over="bytes", proportion=False),
        where={"question": question or f"text/{name}"},
    )
