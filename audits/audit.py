"""The contract every audit keeps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from audits.estimand import Declared
from audits.model import Example, LanguageModel
from audits.scorers import TextScorer

if TYPE_CHECKING:
    import pandas as pd


class Entailment(Protocol):
    """A model of natural language inference."""

    @property
    def digest(self) -> str:
        """Content hash of its weights and tokenizer."""
        ...

    def entails(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """For each (premise, hypothesis), whether entailment is the likeliest relation."""
        ...


@dataclass(frozen=True)
class Tools:
    """What else an audit may be handed; passed in by the shell, never looked up.

    `exposures` says how often the statement behind an example stood in the packed training
    stream (counted there, all epochs); it is empty where no stream is at hand. `references`
    are other models by role (`untrained/0`, `unigram`, …). `entailment` is there where the
    audit's settings name such a model, `scorer` where they name one of texts, and `corpus`
    holds the documents of the set of text that they name.

    `lacking` says why something that the settings ask for is not here, by the name of the
    tool: what rests on it is then absent for that reason.
    """

    exposures: Mapping[str, int] = field(default_factory=dict)
    references: Mapping[str, LanguageModel] = field(default_factory=dict)
    entailment: Entailment | None = None
    scorer: TextScorer | None = None
    corpus: Sequence[str] = ()
    lacking: Mapping[str, str] = field(default_factory=dict)


class Audit(Protocol):
    """Frozen settings with a short, pure protocol.

    Equal settings, model, examples, tools and seed give equal records. An audit reads no
    files, keeps no state, and opens no network connection: what it needs beside its rows it
    asks for by a property `wanted` (`audits.settings.Wanted`), if anything. An example whose
    context the model's window cut short (`audits.rows.unusable`, `audits.rows.overlong`) has
    a record that says so and no values.
    """

    @property
    def kind(self) -> str:
        """Name of the audit in run files."""
        ...

    @property
    def version(self) -> int:
        """Raised when the code changes what is measured; part of every basis."""
        ...

    @property
    def source(self) -> str:
        """The named set of a dataset whose rows `examples` reads (`facts`, `crows_pairs`)."""
        ...

    def declares(self) -> tuple[Declared, ...]:
        """The measures this audit will give, known before anything runs."""
        ...

    def examples(self, rows: Sequence[Mapping[str, object]]) -> tuple[Example, ...]:
        """Make examples from rows of the audit's data format; ids are stable and unique."""
        ...

    def strata(self, examples: Sequence[Example]) -> tuple[Mapping[str, str], ...]:
        """What each record will hold in the columns measures select by, before any answer."""
        ...

    def run(
        self,
        model: LanguageModel,
        examples: Sequence[Example],
        tools: Tools,
        *,
        seed: int,
    ) -> "pd.DataFrame":
        """Put the examples to the model; at least one record per example, always.

        The frame comes from `audits.evidence.records_frame`: an example that could not be
        scored has a reason in `why`.
        """
        ...
