"""Where runs, versions and their evidence are kept, whatever keeps them.

A version is its weights: publishing the same weights again adds evidence to the version
there is. Whoever implements `Store` keeps these promises: `registry.testing.MemoryStore` and
what `registry.mlflow_store.open_store` opens are held to them by the same tests.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from audits.errors import EvidenceError, GateRefused, SpecError
from audits.evidence import Evidence
from registry.gate import Decision

CANDIDATE, CHAMPION, PREVIOUS = "candidate", "champion", "previous"

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set a run rests on: what it is called, its digest, and what it was used for."""

    name: str
    digest: str
    source: str
    context: str = "training"


@dataclass(frozen=True, eq=False)
class Publication:
    """One variant of a model with all that is known about it.

    `evidence.subject` is the digest of weights and tokenizer and decides which version this
    is. `evidence.about` may hold `title`, `parent` (digest of the uncompressed weights),
    `recipe`, `data`, `intended_use`, `limits`, …: JSON values, shown in the card.
    `attachments` maps a path among the run's artifacts to a file or folder here.
    """

    name: str
    """The registered model."""
    title: str
    """The variant, as reviewers see it (`int8`)."""
    folder: Path
    evidence: Evidence
    loader: str
    """Module with `_load_pyfunc(path)`, named but not imported."""
    requirements: Sequence[str]
    """What a server must install to load the model."""
    params: Mapping[str, Value] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    """`spec`, `policy`, `data`, … digests and the like; stored as `assay.<key>`."""
    datasets: Sequence[Dataset] = ()
    attachments: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Version:
    """A registered version as it stands: `number` within `name`, its weights, its run."""

    name: str
    number: str
    weights: str
    run: str
    evidence: str
    """Digest of the stored evidence."""
    verdict: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()

    @property
    def uri(self) -> str:
        """What `mlflow.pyfunc.load_model` takes."""
        return f"models:/{self.name}/{self.number}"


class Store(Protocol):
    """What the platform asks of a registry."""

    def begin(
        self,
        experiment: str,
        title: str,
        *,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, Value] | None = None,
        datasets: Sequence[Dataset] = (),
    ) -> str:
        """Open the parent run of a pipeline run; returns its id."""
        ...

    def child(
        self,
        parent: str,
        title: str,
        *,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, Value] | None = None,
        metrics: Mapping[str, float] | None = None,
        artifacts: Mapping[str, Path] | None = None,
        datasets: Sequence[Dataset] = (),
    ) -> str:
        """Record a finished stage below a pipeline run; returns the id of its run."""
        ...

    def attach(
        self,
        run: str,
        *,
        tags: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
        artifacts: Mapping[str, Path] | None = None,
        note: str = "",
    ) -> None:
        """Add to a run (the HTML report, totals). Metrics must be finite.

        `note` is Markdown that a reviewer reads first on the run's page.
        """
        ...

    def finish(self, run: str, *, ok: bool = True) -> None:
        """Close a run as finished or failed."""
        ...

    def publish(self, publication: Publication, *, parent: str) -> Version:
        """Make the version of these weights, or add evidence to the one there is.

        Parts of the same name are replaced, other stored parts stay; where anything changed,
        the version is to be judged again. Interrupted at any
        point, no half version shows, and publishing again completes it.
        """
        ...

    def version(self, name: str, number: str) -> Version:
        """A sealed version. SpecError where there is none."""
        ...

    def versions(self, name: str) -> tuple[Version, ...]:
        """All sealed versions, oldest first; none for an unknown name."""
        ...

    def resolve(self, name: str, alias: str) -> Version | None:
        """The version an alias points at, or None. EvidenceError where it is not sealed."""
        ...

    def evidence(self, name: str, number: str) -> Evidence:
        """Everything stored about a version, verified against its digests.

        Raises:
            EvidenceError: missing, truncated or altered.
        """
        ...

    def attachment(self, version: Version, path: str) -> Path:
        """A file or folder among a version's artifacts, to read.

        Raises:
            EvidenceError: there is none.
        """
        ...

    def decision(self, version: Version) -> Decision | None:
        """The last decision on a version, or None where it was never judged.

        Raises:
            EvidenceError: the stored one is missing, altered or about other weights.
        """
        ...

    def nominate(self, version: Version) -> None:
        """Point `candidate` at a version."""
        ...

    def record(
        self, version: Version, decision: Decision, policy: Mapping[str, object] | None = None
    ) -> Version:
        """Store a decision with its version: the file, the verdict, the card.

        Raises:
            EvidenceError: the decision is about other weights.
        """
        ...

    def promote(
        self, version: Version, decision: Decision, *, expected_champion: str | None
    ) -> Version:
        """Move `champion` to a version, and `previous` to the one it replaces.

        `expected_champion` is the number of the version the decision was made against (None:
        there was none). A version that is champion already, with a decision that allows
        it, counts as promoted.

        Raises:
            GateRefused: the decision does not allow it, is about other weights, or the
                champion has moved since.
        """
        ...


def permit(
    version: Version, decision: Decision, champion: Version | None, expected: str | None
) -> None:
    """Refuse a promotion that its decision does not carry.

    Raises:
        GateRefused: with the reason.
    """
    where = f"{version.name}/{version.number}"
    if not decision.promote:
        raise GateRefused(f"{where}: not promoted; {decision.sentence}")
    if decision.subject != version.weights:
        raise GateRefused(
            f"{where}: the decision is about weights {decision.subject[:12]}, this version has "
            f"{version.weights[:12]}; judge this version"
        )
    if champion and champion.number == version.number:
        return
    number = champion.number if champion else None
    if number != expected:
        raise GateRefused(
            f"{where}: the champion is version {number or 'none'} and no longer "
            f"{expected or 'none'}; judge against it"
        )
    weights = champion.weights if champion else ""
    if decision.champion != weights:
        raise GateRefused(
            f"{where}: the decision was made against champion "
            f"{decision.champion[:12] or 'none'}, now it is {weights[:12] or 'none'}; judge it"
        )


def belongs(version: Version, decision: Decision) -> None:
    """Refuse to store a decision with another version than the one it is about.

    Raises:
        EvidenceError: with both digests.
    """
    if decision.subject != version.weights:
        raise EvidenceError(
            f"{version.name}/{version.number}: a decision about weights "
            f"{decision.subject[:12]} does not belong to {version.weights[:12]}"
        )


def model_name(name: str) -> str:
    """A name every registry backend takes.

    Raises:
        SpecError: anything else.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", name):
        raise SpecError(
            f"model {name!r}: use up to 100 letters, digits, _ . and -, the first no sign"
        )
    return name
