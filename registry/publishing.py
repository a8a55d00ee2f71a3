"""How does a model become a version that a reviewer finds, and in which order?"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from filelock import FileLock

from audits.errors import EvidenceError
from audits.evidence import Evidence
from registry import bundle, card, layout, wrapping
from registry import seal as sealing
from registry.backend import Backend
from registry.docket import Docket, Published
from registry.guard import utc_now
from registry.history import PUBLISHER, SEALED, Chain, Entry
from registry.reading import Reader
from registry.seal import Seal
from registry.store import Dataset, Publication, Value, Version, model_name

DESCRIPTION = 5000
"""Characters a server's database keeps of a description; SQLite keeps all."""


class PublishingStore(Reader):
    """The half of `registry.store.Store` that takes runs and versions in."""

    def __init__(
        self,
        backend: Backend,
        root: Path | None,
        *,
        key: Path | None = None,
        memory: Path | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        super().__init__(backend, root, key=key, memory=memory, clock=clock)
        self._docket = Docket(backend, key=key)
        self._subjects: dict[str, card.Subject] = {}

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
        run = self._backend.start(
            self._backend.experiment(experiment, place), title, _ours(tags)
        )
        self._backend.log(run, params=params, datasets=datasets)
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
        home = self._backend.experiment_of(parent)
        run = self._backend.start(home, title, _below(parent) | _ours(tags))
        self._backend.log(run, params=params, metrics=metrics, datasets=datasets)
        self._attach(run, artifacts)
        self._backend.end(run, ok=True)
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
        self._backend.log(run, metrics=metrics, tags=_ours(tags) | words)
        self._attach(run, artifacts)

    def finish(self, run: str, *, ok: bool = True) -> None:
        """Close a run as finished or failed."""
        self._backend.end(run, ok=ok)

    def publish(self, publication: Publication, *, parent: str) -> Version:
        """Make the version of these weights, or add evidence to the one there is.

        First the run's files, then the version, then the entry of the history with the seal
        of all that is published, then the numbers a reviewer sees, and last the tag that
        makes it a version: what is interrupted before is completed next time.
        """
        name, weights = model_name(publication.name), publication.evidence.subject
        with self._turn(name), tempfile.TemporaryDirectory() as tmp:
            aside, chain = Path(tmp), self._guard.chain(name)
            found = self._found(chain, weights)
            if found is None:
                self._require_new(chain, weights)
            before = self._seal_before(chain, found)
            known = self._read(found, before.evidence) if found and before else None
            evidence = bundle.join(known, publication.evidence)
            digest = bundle.write(evidence, aside / layout.EVIDENCE)
            if found and before:
                self._require_same_model(found, publication)
                if digest == before.evidence == found.evidence:
                    return self.version(name, found.number)
            begun = found.run if found else self._begun(publication, parent)
            run = begun or self._variant_run(publication, parent)
            subject = self._subjects[digest] = card.Subject.of(
                name, publication.title, evidence
            )
            (aside / layout.CARD).write_text(card.render(subject), "utf-8")
            layout.gather(publication.attachments, aside)
            files = self._upload(run, publication, aside, whole=before is None)
            text = card.render(subject, limit=self._limit)
            number = found.number if found else self._backend.register(
                name, run, tags=_marks(publication, evidence), description=text
            )  # fmt: skip
            now = self._backend.version(name, number)
            if now is None:
                raise EvidenceError(f"{name}/{number}: the version vanished; publish it again")
            # A verdict on other evidence is none on this.
            marks = {
                **_marks(publication, evidence),
                **({"assay.verdict": ""} if now.verdict else {}),
                "assay.evidence": digest,
                "assay.sealed": digest,
            }
            left = self._left(now, before) if begun else {}
            new = Published(
                now, evidence, digest, left | files, marks,
                bundle.metrics(subject.measures),
                {k: str(v) for k, v in publication.params.items()}, text,
            )  # fmt: skip
            seal = self._seal(now, new, before)
            self._backend.log(
                run, params=seal.params, metrics=seal.metrics, tags=_ours(publication.tags),
                datasets=publication.datasets,
            )  # fmt: skip
            self._backend.describe(now, tags=_sealed_last(seal.tags), description=text)
            self._backend.end(run, ok=True)
            return self.version(name, number)

    def _found(self, chain: Chain, weights: str) -> Version | None:
        """The version of some weights: which the history knows, else one that was begun."""
        held, known = self._backend.search(chain.model, weights), chain.versions_of(weights)
        return next((v for v in held if v.number in known or not known), None)

    def _require_new(self, chain: Chain, weights: str) -> None:
        """Refuse to make a version anew that was deleted, or numbers that were given before.

        What was judged of a version goes with it, and how often was looked.

        Raises:
            EvidenceError: with the version.
        """
        if chain.entries and not self._backend.search(chain.model):
            raise EvidenceError(
                f"{chain.model}: its versions were deleted and its history was not; restore "
                "them from a backup, or publish under another name"
            )
        if gone := chain.versions_of(weights):
            raise EvidenceError(
                f"{chain.model}/{gone[0]}: these weights were this version, which was deleted "
                "or lost its tag assay.weights; restore it from a backup, or publish under "
                "another name"
            )

    def _require_same_model(self, found: Version, publication: Publication) -> None:
        """Refuse to add evidence to a version that loads anything but the model in hand.

        Raises:
            EvidenceError: with the first file that differs.
        """
        stored = self.attachment(found, layout.MODEL)
        with tempfile.TemporaryDirectory() as tmp:
            self._backend.write_model(Path(tmp) / layout.MODEL, publication)
            wrong = wrapping.otherwise(stored, Path(tmp) / layout.MODEL, publication.folder)
        if wrong:
            raise EvidenceError(
                f"{found.name}/{found.number}: it was published with another model about these "
                f"weights: {wrong}; look who published it, and publish under another name"
            )

    def _seal_before(self, chain: Chain, found: Version | None) -> Seal | None:
        """What a version was last sealed as; None where it never was."""
        last = chain.last(found.number, *SEALED) if found else None
        if found is None or last is None:
            return None
        return sealing.read(self.attachment(found, layout.SEALS).parent, last.seal)

    def _left(self, now: Version, before: Seal | None) -> dict[str, str]:
        """Evidence that a broken-off publication left, by its names; no index refers to it."""
        sealed = before.files if before else {}
        held = sealing.digests(self.attachment(now, layout.EVIDENCE), skip=())
        found = {f"{layout.EVIDENCE}/{path}": digest for path, digest in held.items()}
        return {
            path: digest
            for path, digest in found.items()
            if path not in sealed and bundle.PLACE.fullmatch(path)
        }

    def _seal(self, now: Version, new: Published, before: Seal | None) -> Seal:
        """Seal what is published, and put that on record."""
        with tempfile.TemporaryDirectory() as tmp:
            seal = self._docket.publish(Path(tmp), new, before)
            self._backend.upload(now.run, Path(tmp))
        sealed = replace(now, evidence=new.digest, weights=seal.weights)

        def write(chain: Chain) -> Entry | None:
            last = chain.last(now.number, *SEALED)
            if other := [v for v in chain.versions_of(seal.weights) if v != now.number]:
                raise EvidenceError(
                    f"{now.name}/{now.number}: another process published these weights as "
                    f"version {other[0]} meanwhile; run it again"
                )
            if last is not None and last.seal == seal.digest:
                return None
            return self._guard.entry(
                chain, "publication", sealed, seal=seal.digest, by=PUBLISHER
            )

        self._guard.append(now.name, write)
        return seal

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
                self._backend.upload(run, Path(tmp))

    def _begun(self, publication: Publication, parent: str) -> str | None:
        """The run that an interrupted publication of these weights left."""
        home = self._backend.experiment_of(parent)
        left = self._backend.find_run(home, _who(publication))
        if left is not None:
            self._backend.log(left, tags=_below(parent))
        return left

    def _variant_run(self, publication: Publication, parent: str) -> str:
        """A new run of a variant."""
        home, tags = self._backend.experiment_of(parent), _below(parent) | _who(publication)
        return self._backend.start(home, publication.title, tags)

    def _upload(
        self, run: str, publication: Publication, aside: Path, *, whole: bool
    ) -> dict[str, str]:
        """Upload what is in `aside`, and the model too where it is `whole`; returns digests."""
        files = sealing.digests(aside)
        self._backend.upload(run, aside)
        if not whole:
            return files
        with tempfile.TemporaryDirectory() as tmp:
            self._backend.write_model(Path(tmp) / layout.MODEL, publication)
            files |= sealing.digests(Path(tmp))
            self._backend.upload(run, Path(tmp))
        data = sealing.digests(publication.folder, skip=())
        self._backend.upload(run, publication.folder, layout.DATA)
        return files | {f"{layout.DATA}/{path}": digest for path, digest in data.items()}

    def _subject(self, version: Version) -> card.Subject:
        if version.evidence not in self._subjects:
            title = version.tags.get("assay.variant", version.number)
            self._subjects[version.evidence] = card.Subject.of(
                version.name, title, self._read(version)
            )
        return self._subjects[version.evidence]


def _sealed_last(tags: Mapping[str, str]) -> dict[str, str]:
    """The tag that makes a version of it is set when all others are."""
    last = "assay.sealed"
    return {**{k: v for k, v in tags.items() if k != last}, last: tags[last]}


def _marks(publication: Publication, evidence: Evidence) -> dict[str, str]:
    return {
        **_ours(publication.tags),
        "assay.weights": evidence.subject,
        "assay.variant": publication.title,
        "assay.parent": str(evidence.about.get("parent") or "none"),
    }


def _who(publication: Publication) -> dict[str, str]:
    return {"assay.model": publication.name, "assay.weights": publication.evidence.subject}


def _ours(tags: Mapping[str, str] | None) -> dict[str, str]:
    return {f"assay.{key}": value for key, value in (tags or {}).items()}


def _below(parent: str) -> dict[str, str]:
    return {"mlflow.parentRunId": parent}
