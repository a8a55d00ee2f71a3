"""From a model and a method to a compressed model that says what was done to it."""

import json
import time
from pathlib import Path

from tasks import dataset
from tasks.compress.catalog import AnyMethod
from tasks.compress.folder import Source, sizes
from tasks.compress.teacher import ROLE
from tasks.job import Job

CALIBRATION = "calibration"


def compress(method: AnyMethod, job: Job) -> None:
    """Apply one method to `job.inputs["model"]` and fill `job.out` with the new model.

    Calibration text is the dataset's set `calibration`, where there is one. Beside the
    weights stands `compression.json`: the method's settings (all, and those `chosen`), the
    layers it changed, the digest of the calibration text, bytes by kind of tensor and bits per
    weight, and, by layer where the method measures it, the relative squared error on identical
    inputs. What the method took, from reading the model to its last file, is noted as
    `seconds_method`.

    Raises:
        SpecError: The method does not fit the model or the data.
        StageError: The method failed on this model.
    """
    data = job.inputs.get("dataset")
    seen = data is not None and dataset.has(data.folder, CALIBRATION)
    texts = dataset.texts(data.folder, CALIBRATION) if data is not None and seen else []
    source = Source(job.inputs["model"].folder, texts, job.out, _teachers(job))
    began = time.perf_counter()
    applied = method.apply(source)
    job.note("seconds_method", time.perf_counter() - began)
    source.copy_rest()
    measured = sizes(job.out)
    before = sizes(source.model)
    report = {
        "method": method.model_dump(mode="json"),
        "chosen": {"kind": method.kind} | method.model_dump(mode="json", exclude_defaults=True),
        "version": method.version,
        "calibration": source.text_digest,
        "layers": dict(applied.layers),
        "reconstruction_error": dict(applied.errors),
        "remarks": {k: v for k, v in applied.remarks.items() if v != ""},
        **measured,
    }
    text = json.dumps(report, indent=1, sort_keys=True)
    (job.out / "compression.json").write_text(text, "utf-8")
    for name, value in (*measured.items(), *applied.remarks.items()):
        job.note(name, value)
    if applied.errors:
        job.note("reconstruction_error", dict(applied.errors))
    job.note("bytes_files_before", before["bytes_files"])


def _teachers(job: Job) -> list[Path]:
    """The inputs that are teachers, in the order in which the method names them."""
    numbers = [role.removeprefix(ROLE) for role in job.inputs if role.startswith(ROLE)]
    return [job.inputs[f"{ROLE}{at}"].folder for at in sorted(map(int, numbers))]
