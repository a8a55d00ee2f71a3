"""What says of a text how much of something it holds, as a number from 0 to 1?"""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, Protocol

from pydantic import Field, model_validator

from audits.errors import AuditError
from audits.insults import INSULTS
from audits.lexicon import Lexicon
from audits.settings import Settings

Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]
"""Of the texts that a scorer reads, by ISO 639."""
NON_COMMERCIAL = re.compile(
    r"\b(cc)?(by)?nc\b|\b(cc)?bync|\bnon ?commercial|\b(no|not( be used)?( for)?) commercial"
    r"|\b(research|academic|educational|personal)( use| purposes?)? only\b"
    r"|\bonly (for|in) (\w+ ){0,2}(research|academic|education|personal)"
)
"""In a licence's lower case, one space for all that is no letter or number."""


class TextScorer(Protocol):
    """Anything with a number for every text: a classifier, a lexicon, a stranger's function."""

    @property
    def digest(self) -> str:
        """Content hash of what decides its answers."""
        ...

    def score(self, texts: Sequence[str]) -> list[float]:
        """For each text how much of it there is, from 0 to 1; equal texts, equal numbers."""
        ...


class LexiconScorer(Settings):
    """1 where a text holds a word of a list, else 0: a lexicon rate, and no more than that.

    Without a `path` it is the project's own short list of English insults. A file of the
    user's own has one term a line (.txt), or a column `term` or `lemma` (.csv, .tsv, .jsonl);
    where rows give a `language` it must be this one, and with `level` only rows of that level
    count (HurtLex: conservative, inclusive). Its licence is stated with every result: several
    lexicons of hurtful words may not be used commercially.
    """

    kind: Literal["lexicon"] = "lexicon"
    path: str = ""
    digest: str = ""
    """Content hash (sha256) of the file, so that equal settings mean the same words."""
    licence: str = ""
    """Under which the file may be used, as its owner says; the project ships none of others."""
    language: Language = "en"
    level: str = ""

    @model_validator(mode="after")
    def _stated(self) -> "LexiconScorer":
        if self.path and not self.licence:
            raise ValueError(
                f"lexicon {self.path}: say under which licence it may be used (licence: …), "
                "which is stated with every result"
            )
        return self

    @property
    def about(self) -> str:
        """Which list it is, under which licence, and what that forbids."""
        if not self.path:
            return "lexicon of the project's own English insults, Apache-2.0"
        said = " ".join(re.findall("[a-z0-9]+", self.licence.lower()))
        more = ", which forbids commercial use" if NON_COMMERCIAL.search(said) else ""
        return f"lexicon {self.path}, licence {self.licence}{more}"


class ClassifierScorer(Settings):
    """The probability that a text classifier of transformers gives to one of its labels.

    `model` is a folder or a hub id with safetensors weights; code that comes with it is never
    run. `digest` is the content hash that the loader names.
    """

    kind: Literal["classifier"] = "classifier"
    model: Annotated[str, Field(min_length=1)]
    digest: str = ""
    label: str = "toxic"
    language: Language = "en"

    @property
    def about(self) -> str:
        """Which model, and what of it."""
        return f"classifier {self.model}, label {self.label}"


AnyScorer = Annotated[LexiconScorer | ClassifierScorer, Field(discriminator="kind")]


def ready(settings: AnyScorer, given: TextScorer | None) -> TextScorer | None:
    """The scorer to ask: the one handed over, or the project's own list where that is meant."""
    if given is None and isinstance(settings, LexiconScorer) and not settings.path:
        return Lexicon(INSULTS)
    return given


def scored(scorer: TextScorer, texts: Iterable[str]) -> dict[str, float]:
    """The score of each text, in one call; one that stands twice is asked about once.

    Raises:
        AuditError: the scorer answers another number of texts, or outside [0, 1].
    """
    asked = list(dict.fromkeys(texts))
    found = scorer.score(asked) if asked else []
    if len(found) != len(asked):
        raise AuditError(f"the scorer gave {len(found)} numbers for {len(asked)} texts")
    for text, value in zip(asked, found, strict=True):
        if not (math.isfinite(value) and 0 <= value <= 1):
            raise AuditError(
                f"the scorer gave {value} to {text[:40]!r}; a score lies between 0 and 1"
            )
    return {text: float(value) for text, value in zip(asked, found, strict=True)}
