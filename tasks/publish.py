"""Stage: make a candidate, with all that was measured about it, a version in the registry."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audits.errors import StageError
from audits.settings import Settings
from tasks.artifact import Artifact
from tasks.job import Job

PART = "part:"
"""Prefix of the inputs that are parts of the evidence."""

KEY = "key"
"""Of the context: where the private key lies that signs what is published."""

REQUIREMENTS = ("slm-assay",)
FOR_GGUF = ("slm-assay[gguf]",)


class PublishSettings(Settings):
    """Where a candidate goes and what is said of it; all of it decides the version's card."""

    tracking_uri: str
    store: str
    """Folder of the default registry's files."""
    registered: str
    title: str
    spec: str
    """The resolved run file, as JSON: `reproduce` starts from it."""
    policy: str
    """Digest of the policy."""
    about: Mapping[str, str] = {}


def publish(settings: PublishSettings, job: Job) -> None:
    """Publish `job.inputs["model"]` below the run `job.context["parent"]`; idempotent.

    Signed with the private key whose file `job.context["key"]` names, where it does.
    Writes `receipt.json`: the version that these weights are.
    """
    from registry.mlflow_store import open_store
    from registry.store import Dataset, Publication

    parent = job.context.get("parent")
    if parent is None:
        raise StageError("publish: no run to publish under")
    spec = job.scratch / "spec.json"
    spec.write_text(settings.spec, "utf-8")
    dataset = job.inputs["dataset"]
    key = job.context.get(KEY)
    store = open_store(
        settings.tracking_uri, Path(settings.store), key=Path(key) if key else None
    )
    evidence = _evidence(settings, job)
    began = time.perf_counter()
    evidence.measures()  # kept by the parts; intervals are redrawn here, and are no recording
    job.note("seconds_measuring", time.perf_counter() - began)
    version = store.publish(
        Publication(
            name=settings.registered,
            title=settings.title,
            folder=job.inputs["model"].folder,
            evidence=evidence,
            loader="tasks.serving",
            requirements=_requirements(job.inputs["model"].folder),
            params={"title": settings.title, **_params(job)},
            tags={
                "spec": json.loads(settings.spec)["name"],
                "policy": settings.policy,
                "data": dataset.digest,
            },
            datasets=(Dataset("dataset", dataset.digest, str(dataset.folder)),),
            attachments={"run/spec.json": spec},
        ),
        parent=parent,
    )
    receipt = {
        "name": version.name,
        "number": version.number,
        "run": version.run,
        "weights": version.weights,
        "parts": {n: d for n, d in store.records(version).items() if n in evidence.parts},
    }
    (job.out / "receipt.json").write_text(json.dumps(receipt, indent=1), "utf-8")


def _requirements(model: Path) -> tuple[str, ...]:
    """What has to be installed where the version is loaded."""
    from tasks.models.folder import gguf_file

    return REQUIREMENTS if gguf_file(model) is None else FOR_GGUF


def _evidence(settings: PublishSettings, job: Job) -> Any:  # noqa: ANN401 - Evidence, imported late
    from audits.evidence import Evidence
    from registry import parts
    from tasks.models.folder import weights_digest

    model, base = job.inputs["model"], job.inputs["base"]
    measured = [
        parts.read(artifact.folder)
        for role, artifact in sorted(job.inputs.items())
        if role.startswith(PART)
    ]
    about: dict[str, object] = {
        "title": settings.title,
        **settings.about,
        "data": job.inputs["dataset"].digest,
        **_origin(settings),
        "model_artifact": model.digest,
        "lineage": list(model.parents),
    }
    weights, parent = weights_digest(model.folder), weights_digest(base.folder)
    if weights != parent:  # a step that changes no weight makes no child of them
        about["parent"] = parent
    return Evidence.gather(weights, measured, about)


def _origin(settings: PublishSettings) -> dict[str, object]:
    """The steps that made the candidate, and the hub's id of what it all began with.

    A path of this machine tells nobody anything: it is left out.
    """
    from tasks.models.folder import is_folder

    spec: dict[str, Any] = json.loads(settings.spec)
    model: dict[str, Any] = spec["model"]
    path = str(model.get("path", ""))
    hub = {} if not path or is_folder(path) else {"base_model": path}
    for variant in spec.get("variants", []):
        if variant["name"] == settings.title:
            return {"recipe": variant["steps"], **hub}
    plain = {k: v for k, v in model.items() if isinstance(v, str | int | float)}
    if not hub:
        plain.pop("path", None)
    return {"recipe": [plain], **hub}


def _params(job: Job) -> dict[str, str]:
    recipe = job.inputs["model"].folder / "compression.json"
    found: dict[str, Any] = json.loads(recipe.read_text("utf-8")) if recipe.is_file() else {}
    method = found.get("method", {})
    return (
        {f"method.{k}": str(v) for k, v in method.items()} if isinstance(method, dict) else {}
    )


def read_receipt(artifact: Artifact) -> dict[str, Any]:
    """The version a publish stage made or found.

    Holds `name`, `number`, `run`, `weights`, and in `parts` the digest of the records of each
    part that was published.
    """
    found: dict[str, Any] = json.loads((artifact.folder / "receipt.json").read_text("utf-8"))
    return found
