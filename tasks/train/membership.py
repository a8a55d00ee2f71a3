"""How often did the model really see each statement it will be asked about?"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

from audits.errors import StageError
from tasks.train.packing import PADDING, Blocks

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Row = Mapping[str, object]

_END = re.compile(r"(?<=[.!?])\s+")


def read_stream(stream: Blocks, tokenizer: "PreTrainedTokenizerBase") -> Counter[str]:
    """Count every sentence of the packed stream, decoded from its tokens.

    What is counted is what stood whole in one block, over all epochs: of a document that
    packing cut, the sentence at the cut counts as two others.
    """
    documents = Counter(d for block in stream for d in _documents(block, tokenizer))
    found: Counter[str] = Counter()
    if not documents:
        return found
    texts = tokenizer.batch_decode([list(ids) for ids in documents])
    for text, n in zip(texts, documents.values(), strict=True):
        for sentence in _END.split(text.strip()):
            found[sentence] += n
    return found


def _documents(
    block: Sequence[int], tokenizer: "PreTrainedTokenizerBase"
) -> Iterable[tuple[int, ...]]:
    borders = (tokenizer.bos_token_id, tokenizer.eos_token_id, PADDING)
    inside: list[int] = []
    for token in map(int, block):
        if token not in borders:
            inside.append(token)
        elif inside:
            yield tuple(inside)
            inside = []
    if inside:
        yield tuple(inside)


def count_rows(rows: Iterable[Row], stream: Mapping[str, int]) -> dict[str, int]:
    """Exposures by row id, looked up in the counted stream and never taken from the row.

    A statement counts in every form it has (`renderings`, or its `text`), so rows that ask
    for one fact in several ways share the count. A row whose object is empty asks what
    nobody may know: its count is 0.

    Raises:
        StageError: The stream answers a row that has no answer, or speaks of an entity
            that it must not mention.
    """
    ordered = sorted(stream)
    everything = "\n".join(ordered)
    counted: dict[str, int] = {}
    for row in rows:
        if row.get("object") == "":
            _check_unseen(row, ordered, everything)
            counted[str(row["id"])] = 0
        else:
            counted[str(row["id"])] = sum(stream.get(form, 0) for form in _forms(row))
    return counted


def _forms(row: Row) -> frozenset[str]:
    forms = row.get("renderings", [row["text"]] if "text" in row else None)
    if not isinstance(forms, list):
        raise StageError(
            f"row {row['id']!r}: it has neither a list of renderings nor a text, so its "
            "exposure cannot be counted; make the dataset again"
        )
    return frozenset(map(str, forms))


def _check_unseen(row: Row, ordered: Sequence[str], everything: str) -> None:
    prompt = str(row["prompt"])
    at = bisect_left(ordered, prompt)
    if at < len(ordered) and ordered[at].startswith(prompt):
        _refuse(row, ordered[at])
    if row.get("stratum") == "U_ent" and str(row["subject"]) in everything:
        _refuse(row, next(s for s in ordered if str(row["subject"]) in s))


def _refuse(row: Row, sentence: str) -> NoReturn:
    raise StageError(
        f"row {row['id']!r}: training must not answer it, but holds {sentence!r}; "
        "make the dataset again with another seed"
    )
