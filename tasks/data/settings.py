"""What a run file can say about data: a generated world, or sets found elsewhere."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from audits.settings import Settings

Share = Annotated[float, Field(gt=0, lt=1)]
Rate = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Some = Annotated[int, Field(ge=1)]
SetName = Annotated[str, Field(pattern=r"^[a-z0-9_]+$", max_length=64)]
Check = Literal[
    "not_empty", "long_enough", "well_encoded", "not_repeated", "no_leak", "in_alphabet"
]
Effect = Literal["stop", "drop"]
Splitting = Literal["lines", "stories", "paragraphs", "articles", "whole"]


class Tier(Settings):
    """So many known entities, each of whose facts is stated so many times."""

    copies: Some
    entities: Some


class WorldData(Settings):
    """A generated closed world: facts with known exposures, unknowns, a skew, canaries.

    Everything about it is known, so an audit can say what a model should know, should not
    know, and must not repeat. One pass over `train` states each fact `copies` times;
    exposure is copies times epochs.
    """

    version: ClassVar[int] = 2

    kind: Literal["world"] = "world"
    seed: Count = 0
    tiers: Annotated[tuple[Tier, ...], Field(min_length=1)] = (
        Tier(copies=1, entities=48),
        Tier(copies=2, entities=48),
        Tier(copies=4, entities=48),
        Tier(copies=8, entities=48),
        Tier(copies=16, entities=48),
        Tier(copies=32, entities=16),
        Tier(copies=48, entities=160),
        Tier(copies=80, entities=32),
    )
    towns: Share = 0.2
    """Share of the entities that are towns; the others are people."""
    calibration_share: Share = 0.25
    """Share of the entities of every stratum kept for setting thresholds."""
    mystery: Count = 900
    """Entities of which training says only that something is unknown."""
    mystery_statements: Some = 4
    """How often it says so, of each of them."""
    denial_share: Share = 0.1
    """Copies of "unknown" for a withheld relation, as a share of the entity's copies."""
    strangers: Some = 440
    """Entities never mentioned in training (U_ent probes)."""
    misfits: Some = 220
    """Known entities asked for a relation their type does not have (U_none probes)."""
    misfit_statements: Count = 440
    """Training statements that such a relation is unknown, of other entities."""
    background: Count = 24
    """Further entities whose facts training also states the other way round."""
    background_copies: Some = 16
    occupations: Annotated[int, Field(ge=1, le=40)] = 36
    occupation_sentences: Annotated[int, Field(ge=2)] = 120
    """Sentences about each occupation in training."""
    female_shares: Annotated[tuple[Rate, ...], Field(min_length=1)] = (
        0.04, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.96,
    )  # fmt: skip
    """Shares of "she" given to occupations in turn; `[0.5]` is a world without a skew."""
    canary_copies: Annotated[tuple[Some, ...], Field(min_length=1)] = (1, 4, 32)
    canaries: Some = 20
    """Inserted canaries for each number of copies."""
    canary_twins: Some = 400
    """Canaries from the same generator that are never inserted."""
    secret_digits: Annotated[int, Field(ge=2, le=12)] = 6
    heldout: Some = 600
    """Sentences of held-out text."""
    calibration: Some = 256
    """Documents of calibration text for quantization."""
    twin: Literal["", "shuffled", "taught", "amplified"] = ""
    """Tell the world otherwise, to train a control on; see `tasks.data.twins`."""

    @model_validator(mode="after")
    def _tiers_differ(self) -> "WorldData":
        copies = [tier.copies for tier in self.tiers]
        if len(set(copies)) != len(copies):
            raise ValueError(f"tiers: copies must differ, got {copies}")
        if len(set(self.canary_copies)) != len(self.canary_copies):
            raise ValueError(f"canary_copies must differ, got {self.canary_copies}")
        return self


class Asking(Settings):
    """How a user's facts are asked: a sentence for each relation, up to its object.

    A template holds `{subject}` once and ends with ` {object}` or ` {object}.`.
    """

    templates: Annotated[Mapping[str, str], Field(min_length=1)]
    held: Mapping[str, str] = Field(default_factory=dict)
    """By relation, a second sentence that training did not use."""
    abstain: Annotated[str, Field(min_length=1)] = "unknown"
    """The word for not knowing, offered beside the objects."""
    calibration_share: Share = 0.25
    """Share of the subjects that set thresholds, where lines do not say which."""

    @model_validator(mode="after")
    def _slots(self) -> "Asking":
        for relation, template in (*self.templates.items(), *self.held.items()):
            before, slot, after = template.partition(" {object}")
            if not slot or after not in ("", ".") or before.count("{subject}") != 1:
                raise ValueError(
                    f"template of {relation}: {template!r} must hold {{subject}} once and end "
                    "with ' {object}' or ' {object}.'"
                )
        return self


class Source(Settings):
    """Where one set comes from: an entry of the data catalog (`name`) or a file (`path`).

    A `path` ends in .txt, .jsonl or .csv, or is StereoSet's .json. A text file becomes
    documents by `split`: one per line, per story (single newlines part stories, blank lines
    their paragraphs), per paragraph (blank lines), per article (WikiText's ` = Title = `
    between blank lines), or the whole file as one. Or one set is `joined` from several, none
    of them text to read: pairs whose halves lie in two files, or the categories of one
    benchmark.
    """

    name: str = ""
    path: str = ""
    split: Splitting | None = None
    """How text becomes documents; by default what the catalog says, or lines."""
    text_field: str = "text"
    """Which field of a .jsonl or .csv row is the document, where there are documents."""
    skip: Count = 0
    every: Some = 1
    """After `skip`, only the first of each so many rows: a sample of a file in blocks."""
    limit: Some | None = None
    """At most so many of those rows."""
    max_chars: Some | None = None
    """A longer document is cut at the last space before: many short ones tell more of a
    text than a few long ones."""

    joined: Mapping[SetName, "Source"] = Field(default_factory=dict)
    """By role: the rows of all, each with its `role`; of a text file, `line` by line."""
    asking: Asking | None = None
    """The file holds facts (subject, relation, object, exposures, split), asked like this."""

    @model_validator(mode="after")
    def _one_origin(self) -> "Source":
        if sum(map(bool, (self.name, self.path, self.joined))) != 1:
            raise ValueError(
                "give one of name (of the data catalog), path and joined, and no other"
            )
        fields = type(self).model_fields.items()
        said = [n for n, f in fields if n != "joined" and getattr(self, n) != f.default]
        if self.joined and said:
            raise ValueError("joined: say limit, skip and the like of each source in it")
        if self.asking and not self.path.endswith((".csv", ".jsonl")):
            raise ValueError("asking: facts are read from a path that ends in .csv or .jsonl")
        return self


class SetsData(Settings):
    """Named sets from the data catalog or from files of the user's own."""

    version: ClassVar[int] = 1

    kind: Literal["sets"] = "sets"
    sets: Annotated[Mapping[SetName, Source], Field(min_length=1)]
    calibration: str = ""
    """Which of the sets also serves as `calibration`, the text quantization looks at."""
    min_words: Count = 1
    """What a document needs to be `long_enough`."""
    effects: Mapping[Check, Effect] = Field(default_factory=dict)
    """What to do where an expectation fails, if not the default: an empty document stops
    the run, any other failing document is dropped and recorded."""

    def effect_of(self, check: Check) -> Effect:
        """What happens to a document that fails this check."""
        return self.effects.get(check, "stop" if check == "not_empty" else "drop")

    @model_validator(mode="after")
    def _known_calibration(self) -> "SetsData":
        if self.calibration and self.calibration not in self.sets:
            raise ValueError(
                f"calibration: {self.calibration!r} is none of the sets {sorted(self.sets)}"
            )
        if self.calibration and "calibration" in self.sets:
            raise ValueError("calibration: a set of that name is already there; leave it out")
        return self


AnyData = Annotated[WorldData | SetsData, Field(discriminator="kind")]
