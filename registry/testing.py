"""A registry in dictionaries, and small evidence made by hand, for tests and dry runs."""

import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from audits.errors import EvidenceError, SpecError
from audits.estimand import Declared, Exact, Ratio
from audits.evidence import Evidence, Part, records_frame
from registry import bundle, card, layout
from registry.gate import Decision
from registry.store import (
    CANDIDATE,
    CHAMPION,
    PREVIOUS,
    Dataset,
    Publication,
    Value,
    Version,
    belongs,
    model_name,
    permit,
)


@dataclass
class Run:
    """What was recorded about one run."""

    title: str
    parent: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, Value] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    artifacts: dict[str, Path] = field(default_factory=dict)
    datasets: list[Dataset] = field(default_factory=list)
    note: str = ""
    status: str = "RUNNING"


class MemoryStore:
    """Keeps every promise of `registry.store.Store`, in memory."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.cards: dict[tuple[str, str], str] = {}
        self.decisions: dict[tuple[str, str], Decision] = {}
        self._versions: dict[tuple[str, str], Version] = {}
        self._evidence: dict[tuple[str, str], Evidence] = {}
        self._aliases: dict[tuple[str, str], str] = {}

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
        run = f"run{len(self.runs)}"
        self.runs[run] = Run(
            title, tags=dict(tags or {}), params=dict(params or {}), datasets=list(datasets)
        )
        return run

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
        run = self.begin("", title, tags=tags, params=params, datasets=datasets)
        self.runs[run].parent = parent
        self.attach(run, metrics=metrics, artifacts=artifacts)
        self.finish(run)
        return run

    def attach(
        self,
        run: str,
        *,
        tags: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
        artifacts: Mapping[str, Path] | None = None,
        note: str = "",
    ) -> None:
        """Add to a run. Metrics must be finite."""
        held = self.runs[run]
        held.tags |= tags or {}
        held.metrics |= {k: layout.finite(k, v) for k, v in (metrics or {}).items()}
        held.artifacts |= artifacts or {}
        held.note = note or held.note

    def finish(self, run: str, *, ok: bool = True) -> None:
        """Close a run as finished or failed."""
        self.runs[run].status = "FINISHED" if ok else "FAILED"

    def publish(self, publication: Publication, *, parent: str) -> Version:
        """Make the version of these weights, or add evidence to the one there is."""
        name, weights = model_name(publication.name), publication.evidence.subject
        found = next((v for v in self.versions(name) if v.weights == weights), None)
        key = (name, found.number if found else str(len(self.versions(name)) + 1))
        evidence = bundle.join(self._evidence.get(key), publication.evidence)
        with tempfile.TemporaryDirectory() as tmp:
            digest = bundle.write(evidence, Path(tmp))
        if found and found.evidence == digest:
            return self.version(*key)
        run = found.run if found else self.child(parent, publication.title)
        subject = card.Subject.of(name, publication.title, evidence)
        self.attach(
            run,
            metrics=bundle.metrics(subject.measures),
            artifacts=publication.attachments,
        )
        parent_weights = str(evidence.about.get("parent") or "none")
        tags = {f"assay.{k}": v for k, v in publication.tags.items()}
        tags |= {"assay.variant": publication.title, "assay.parent": parent_weights}
        self._versions[key] = Version(*key, weights, run, digest, "", tags)
        self.decisions.pop(key, None)  # a verdict on other evidence is none on this
        self._evidence[key] = evidence
        self.cards[key] = card.render(subject)
        return self.version(*key)

    def version(self, name: str, number: str) -> Version:
        """A version. SpecError where there is none."""
        found = self._versions.get((name, number))
        if found is None:
            raise SpecError(f"{name}/{number}: there is no such version")
        held = [a for (n, a), at in self._aliases.items() if (n, at) == (name, number)]
        return replace(found, aliases=tuple(sorted(held)))

    def versions(self, name: str) -> tuple[Version, ...]:
        """All versions, oldest first; none for an unknown name."""
        model_name(name)
        return tuple(v for (n, _), v in self._versions.items() if n == name)

    def resolve(self, name: str, alias: str) -> Version | None:
        """The version an alias points at, or None."""
        number = self._aliases.get((model_name(name), alias))
        return self.version(name, number) if number else None

    def evidence(self, name: str, number: str) -> Evidence:
        """Everything stored about a version."""
        self.version(name, number)
        return self._evidence[name, number]

    def attachment(self, version: Version, path: str) -> Path:
        """A file or folder among a version's artifacts, to read."""
        held = self.runs[version.run].artifacts
        for key, source in held.items():
            inner = Path(path).relative_to(key) if Path(path).is_relative_to(key) else None
            if inner is not None and (source / inner).exists():
                return source / inner
        raise EvidenceError(f"{version.name}/{version.number}: it has no file {path}")

    def decision(self, version: Version) -> Decision | None:
        """The last decision on a version, or None where it was never judged."""
        return self.decisions.get((version.name, version.number))

    def nominate(self, version: Version) -> None:
        """Point `candidate` at a version."""
        self._aliases[version.name, CANDIDATE] = version.number

    def record(
        self, version: Version, decision: Decision, policy: Mapping[str, object] | None = None
    ) -> Version:
        """Store a decision with its version: the verdict and the card."""
        belongs(version, decision)
        key = (version.name, version.number)
        marks = {
            "assay.policy": decision.policy_digest,
            "assay.judged_against": decision.champion or "none",
            "assay.verdict": str(decision.verdict),
        }
        held = self._versions[key]
        self._versions[key] = replace(
            held, verdict=str(decision.verdict), tags={**held.tags, **marks}
        )
        title = held.tags["assay.variant"]
        subject = card.Subject.of(version.name, title, self._evidence[key])
        self.decisions[key], self.cards[key] = decision, card.render(subject, decision)
        return self.version(*key)

    def promote(
        self, version: Version, decision: Decision, *, expected_champion: str | None
    ) -> Version:
        """Move `champion` to a version, and `previous` to the one it replaces."""
        now = self.version(version.name, version.number)
        champion = self.resolve(version.name, CHAMPION)
        permit(now, decision, champion, expected_champion)
        if champion is None or champion.number != now.number:
            if champion:
                self._aliases[now.name, PREVIOUS] = champion.number
            self._aliases[now.name, CHAMPION] = now.number
        return self.version(version.name, version.number)


RECALL = Declared(
    name="recall", better="higher", about="Share answered right.", of=Ratio(value="right")
)
WRONG = Declared(name="wrong", better="lower", about="Share wrong.", of=Ratio(value="wrong"))
SIZE = Declared(
    name="size_bytes", better="lower", about="On disk.", unit="bytes", of=Exact(value="bytes")
)


def rights(n: int, wrong: int) -> list[int]:
    """`n` answers, 1 for right; the `wrong` ones are spread evenly."""
    step = n // wrong if wrong else n + 1
    at = {i * step for i in range(wrong)}
    return [0 if i in at else 1 for i in range(n)]


def facts(
    outcomes: Sequence[int],
    *,
    per_cluster: int = 1,
    basis: str = "asked",
    lost: Collection[str] = (),
    name: str = "facts",
) -> Part:
    """Right (1) and wrong (0) answers to examples e0, e1, …; `lost` ids have no record."""
    rows = [
        {"example": f"e{i}", "cluster": f"c{i // per_cluster}", "right": r, "wrong": 1 - r}
        for i, r in enumerate(outcomes)
    ]
    return Part(
        name=name,
        kind="closed_world",
        declared=(RECALL, WRONG),
        expected=tuple(str(row["example"]) for row in rows),
        records=records_frame(row for row in rows if row["example"] not in lost),
        basis=basis,
    )


def disk(size: int, **conditions: str) -> Part:
    """A profile that knows only the size of a model's files."""
    return Part(
        name="profile",
        kind="profile",
        declared=(SIZE,),
        expected=("disk",),
        records=records_frame([{"example": "disk", "bytes": size}]),
        basis="disk",
        conditions=conditions,
    )


def evidence(subject: str, *parts: Part, parent: str = "") -> Evidence:
    """Evidence about weights `subject`, made from the weights `parent`."""
    return Evidence.gather(subject, parts, {"parent": parent})
