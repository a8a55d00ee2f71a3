"""What does a reviewer find in the registry, and in which order does it appear there?"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from audits.errors import EvidenceError, SpecError
from audits.evidence import Evidence
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

if TYPE_CHECKING:
    from registry.mlflow_store import Mlflow

DESCRIPTION = 5000
"""Characters a server's database keeps of a description; SQLite keeps all."""


class VersionStore:
    """`registry.store.Store` on an MLflow database or server, whose calls `mlflow` makes."""

    def __init__(self, mlflow: "Mlflow", root: Path | None) -> None:
        self._mlflow, self._root = mlflow, root
        self._subjects: dict[str, card.Subject] = {}
        self._copies = tempfile.TemporaryDirectory(prefix="assay-")

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
        place = (self._root / "runs").as_uri() if self._root else None
        run = self._mlflow.start(self._mlflow.experiment(experiment, place), title, _ours(tags))
        self._mlflow.log(run, params=params, datasets=datasets)
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
        home = self._mlflow.experiment_of(parent)
        run = self._mlflow.start(home, title, _below(parent) | _ours(tags))
        self._mlflow.log(run, params=params, metrics=metrics, datasets=datasets)
        self._attach(run, artifacts)
        self._mlflow.end(run, ok=True)
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
        """Add to a run (the HTML report, totals). Metrics must be finite."""
        words = {"mlflow.note.content": note} if note else {}
        self._mlflow.log(run, metrics=metrics, tags=_ours(tags) | words)
        self._attach(run, artifacts)

    def finish(self, run: str, *, ok: bool = True) -> None:
        """Close a run as finished or failed."""
        self._mlflow.end(run, ok=ok)

    def publish(self, publication: Publication, *, parent: str) -> Version:
        """Make the version of these weights, or add evidence to the one there is.

        First the run and its files, then the version, then the tag that seals it: what is
        interrupted before has no tag and is completed under the same run next time.
        """
        name, weights = model_name(publication.name), publication.evidence.subject
        with self._turn(name), tempfile.TemporaryDirectory() as tmp:
            aside = Path(tmp)
            found = next(iter(self._mlflow.search(name, weights)), None)
            known = self._read(found) if found and found.evidence else None
            evidence = bundle.join(known, publication.evidence)
            digest = bundle.write(evidence, aside / layout.EVIDENCE)
            if found and found.evidence == digest:
                return self.version(name, found.number)
            subject = self._subjects[digest] = card.Subject.of(
                name, publication.title, evidence
            )
            run = found.run if found else self._variant_run(publication, parent)
            self._upload(run, publication, subject, aside)
            text = card.render(subject, limit=self._limit)
            number = found.number if found else self._register(publication, run, text)
            now = self._mlflow.version(name, number)
            if now is None:
                raise EvidenceError(f"{name}/{number}: the version vanished; publish it again")
            # A verdict on other evidence is none on this.
            seal = {
                **_marks(publication),
                **({"assay.verdict": ""} if now.verdict else {}),
                "assay.evidence": digest,
                "assay.sealed": digest,
            }
            self._mlflow.describe(now, tags=seal, description=text if found else None)
            self._mlflow.end(run, ok=True)
            return self.version(name, number)

    def version(self, name: str, number: str) -> Version:
        """A sealed version. SpecError where there is none."""
        found = self._mlflow.version(model_name(name), number)
        if found is None or not found.evidence:
            raise SpecError(f"{name}/{number}: there is no such version")
        return found

    def versions(self, name: str) -> tuple[Version, ...]:
        """All sealed versions, oldest first; none for an unknown name."""
        return tuple(v for v in self._mlflow.search(model_name(name)) if v.evidence)

    def resolve(self, name: str, alias: str) -> Version | None:
        """The version an alias points at, or None. EvidenceError where it is not sealed."""
        found = self._mlflow.alias(model_name(name), alias)
        if found is not None and not found.evidence:
            raise EvidenceError(
                f"{name}@{alias}: points at version {found.number}, which was never sealed; "
                "publish its weights again"
            )
        return found

    def evidence(self, name: str, number: str) -> Evidence:
        """Everything stored about a version, verified against its digests."""
        return self._read(self.version(name, number))

    def attachment(self, version: Version, path: str) -> Path:
        """A file among a version's artifacts; a server's copy lives as long as the store."""
        aside = Path(self._copies.name) / version.run
        aside.mkdir(exist_ok=True)
        found = self._mlflow.fetch(version.run, path, aside)
        if not found.exists():
            raise EvidenceError(f"{version.name}/{version.number}: it has no file {path}")
        return found

    def decision(self, version: Version) -> Decision | None:
        """The last decision on a version, or None where it was never judged."""
        if not version.verdict:
            return None
        return layout.read_decision(self.attachment(version, layout.DECISION), version)

    def nominate(self, version: Version) -> None:
        """Point `candidate` at a version."""
        self._mlflow.point(version.name, CANDIDATE, version.number)

    def record(
        self, version: Version, decision: Decision, policy: Mapping[str, object] | None = None
    ) -> Version:
        """Store a decision with its version: the file, the verdict, the card."""
        belongs(version, decision)
        subject = self._subject(version)
        with tempfile.TemporaryDirectory() as tmp:
            layout.write_decision(Path(tmp), decision, policy)
            (Path(tmp) / layout.CARD).write_text(card.render(subject, decision), "utf-8")
            self._mlflow.upload(version.run, Path(tmp))
        marks = {
            "assay.policy": decision.policy_digest,
            "assay.judged_against": decision.champion or "none",
            "assay.verdict": str(decision.verdict),
        }
        self._mlflow.log(version.run, tags=marks)
        text = card.render(subject, decision, limit=self._limit)
        self._mlflow.describe(version, tags=marks, description=text)
        return self.version(version.name, version.number)

    def promote(
        self, version: Version, decision: Decision, *, expected_champion: str | None
    ) -> Version:
        """Move `champion` to a version, and `previous` to the one it replaces."""
        with self._turn(version.name):
            now = self.version(version.name, version.number)
            champion = self.resolve(version.name, CHAMPION)
            permit(now, decision, champion, expected_champion)
            if champion is None or champion.number != now.number:
                if champion:
                    self._mlflow.point(now.name, PREVIOUS, champion.number)
                self._mlflow.point(now.name, CHAMPION, now.number)
            return self.version(version.name, version.number)

    @property
    def _limit(self) -> int:
        return 0 if self._root else DESCRIPTION

    @contextmanager
    def _turn(self, name: str) -> Iterator[None]:
        """One writer at a time per model, where writers share a file system."""
        with FileLock(self._root / f".{name}.lock") if self._root else nullcontext():
            yield

    def _attach(self, run: str, artifacts: Mapping[str, Path] | None) -> None:
        if artifacts:
            with tempfile.TemporaryDirectory() as tmp:
                layout.gather(artifacts, Path(tmp))
                self._mlflow.upload(run, Path(tmp))

    def _variant_run(self, publication: Publication, parent: str) -> str:
        """The run of a variant: the one an interrupted publication left, or a new one."""
        home = self._mlflow.experiment_of(parent)
        who = {"assay.model": publication.name, "assay.weights": publication.evidence.subject}
        left = self._mlflow.find_run(home, who)
        tags = _below(parent) | who
        if left is None:
            return self._mlflow.start(home, publication.title, tags)
        self._mlflow.log(left, tags=tags)
        return left

    def _upload(
        self, run: str, publication: Publication, subject: card.Subject, aside: Path
    ) -> None:
        """Everything but the model: evidence (already in `aside`), card, files, numbers."""
        (aside / layout.CARD).write_text(card.render(subject), "utf-8")
        layout.gather(publication.attachments, aside)
        self._mlflow.upload(run, aside)
        self._mlflow.log(
            run,
            params=publication.params,
            metrics=bundle.metrics(subject.measures),
            tags=_ours(publication.tags),
            datasets=publication.datasets,
        )

    def _register(self, publication: Publication, run: str, text: str) -> str:
        """Upload the model and make a version of it, not yet sealed."""
        with tempfile.TemporaryDirectory() as tmp:
            self._mlflow.write_model(Path(tmp) / layout.MODEL, publication)
            self._mlflow.upload(run, Path(tmp))
        self._mlflow.upload(run, publication.folder, layout.DATA)
        return self._mlflow.register(
            publication.name, run, tags=_marks(publication), description=text
        )

    def _read(self, version: Version) -> Evidence:
        found = bundle.read(self.attachment(version, layout.EVIDENCE), version.evidence)
        if found.subject != version.weights:
            raise EvidenceError(
                f"{version.name}/{version.number}: its evidence is about {found.subject[:12]}"
            )
        return found

    def _subject(self, version: Version) -> card.Subject:
        if version.evidence not in self._subjects:
            title = version.tags.get("assay.variant", version.number)
            self._subjects[version.evidence] = card.Subject.of(
                version.name, title, self._read(version)
            )
        return self._subjects[version.evidence]


def _marks(publication: Publication) -> dict[str, str]:
    return {
        **_ours(publication.tags),
        "assay.weights": publication.evidence.subject,
        "assay.variant": publication.title,
        "assay.parent": str(publication.evidence.about.get("parent") or "none"),
    }


def _ours(tags: Mapping[str, str] | None) -> dict[str, str]:
    return {f"assay.{key}": value for key, value in (tags or {}).items()}


def _below(parent: str) -> dict[str, str]:
    return {"mlflow.parentRunId": parent}
