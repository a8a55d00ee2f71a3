"""What do the files of the data catalog say in the fields that lm-eval's tasks read?

lm-eval's definitions read a set as the hub has it. Some files of the catalog are editions
that a publisher has already turned into prompts (`query`, `choices`, `gold`); here they are
turned back, so that one definition serves both and the prompts come out as lm-eval's.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def read(name: str, file: Path) -> list[Row]:
    """Documents of a set of the catalog, in file order."""
    text = file.read_text("utf-8")
    return list(_READERS[name](text))


def _lines(text: str) -> Iterator[Row]:
    return (json.loads(line) for line in text.split("\n") if line.strip())


def _arc(text: str) -> Iterator[Row]:
    for row in _lines(text):
        labels = [chr(ord("A") + i) for i in range(len(row["choices"]))]
        yield {
            "question": row["query"].removeprefix("Question: "),
            "choices": {"text": row["choices"], "label": labels},
            "answerKey": labels[row["gold"]],
        }


def _piqa(text: str) -> Iterator[Row]:
    for row in _lines(text):
        goal = row["query"].removeprefix("Question: ").removesuffix("\n")
        yield {
            "goal": goal,
            "sol1": row["choices"][0],
            "sol2": row["choices"][1],
            "label": row["gold"],
        }


def _boolq(text: str) -> Iterator[Row]:
    """The question stands last; a passage may hold the words that lead to it."""
    for row in _lines(text):
        passage, _, question = row["query"].rpartition("\nQuestion: ")
        yield {
            "passage": passage.removeprefix("Passage: "),
            "question": question.removesuffix("?"),
            "label": row["gold"],
        }


def _copa(text: str) -> Iterator[Row]:
    asked = {"because": "cause", "therefore": "effect"}
    for row in _lines(text):
        said, _, connector = row["query"].rpartition(" ")
        yield {
            "premise": said.removesuffix(",") + ".",
            "question": asked[connector],
            "choice1": row["choices"][0],
            "choice2": row["choices"][1],
            "label": row["gold"],
        }


def _lambada(text: str) -> Iterator[Row]:
    return ({"text": f"{row['context']} {row['continuation']}"} for row in _lines(text))


def _truthfulqa(text: str) -> Iterator[Row]:
    for row in json.loads(text):
        yield {"question": row["question"]} | {
            kind: {"choices": list(row[kind]), "labels": list(row[kind].values())}
            for kind in ("mc1_targets", "mc2_targets")
        }


def _wikitext(text: str) -> Iterator[Row]:
    """A page begins at each heading of the first level, as in lm-eval's set of pages."""
    return ({"page": page} for page in _pages(text.split("\n")) if page.strip())


def _pages(lines: Sequence[str]) -> Iterator[str]:
    starts = [at for at, line in enumerate(lines) if _is_title(line)]
    for begin, end in zip([0, *starts], [*starts, len(lines)], strict=True):
        yield "\n".join(lines[begin:end])


def _is_title(line: str) -> bool:
    line = line.strip()
    deeper = line.startswith("= =") or line.endswith("= =")
    return line.startswith("= ") and line.endswith(" =") and not deeper


_READERS: Mapping[str, Callable[[str], Iterable[Row]]] = {
    "arc_easy": _arc,
    "blimp": _lines,
    "boolq": _boolq,
    "copa": _copa,
    "hellaswag": _lines,
    "lambada_openai": _lambada,
    "piqa": _piqa,
    "truthfulqa_mc": _truthfulqa,
    "wikitext2": _wikitext,
}
