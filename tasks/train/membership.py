"""How often did the model really see each statement it will be asked about?"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from audits.errors import StageError
from tasks.train.packing import PADDING, Blocks

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Row = Mapping[str, object]

_BORDER = chr(0)
_END = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True, eq=False)
class Stream:
    """What training saw: `sentences` with their counts, and the tokens themselves.

    `tokens` spells each document of the stream once, a character for a token, so that n-grams
    of tokens are found as text is.
    """

    sentences: Counter[str]
    tokens: str
    tokenizer: "PreTrainedTokenizerBase"

    def grams(self, texts: Sequence[str]) -> list[str]:
        """The tokens of each text, spelled as `tokens` is."""
        if not texts:
            return []
        coded = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return [_spelled(ids) for ids in coded]


def read_stream(stream: Blocks, tokenizer: "PreTrainedTokenizerBase") -> Stream:
    """Count every sentence of the packed stream, decoded from its tokens.

    What is counted is what stood whole in one block, over all epochs: of a document that
    packing cut, the sentence at the cut counts as two others.
    """
    documents = Counter(d for block in stream for d in _documents(block, tokenizer))
    found: Counter[str] = Counter()
    if not documents:
        return Stream(found, "", tokenizer)
    texts = tokenizer.batch_decode([list(ids) for ids in documents])
    for text, n in zip(texts, documents.values(), strict=True):
        for sentence in _END.split(text.strip()):
            found[sentence] += n
    return Stream(found, _BORDER.join(map(_spelled, documents)), tokenizer)


def _spelled(ids: Iterable[int]) -> str:
    return "".join(chr(i + 1) for i in ids)


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


def count_rows(rows: Iterable[Row], stream: Stream) -> dict[str, int]:
    """Exposures by row id, looked up in the counted stream and never taken from the row.

    A statement counts in every form it has (`renderings`, or its `text`), so rows that ask
    for one fact in several ways share the count. A row whose object is empty asks what
    nobody may know: its count is of the sentences that hold its prompt or, where nothing at
    all should be known of it (`U_ent`), its subject; or of the documents that hold either as
    an n-gram of tokens, where no sentence does. It should be 0; audits make records of
    others invalid.

    Raises:
        StageError: A row has an answer and nothing to be counted by.
    """
    everything = "\n".join(stream.sentences)
    counted: dict[str, int] = {}
    unknown: list[Row] = []
    for row in rows:
        counted[str(row["id"])] = 0
        if row.get("object") == "":
            unknown.append(row)
        else:
            counted[str(row["id"])] = sum(stream.sentences[form] for form in _forms(row))
    asked = [(str(row["id"]), text) for row in unknown for text in _mentions(row)]
    grams = stream.grams([text for _, text in asked])
    for (name, text), gram in zip(asked, grams, strict=True):
        n = stream.tokens.count(gram)
        if text in everything:
            n = sum(m for sentence, m in stream.sentences.items() if text in sentence)
        counted[name] = max(counted[name], n)
    return counted


def _forms(row: Row) -> frozenset[str]:
    forms = row.get("renderings", [row["text"]] if "text" in row else None)
    if not isinstance(forms, list):
        raise StageError(
            f"row {row['id']!r}: it has neither a list of renderings nor a text, so its "
            "exposure cannot be counted; make the dataset again"
        )
    return frozenset(map(str, forms))


def _mentions(row: Row) -> list[str]:
    """What training must not hold; a name also as it stands inside a sentence."""
    if row.get("stratum") != "U_ent":
        return [str(row["prompt"])]
    return [str(row["prompt"]), str(row["subject"]), f" {row['subject']}"]
