"""MLflow behind one small seam: the only module that imports it, and only once it is used.

Nothing here touches the environment. Whoever starts the process sets
`MLFLOW_DISABLE_TELEMETRY` and `DO_NOT_TRACK` before the first store is opened.
"""

import hashlib
import json
import logging
import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import FileLock

from audits.errors import EvidenceError, SpecError
from registry import layout, signing
from registry.backend import Facts
from registry.store import HISTORY, Dataset, Publication, Value, Version
from registry.versions import VersionStore

if TYPE_CHECKING:
    from mlflow import MlflowClient

T = TypeVar("T")

NOISY = (
    "alembic",
    "mlflow.store.db.utils",
    "mlflow.tracking",
    "mlflow.pyfunc",
    "mlflow.utils.environment",
)
ANSWER_S = 10.0
"""A server that does not say that it lives within so many seconds is none."""
ENTRY = "assay:/history"
"""Source of the versions that are entries: a server accepts no relative one, nor a file's."""
PAGE = 10_000
BUSY = ("database is locked", "IntegrityError", "Giving up after")
"""What MLflow says where another writer was there first and it does not try again; two that
set a new alias at once both insert it."""
BUSY_TRIES = 20
EXISTS = "RESOURCE_ALREADY_EXISTS"
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


DIGITS = 9
"""Of a version's number; a database asks of more than it can hold with an error."""


def open_store(
    uri: str, artifact_root: Path | None = None, *, key: Path | None = None
) -> VersionStore:
    """Open, and on first use create, a registry.

    Args:
        uri: `sqlite:////abs/path.db`, or the `http(s)://` address of a tracking server.
        artifact_root: where a local registry keeps artifacts; beside the database if None.
            A server has its own place; ours remembers the heads of its histories.
        key: private key (PEM) to sign seals and the history with; unsigned if None.

    Raises:
        SpecError: the address is neither, or nothing answers there, or a key was given and
            nothing that signs is installed.
    """
    if key is not None:
        signing.require()
    if uri.startswith(("http://", "https://")):
        _require_answer(uri)
        memory = artifact_root / "heads" / _place(uri) if artifact_root else None
        return VersionStore(Mlflow(uri), None, key=key, memory=memory)
    if not uri.startswith("sqlite:///"):
        raise SpecError(
            f"{uri}: a registry is sqlite:///PATH or the http(s) address of a server"
        )
    database = Path(uri.removeprefix("sqlite:///")).resolve()
    root = (artifact_root or database.parent / "artifacts").resolve()
    root.mkdir(parents=True, exist_ok=True)
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{database}.lock"):  # two openers must not both create the tables
        if not database.exists():
            _create(database)
        alone = artifact_root is None or root == database.parent
        backend = Mlflow(f"sqlite:///{database}", within=database.parent if alone else None)
        return VersionStore(backend, root, key=key)


def _place(uri: str) -> str:
    """A folder's name for a server."""
    return hashlib.sha256(uri.rstrip("/").encode()).hexdigest()[:16]


class Mlflow:
    """The calls we make of an MLflow database or server, few and batched.

    `within` is the folder below which all files must lie that are written; None: anywhere.
    """

    def __init__(self, uri: str, *, within: Path | None = None) -> None:
        for name in NOISY:
            logging.getLogger(name).setLevel(logging.ERROR)
        self._within = within
        self._client = _connect(uri)
        self._experiments: dict[str, str] = {}
        self._bases: dict[str, str] = {}

    def experiment(self, name: str, place: str | None) -> str:
        """The id of an experiment, made on first use with its artifacts at `place`."""
        if name not in self._experiments:
            held = self._client.get_experiment_by_name(name)
            self._experiments[name] = (
                held.experiment_id if held else self._client.create_experiment(name, place)
            )
        return self._experiments[name]

    def experiment_of(self, run: str) -> str:
        """The id of the experiment a run belongs to."""
        return str(self._client.get_run(run).info.experiment_id)

    def start(self, experiment: str, title: str, tags: Mapping[str, str]) -> str:
        """Open a run; returns its id."""
        found = self._client.create_run(experiment, tags=dict(tags), run_name=title)
        return str(found.info.run_id)

    def end(self, run: str, *, ok: bool) -> None:
        """Close a run."""
        self._client.set_terminated(run, "FINISHED" if ok else "FAILED")

    def find_run(self, experiment: str, tags: Mapping[str, str]) -> str | None:
        """A run of the experiment that has all these tags."""
        wanted = " and ".join(f"tags.`{k}` = '{v}'" for k, v in tags.items())
        found = self._client.search_runs([experiment], wanted, max_results=1)
        return str(found[0].info.run_id) if found else None

    def log(
        self,
        run: str,
        *,
        params: Mapping[str, Value] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
        datasets: Sequence[Dataset] = (),
    ) -> None:
        """Everything about a run in as few requests as MLflow allows.

        Parameters cannot change in MLflow: the first value a run was given stands.
        """
        from mlflow import entities

        now = int(time.time() * 1000)
        held = self._client.get_run(run).data.params if params else {}
        numbers = [
            entities.Metric(key, layout.finite(key, value), now, 0)
            for key, value in (metrics or {}).items()
        ]
        words = [entities.Param(k, str(v)) for k, v in (params or {}).items() if k not in held]
        marks = [entities.RunTag(k, v) for k, v in (tags or {}).items()]
        sizes = (numbers, 800), (words, 100), (marks, 100)
        for ms, ps, ts in zip_longest(*(layout.chunks(x, n) for x, n in sizes), fillvalue=[]):
            self._client.log_batch(run, metrics=ms, params=ps, tags=ts)
        if datasets:
            self._client.log_inputs(run, [_input(d) for d in datasets])

    def facts(self, run: str) -> Facts:
        """What a run has logged. EvidenceError where there is no such run, or none any more."""
        from mlflow.exceptions import MlflowException

        try:
            held = self._client.get_run(run)
        except MlflowException as error:
            raise EvidenceError(f"run {run}: it is not there ({_first(error)})") from error
        if held.info.lifecycle_stage != "active":
            raise EvidenceError(
                f"run {run}: it was deleted, and `mlflow gc` will take its files for good; "
                f"`mlflow runs restore --run-id {run}` brings it back"
            )
        return Facts(
            dict(held.data.metrics), dict(held.data.params), str(held.info.artifact_uri)
        )

    def loads(self, name: str, number: str) -> tuple[str, ...]:
        """From where whoever loads a version gets its files; `READY` is left out."""
        held = self._client.get_model_version(name, number)
        places = {held.source, self._client.get_model_version_download_uri(name, number)}
        state = () if held.status == "READY" else (f"status {held.status}",)
        return (*sorted(str(place) for place in places), *state)

    def upload(self, run: str, folder: Path, place: str | None = None) -> None:
        """Add the files of a folder to a run's artifacts, below `place`.

        Raises:
            EvidenceError: they lie elsewhere than the database, as those of a copied one do.
        """
        base = _path(self._base(run))
        if self._within and base and not _inside(base, self._within):
            raise EvidenceError(
                f"{self._within}: this is a copy of a registry whose files lie in {base}, and "
                "writing to it would change those of the original; work there, or begin an "
                "empty one"
            )
        self._client.log_artifacts(run, str(folder), place)

    def fetch(self, run: str, path: str, aside: Path) -> Path:
        """A file or folder of a run's artifacts (all, for an empty path), in place or copied.

        Raises:
            EvidenceError: it is not there, or the registry does not answer.
        """
        from mlflow.exceptions import MlflowException

        try:
            if base := _path(self._base(run)):
                return base / path
            return Path(self._client.download_artifacts(run, path, str(aside)))
        except (MlflowException, OSError) as error:
            raise EvidenceError(
                f"run {run}: {path} cannot be fetched ({_first(error)}); publish again"
            ) from error

    def _base(self, run: str) -> str:
        """Where a run's artifacts lie: asked once, for it is settled when the run begins."""
        if run not in self._bases:
            self._bases[run] = str(self._client.get_run(run).info.artifact_uri)
        return self._bases[run]

    def register(
        self, name: str, run: str, *, tags: Mapping[str, str], description: str
    ) -> str:
        """Make a version of the model among a run's artifacts; returns its number."""
        self._model(name)
        base = self._base(run)
        made = self._client.create_model_version(
            name, f"{base}/{layout.MODEL}", run, tags=dict(tags), description=description,
            await_creation_for=None,
        )  # fmt: skip
        return str(made.version)

    def describe(
        self, version: Version, *, tags: Mapping[str, str], description: str | None = None
    ) -> None:
        """Change a version's card and tags; the tags last, in their order."""
        if description is not None:
            self._client.update_model_version(version.name, version.number, description)
        for key, value in tags.items():
            if version.tags.get(key) != value:
                self._client.set_model_version_tag(version.name, version.number, key, value)

    def version(self, name: str, number: str) -> Version | None:
        """One version, or None."""
        from mlflow.exceptions import MlflowException

        if len(number) > DIGITS:
            return None
        try:
            return _version(self._client.get_model_version(name, number))
        except MlflowException as error:
            _require_absent(error, f"{name}/{number}")
            return None

    def search(self, name: str, weights: str = "") -> list[Version]:
        """Versions of a model, oldest first, only those of some weights where given.

        A search does not know aliases: they are left empty.
        """
        wanted = f"name = '{name}'"
        if weights:
            wanted += f" and tags.`assay.weights` = '{weights}'"
        found: list[Version] = []
        token = None
        while True:
            page = self._client.search_model_versions(wanted, page_token=token)
            found += [_version(v) for v in page]
            token = page.token
            if not token:
                return sorted(found, key=lambda v: int(v.number))

    def alias(self, name: str, alias: str) -> Version | None:
        """The version an alias points at, or None."""
        from mlflow.exceptions import MlflowException

        try:
            return _version(self._client.get_model_version_by_alias(name, alias))
        except MlflowException as error:
            _require_absent(error, f"{name}@{alias}")
            return None

    def point(self, name: str, alias: str, number: str) -> None:
        """Move an alias; take it away where no number is given."""
        if number:
            _patiently(lambda: self._client.set_registered_model_alias(name, alias, number))
        else:
            _patiently(lambda: self._client.delete_registered_model_alias(name, alias))

    def marks(self, name: str) -> Mapping[str, str]:
        """The tags of the registered model itself; none where there is no such model."""
        from mlflow.exceptions import MlflowException

        try:
            return dict(self._client.get_registered_model(name).tags)
        except MlflowException as error:
            _require_absent(error, name)
            return {}

    def mark(self, name: str, key: str, value: str) -> None:
        """Set a tag of the registered model itself."""
        _patiently(lambda: self._client.set_registered_model_tag(name, key, value))

    def append(self, name: str, text: str) -> int:
        """Add an entry to a model's history; returns its number.

        MLflow numbers the versions of a registered model by a unique key, so of two that
        write at once one is numbered after the other. It deletes a version by hiding it:
        no number is given twice.
        """
        book = f"{name}{HISTORY}"
        self._model(book)
        made = _patiently(
            lambda: self._client.create_model_version(
                book, ENTRY, description=text, await_creation_for=None
            )
        )
        return int(made.version)

    def entries(self, name: str) -> list[tuple[int, str]]:
        """All entries of a model's history, ascending by number."""
        wanted = f"name = '{name}{HISTORY}'"
        found: list[tuple[int, str]] = []
        token = None
        while True:
            page = self._client.search_model_versions(
                wanted, max_results=PAGE, page_token=token
            )
            found += [(int(v.version), v.description or "") for v in page]
            token = page.token
            if not token:
                return sorted(found)

    def _model(self, name: str) -> None:
        """Make a registered model where there is none."""
        from mlflow.exceptions import MlflowException

        try:
            _patiently(lambda: self._client.create_registered_model(name))
        except MlflowException as error:
            if error.error_code != EXISTS:
                raise

    def write_model(self, folder: Path, publication: Publication) -> None:
        """Write what `mlflow.pyfunc` needs beside the weights; torch is not imported.

        The weights themselves go to `layout.DATA`, and are uploaded from where they are.
        """
        from mlflow import pyfunc
        from mlflow.models import Model, ModelSignature
        from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

        options = [
            ParamSpec("max_new_tokens", "long", 64),
            ParamSpec("temperature", "double", 0.0),
            ParamSpec("seed", "long", 0),
        ]
        with tempfile.TemporaryDirectory() as tmp:
            empty = Path(tmp) / Path(layout.DATA).name
            empty.mkdir()
            pyfunc.save_model(
                str(folder),
                loader_module=publication.loader,
                data_path=str(empty),
                mlflow_model=Model(artifact_path=layout.MODEL),
                signature=ModelSignature(
                    Schema([ColSpec("string", "prompt")]),
                    Schema([ColSpec("string")]),
                    ParamSchema(options),
                ),
                # A signature without an example makes MLflow warn on the reviewer's screen.
                input_example=({"prompt": ["Once upon a time"]}, {"max_new_tokens": 64}),
                pip_requirements=list(publication.requirements),
            )


def _path(uri: str) -> Path | None:
    """The folder that a `file:` address means; None for any other."""
    from mlflow.utils.file_utils import local_file_uri_to_path

    return Path(local_file_uri_to_path(uri)) if uri.startswith("file:") else None


def _inside(base: Path, within: Path) -> bool:
    """Whether files lie below a folder, as their address says or in the end.

    Inside a home there may be a link to a larger disk; one that was moved, and left a link
    where it was, has addresses that lead back to it.
    """
    return base.is_relative_to(within) or base.resolve().is_relative_to(within)


def _create(database: Path) -> None:
    """Make the tables aside and move the file into place.

    A killed opener leaves no half of them, which no later one could complete.
    """
    aside = database.with_name(f".{database.name}.new")
    for left in aside.parent.glob(f"{aside.name}*"):
        left.unlink()
    Mlflow(f"sqlite:///{aside}")
    aside.replace(database)


def _require_answer(uri: str) -> None:
    """Ask a server once; MLflow itself would ask for minutes.

    Raises:
        SpecError: nobody answers, or the address holds a password, which every receipt and
            report would repeat.
    """
    from urllib.error import HTTPError
    from urllib.parse import urlsplit
    from urllib.request import urlopen

    if "@" in urlsplit(uri).netloc:
        raise SpecError(
            "the registry's address holds a user or password; give them as "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    try:
        with urlopen(f"{uri.rstrip('/')}/health", timeout=ANSWER_S):
            pass
    except HTTPError:
        return  # a refusal is an answer
    except (OSError, ValueError) as error:
        raise SpecError(
            f"{uri}: no registry answers there ({_first(error)}); start the server or mend "
            "MLFLOW_TRACKING_URI"
        ) from error


def _connect(uri: str) -> "MlflowClient":
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.search_experiments(max_results=1)
    except (MlflowException, OSError) as error:
        raise SpecError(f"{uri}: no registry can be opened there ({_first(error)})") from error
    except SQLAlchemyError as error:
        raise EvidenceError(
            f"{uri}: not a registry, or a damaged one ({_first(error)}); restore the file from "
            "a backup, or move it away to begin with an empty one"
        ) from error
    return client


def _patiently(call: Callable[[], T]) -> T:
    """Make a call again while the database is busy with another writer."""
    from mlflow.exceptions import MlflowException

    for attempt in range(BUSY_TRIES):
        try:
            return call()
        except MlflowException as error:
            busy = any(sign in str(error) for sign in BUSY) and error.error_code != EXISTS
            if not busy or attempt == BUSY_TRIES - 1:
                raise
            time.sleep(random.uniform(0.01, 0.1) * (attempt + 1))
    raise AssertionError("unreachable")


def _require_absent(error: Any, where: str) -> None:  # noqa: ANN401 - mlflow has no types
    """Absence is an answer; anything else is none."""
    if error.error_code not in ABSENT:
        raise EvidenceError(
            f"{where}: the registry does not answer ({_first(error)})"
        ) from error


def bad_request(error: Exception) -> Exception:
    """What MLflow's server answers with 400 and this error's sentence.

    Any other exception becomes one sentence about unexpected errors, with the cause in a
    stack trace.
    """
    from mlflow.exceptions import MlflowException

    found: Exception = MlflowException.invalid_parameter_value(str(error))
    return found


def _first(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _version(held: Any) -> Version:  # noqa: ANN401 - mlflow has no types
    tags = dict(held.tags)
    return Version(
        name=held.name,
        number=str(held.version),
        weights=tags.get("assay.weights", ""),
        run=held.run_id or "",
        evidence=tags.get("assay.sealed", ""),
        verdict=tags.get("assay.verdict", ""),
        tags=tags,
        aliases=tuple(sorted(held.aliases or ())),
        card=held.description or "",
    )


def _input(dataset: Dataset) -> Any:  # noqa: ANN401 - mlflow has no types
    from mlflow import entities

    source = json.dumps({"uri": dataset.source})
    held = entities.Dataset(dataset.name, dataset.digest[:36], "local", source)
    return entities.DatasetInput(
        held, [entities.InputTag("mlflow.data.context", dataset.context)]
    )
