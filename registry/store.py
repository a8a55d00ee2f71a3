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
from registry.finding import APPROVAL, Approval, Case, Verdict
from registry.gate import Decision
from registry.history import GATE, Chain, Entry

CANDIDATE, CHAMPION, PREVIOUS = "candidate", "champion", "previous"
HISTORY = ".history"
"""After a model's name: the registered model whose versions are the entries of its history."""

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
    card: str = ""
    """Its description."""

    @property
    def uri(self) -> str:
        """What `mlflow.pyfunc.load_model` takes."""
        return f"models:/{self.name}/{self.number}"


@dataclass(frozen=True, eq=False)
class Judgement:
    """A decision that was made once, with what it applied and rested on."""

    decision: Decision
    policy: Mapping[str, object]
    """The document of the policy."""
    parts: Mapping[str, str]
    """Digest of the records of each part, by its name."""
    bases: Mapping[str, str]
    """The question each part answers, by its name."""
    entry: Entry


def overruled(judged: Sequence[Judgement], now: Decision, evidence: str) -> str:
    """Which other policy refused on this evidence what the decision lets through, if any.

    A looser policy promotes what a stricter one refused: that is allowed and never silent.
    """
    refused = [
        j.decision
        for j in judged
        if j.entry.evidence == evidence
        and j.decision.policy_digest != now.policy_digest
        and not j.decision.promote
    ]
    if not now.promote or not refused:
        return ""
    last = refused[-1]
    what = "failed" if last.verdict is Verdict.FAIL else "was inconclusive"
    return (
        f"on the same evidence it {what} by policy {last.policy} ({last.policy_digest[:12]}) "
        f"on {last.on}"
    )


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A version as it stands now, sealed or not: tags, card, and what its run holds."""

    version: Version
    folder: Path
    """Its run's artifacts, in place or copied from a server."""
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    astray: tuple[str, ...] = ()
    """Places other than its own run's from which it would be loaded."""


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
        """The version an alias points at, or None; the champion is who the history says.

        Raises:
            EvidenceError: it is not sealed, or the champion alias was moved by hand.
        """
        ...

    def sound(self, version: Version) -> Version:
        """A version as it stands, where that is what was sealed, all files included.

        Raises:
            EvidenceError: with what was altered.
        """
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
        self, version: Version, decision: Decision, policy: Mapping[str, object]
    ) -> Version:
        """Store a decision with its version: files, verdict, card, seal, history.

        `policy` is the document of the policy it applied. Every decision, policy and seal
        is kept. Interrupted at any point, the version is not judged.

        Raises:
            EvidenceError: the decision is about other weights, or the earlier seal or the
                history does not verify.
            Renewed: it was made from evidence that is not the last any more.
        """
        ...

    def recorded(self, version: Version, decision: Decision) -> bool:
        """Whether a decision is on record already, and signed where there is a key."""
        ...

    def vouch(self, name: str) -> Chain:
        """Sign a history as it stands, with all that was written without the key.

        Raises:
            SpecError: there is no key.
            EvidenceError: the history does not verify.
        """
        ...

    def judgements(self, version: Version) -> tuple[Judgement, ...]:
        """Every decision on a version, oldest first.

        Raises:
            EvidenceError: one is missing or altered.
        """
        ...

    def case_then(self, version: Version, judged: Judgement) -> Case:
        """What a judgement of a version was about, from the evidence as it stood then.

        Raises:
            EvidenceError: some of it is not there any more, or was altered.
        """
        ...

    def records(self, version: Version) -> Mapping[str, str]:
        """The digest of each part's records, by the part's name, as they stand now."""
        ...

    def bases(self, version: Version) -> Mapping[str, str]:
        """The question each part answers, by the part's name, as they stand now."""
        ...

    def evidence_at(self, version: Version, digest: str) -> Evidence:
        """What was known of a version when its evidence had this digest.

        Raises:
            EvidenceError: missing, truncated or altered.
        """
        ...

    def promote(
        self,
        version: Version,
        decision: Decision,
        *,
        expected_champion: str | None,
        by: str = GATE,
        note: str = "",
    ) -> Version:
        """Make a version champion: first in the history, then by its aliases.

        `expected_champion` is the number of the version the decision was made against (None:
        there was none). A version that is champion already, with a decision that allows
        it, counts as promoted. Of several at once one wins and the others are refused. A
        promotion that was interrupted before is finished first. A version that somebody went
        back from by a rollback is promoted again by a person (`by`) and not by the gate.

        Raises:
            GateRefused: the decision does not allow it, is not the one on record, is about
                other weights, or the champion has moved since; or a person went back from it.
            EvidenceError: the history does not verify, or the alias was moved by hand.
        """
        ...

    def rollback(self, name: str, *, to: str | None = None, by: str, note: str = "") -> Version:
        """Make the champion before (or version `to`, which once was) champion again.

        An alias that was moved by hand is first put back where `to` is given, which is noted.

        Raises:
            GateRefused: there is none before, or it never was champion.
            EvidenceError: the history does not verify, the alias was moved by hand, or the
                version is not what was judged.
        """
        ...

    def approve(self, version: Version, *, by: str, note: str = "") -> Version:
        """Say yes, as a person, to exactly these weights.

        Raises:
            SpecError: `by` is no name that a tag may have.
            EvidenceError: the history does not verify.
        """
        ...

    def approvals(self, version: Version) -> tuple[Approval, ...]:
        """What people said of a version, also by a tag in the registry's own pages.

        One of other weights is among them; it covers nothing here.
        """
        ...

    def history(self, name: str) -> Chain:
        """Everything that happened to a model; empty for an unknown name.

        Raises:
            EvidenceError: an entry was altered or removed.
        """
        ...

    def anchors(self, name: str) -> Mapping[str, str]:
        """Where the head of a history is remembered, and which (`Chain.anchor`)."""
        ...

    def remember(self, name: str, chain: Chain) -> None:
        """Remember the head of a history that was verified."""
        ...

    def signed_head(self, name: str) -> tuple[str, str]:
        """The anchor that was signed last, and its signature; empty where none was."""
        ...

    def previous(self, chain: Chain) -> str:
        """The version that `previous` belongs at; empty where it was deleted, or none was."""
        ...

    def pointed(self, name: str, alias: str) -> str | None:
        """Number of the version an alias points at, sealed or not."""
        ...

    def snapshot(self, name: str, number: str) -> Snapshot | None:
        """A version as it stands, sealed or not, with all its files; None: there is none.

        Raises:
            EvidenceError: its run or its files are gone.
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


def approvals_in(tags: Mapping[str, str]) -> tuple[Approval, ...]:
    """What people said in a version's tags: a digest, and after it whatever they like."""
    said = [
        (key.removeprefix(APPROVAL), value.split(maxsplit=1))
        for key, value in sorted(tags.items())
        if key.startswith(APPROVAL)
    ]
    return tuple(Approval(by, *words) for by, words in said if by and words)


def model_name(name: str) -> str:
    """A name every registry backend takes.

    Raises:
        SpecError: anything else.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", name):
        raise SpecError(
            f"model {name!r}: use up to 100 letters, digits, _ . and -, the first no sign"
        )
    if name.endswith(HISTORY):
        raise SpecError(
            f"model {name!r}: names that end in {HISTORY} hold histories; use another"
        )
    return name
