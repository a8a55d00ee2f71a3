"""One stage by itself, on a model folder, a hub id or a registered version."""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from audits.errors import EvidenceError, SpecError, StageError
from audits.settings import Settings
from flows.chains import checkpoint_call, compress_call, teachers_of
from flows.home import Home
from flows.plan import (
    audit_call,
    base_model,
    control_parts,
    data_call,
    evaluate_call,
    make_dataset,
    make_tokenizer,
    runner,
)
from flows.shown import document_of, lines_of
from flows.spec import ASKED, CONTROLS, TWINNED, RunSpec, load_spec
from registry import parts
from registry.documents import read_yaml, validate
from tasks.artifact import Artifact, fingerprint
from tasks.audit import AuditRun, require_dataset
from tasks.compress import AnyMethod, Distill
from tasks.data import AnyData, WorldData
from tasks.evaluate import EvaluateSettings
from tasks.evaluate.settings import ALL_METRICS
from tasks.job import Call
from tasks.profile import ProfileSettings
from tasks.stages import call, perform
from tasks.train import CheckpointSettings, TrainSettings

Answer = tuple[dict[str, Any], str]


class _Chosen(Settings):
    """A method given on the command line."""

    method: AnyMethod


def train(path: Path, changes: Sequence[str], home: Home, out: Path | None) -> Answer:
    """Make the data and the base model of a run file."""
    spec = load_spec(path, changes)
    if out:
        _require_new(out)
    dataset = make_dataset(spec, home, perform)
    _, model = base_model(spec, home, dataset, perform)
    folder = _copy(model.folder, out) if out else model.folder
    return (
        {"model": str(folder), "digest": model.digest, "dataset": str(dataset.folder)},
        f"model    {folder}\ndataset  {dataset.folder}",
    )


def compress(model: str, method: str, out: Path, data: Path | None, home: Home) -> Answer:
    """Apply one compression method to a model."""
    try:
        document = json.loads(method)
    except ValueError as error:
        raise SpecError(f"--method: {method!r} is not JSON ({error})") from error
    settings = validate(_Chosen, {"method": document}, "--method").method
    _require_new(out)
    inputs = {"model": find_model(model, home), **dataset_input(data, home)}
    _require_safetensors(inputs["model"].folder)
    taught = [find_model(named, home) for named in _teachers(settings)]
    made = perform(compress_call(settings, inputs, taught, home, model))
    folder = _copy(made.folder, out)
    return {"model": str(folder), "digest": made.digest}, f"model    {folder}"


def _teachers(method: AnyMethod) -> tuple[str, ...]:
    """The models that a step is told to learn from; here there is no base to learn from."""
    if isinstance(method, Distill) and not method.teachers:
        raise SpecError(
            '--method: distill names no teacher; give one, like "teachers": ["path/of/a/model"]'
        )
    return teachers_of(method)


def evaluate(model: str, asked: Mapping[str, object], data: Path | None, home: Home) -> Answer:
    """Run lm-eval tasks on a model and show lm-eval's own table."""
    given = {k: v for k, v in asked.items() if v is not None}
    settings = validate(EvaluateSettings, {"metrics": ALL_METRICS} | given, "evaluate")
    inputs = {"model": find_asked(model, home), **dataset_input(data, home)}
    made = ask(evaluate_call(settings, inputs, home, model), home)
    table = (made.folder / "table.md").read_text("utf-8").rstrip()
    documents = parts.read(made.folder).notes["documents"]
    more = {"documents": documents, "samples": str(made.folder / "samples.jsonl.gz")}
    return document_of(made) | more, table


def audit(
    model: str,
    kinds: Sequence[str],
    data: Path | None,
    seed: int,
    home: Home,
    controls: Path | None = None,
) -> Answer:
    """Run audits of the catalog with their default settings.

    With `controls`, a run file, on its data where none is given, and beside the model on the
    twins of the model it trains.
    """
    spec = _twinned(controls) if controls else None
    given = (
        {"dataset": make_dataset(spec, home, perform)}
        if spec and data is None
        else dataset_input(data, home)
    )
    asked = audit_runs(kinds, given, seed)
    inputs = {"model": find_asked(model, home), **given}
    made = [
        ask(audit_call(settings, inputs, home, kind), home)
        for kind, settings in zip(kinds, asked, strict=True)
    ]
    if spec:
        made += _on_twins(spec, asked, seed, given["dataset"], home)
    texts = [lines_of(parts.read(one.folder)) for one in made]
    return {"audits": [document_of(one) for one in made]}, "\n\n".join(texts)


def _twinned(path: Path) -> RunSpec:
    """A run file whose model has twins; SpecError where it can have none."""
    spec = load_spec(path)
    if not (isinstance(spec.model, TrainSettings) and isinstance(spec.data, WorldData)):
        raise SpecError(f"--controls {path}: {TWINNED}")
    return spec


def _on_twins(
    spec: RunSpec, asked: Sequence[AuditRun], seed: int, dataset: Artifact, home: Home
) -> list[Artifact]:
    """What the asked audits say of every twin that was told something of theirs."""
    audits = tuple(run.audit for run in asked)
    controls = tuple(c for c in CONTROLS if ASKED[c] in {each.source for each in audits})
    if not controls:
        raise SpecError(
            "--controls: twins are told other facts or skews, and none of these audits asks "
            "for them; name closed_world, calibration or association"
        )
    assert isinstance(spec.model, TrainSettings)  # `_twinned` saw to it
    told = {"audits": audits, "controls": controls, "seed": seed}
    own = make_dataset(spec, home, perform)
    tokenizer = make_tokenizer(spec.model, home, own, perform)
    found = control_parts(spec.model_copy(update=told), home, dataset, tokenizer, perform)
    return list(found.values())


def audit_runs(
    kinds: Sequence[str], data: Mapping[str, Artifact], seed: int = 0
) -> list[AuditRun]:
    """Audits by kind with their default settings; SpecError where one lacks its data."""
    asked = [
        validate(AuditRun, {"audit": {"kind": kind}, "seed": seed}, "audit") for kind in kinds
    ]
    for settings in asked:
        require_dataset(settings.audit, data)
    return asked


def profile(model: str, home: Home) -> Answer:
    """Measure a model in a fresh process."""
    inputs = {"model": find_model(model, home)}
    made = perform(
        call(
            "profile", ProfileSettings(), inputs, root=home.artifacts, label=model,
            sources=runner(inputs["model"]),
        )
    )  # fmt: skip
    return document_of(made), lines_of(parts.read(made.folder))


def find_asked(named: str, home: Home) -> Artifact:
    """A model to be asked: as `find_model`, or one of lm-eval's by `lm-eval:BACKEND,ARGS`."""
    from tasks.models.borrowing import PREFIX, settle

    if named.startswith(PREFIX):
        folder, digest = settle(named, home.root / "borrowed")
        return Artifact(kind="model", path=str(folder), digest=digest)
    return find_model(named, home)


def ask(wanted: Call, home: Home) -> Artifact:
    """Perform a call; without the score cache in an artifact root of its own, so really."""
    if home.keeps_scores:
        return perform(wanted)
    home.artifacts.mkdir(parents=True, exist_ok=True)
    apart = tempfile.mkdtemp(prefix="again-", dir=home.artifacts)
    return perform(wanted.model_copy(update={"root": apart}))


def find_model(named: str, home: Home) -> Artifact:
    """A model by folder, GGUF file, hub id or `models:/NAME@ALIAS`, as an artifact."""
    from tasks.models.borrowing import PREFIX
    from tasks.models.folder import check_folder, gguf_file, weights_digest

    if named.startswith(PREFIX):
        raise SpecError(
            f"{named}: a model of lm-eval's can be evaluated and audited, and nothing else; "
            "give a folder, a hub id or models:/NAME@ALIAS"
        )
    if named.startswith("models:/"):
        folder = _registered(named.removeprefix("models:/"), home)
    elif gguf_file(path := Path(named).expanduser()) is not None or path.is_dir():
        folder = path.resolve()
    else:
        return perform(checkpoint_call(CheckpointSettings(path=named), home))
    check_folder(folder)
    return Artifact(kind="model", path=str(folder), digest=weights_digest(folder))


def _registered(named: str, home: Home) -> Path:
    """The weights of a version, copied out of the registry once and verified.

    Raises:
        EvidenceError: they are missing, or are not the ones the version stands for.
    """
    from flows.reviewing import find_version
    from registry.layout import DATA
    from registry.mlflow_store import open_store
    from tasks.models.folder import weights_digest

    store = open_store(home.tracking_uri, home.root)
    version = find_version(store, named)
    folder = home.root / "models" / version.weights
    if not folder.is_dir():
        source = store.attachment(version, DATA)
        if weights_digest(source) != version.weights:
            raise EvidenceError(
                f"models:/{named}: the stored files are not the weights of this version; "
                "publish them again with `assay run`"
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        _copy(source, folder)
    return folder


class _Given(Settings):
    """Data that a file describes as the `data:` of a run file does."""

    data: AnyData


def dataset_input(folder: Path | None, home: Home) -> dict[str, Artifact]:
    """A dataset as the input of a stage; nothing where none is given.

    It is a folder, or a YAML file with the `data:` of a run file, which is made here.
    """
    if folder is None:
        return {}
    if folder.is_file() and folder.suffix in (".yaml", ".yml"):
        found = validate(_Given, {"data": read_yaml(folder)}, str(folder)).data
        return {"dataset": perform(data_call(found, home))}
    if not (folder / "manifest.json").is_file():
        raise SpecError(
            f"--data {folder}: has no manifest.json; give a dataset folder, as `assay train` "
            "prints one, or a .yaml file with the `data:` of a run file"
        )
    resolved = folder.resolve()
    return {
        "dataset": Artifact(kind="dataset", path=str(resolved), digest=fingerprint(resolved))
    }


def _require_safetensors(model: Path) -> None:
    from tasks.models.folder import gguf_file

    if gguf_file(model) is not None:
        raise SpecError(
            f"{model}: a GGUF file is compressed already; compress the safetensors weights "
            "it was made of"
        )


def _require_new(out: Path) -> None:
    if out.exists():
        raise SpecError(f"--out {out}: is already there; give a new folder")
    home = next(parent for parent in out.absolute().parents if parent.exists())
    if not home.is_dir():
        raise SpecError(f"--out {out}: {home} is a file; give a folder below another")


def _copy(folder: Path, out: Path) -> Path:
    _require_new(out)
    aside = out.with_name(out.name + ".part")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        shutil.copytree(folder, aside)
        aside.rename(out)
    except OSError as error:  # copytree's own holds a list of what failed
        shutil.rmtree(aside, ignore_errors=True)
        why = error.strerror or "the disk may be full"
        raise StageError(f"--out {out}: the model could not be copied ({why})") from error
    return out
