"""The base of everything a run file can configure, and its fingerprint."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

from audits.model import Example

if TYPE_CHECKING:
    from audits.scorers import AnyScorer


class Settings(BaseModel):
    """A frozen, closed, strictly typed set of settings.

    Unknown keys are errors, "0.5" is not a number, NaN is not a setting, and nothing
    changes after construction.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @property
    def identity(self) -> str:
        """Identity of the settings: equal settings, equal digests."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Beside:
    """A model that an audit needs beside the one it audits: where it lies, and which it is."""

    folder: str
    digest: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an audit asks the shell to put among its tools, beside its rows."""

    untrained: int = 0
    """Twins of the model with random weights, as references `untrained/0`, `untrained/1`, …"""
    unigram: str = ""
    """Set of text whose token counts make the reference `unigram`."""
    corpus: str = ""
    """Set of text to be handed over whole, as `corpus`."""
    scorer: "AnyScorer | None" = None
    """What says of a text how much of something it holds, as `scorer`."""
    entailment: Beside | None = None
    """The model of natural language inference, as `entailment`."""


class AuditSettings(Settings):
    """The base of every audit: what its part is called in a run.

    The name is the first segment of each measure (`world/recall/known`). It says nothing
    about what is measured, so equal audits under two names have one identity.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]*$")] = ""
    """Name of the part; empty stands for the audit's kind."""

    @property
    def title(self) -> str:
        """The name, or the kind where no name was given."""
        return self.name or str(getattr(self, "kind", ""))

    @property
    def wanted(self) -> Wanted:
        """What is to be handed over among the tools; nothing for most audits."""
        return Wanted()

    @property
    def identity(self) -> str:
        """Identity of what is measured: the settings without the name."""
        return hashlib.sha256(self.model_dump_json(exclude={"name"}).encode()).hexdigest()

    def strata(self, examples: Sequence[Example]) -> tuple[Mapping[str, str], ...]:
        """What the record of each example will hold in the columns measures select by.

        Known before a model is asked, so that a plan can count what a rule will rest on;
        a column that only an answer decides is left out.
        """
        return tuple({**e.strata, "group": e.group} for e in examples)
