"""Stage: what a model's files spend their bytes on, and what compression did to each layer."""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from audits.estimand import Declared, Exact
from audits.settings import Settings
from tasks.job import Job

if TYPE_CHECKING:
    from pathlib import Path

STEP = "step:"
"""Prefix of the inputs that are models on the way from the base, in order."""
NAME = "storage"


class StorageSettings(Settings):
    """Nothing to choose: everything is read from the files."""

    kind: ClassVar[str] = NAME
    version: ClassVar[int] = 1

    @property
    def basis(self) -> str:
        """Fingerprint of the question."""
        return hashlib.sha256(json.dumps([self.kind, self.version]).encode()).hexdigest()

    def declares(self) -> tuple[Declared, ...]:
        """Bytes by kind of tensor, and bits per weight."""
        return (
            _exact("bits_per_weight", "bits", "bits per weight of the layers, scales included"),
            _exact("bytes_layers", "bytes", "what is stored for the layers' weights"),
            _exact("bytes_embeddings", "bytes", "embeddings, and a head of its own"),
            _exact("bytes_other", "bytes", "norms, biases and the like"),
        )


def storage(settings: StorageSettings, job: Job) -> None:
    """Write the part "storage" of `job.inputs["model"]`.

    Beside one record of the model stands one for each layer that a step changed and measured:
    `error`, the relative squared error of the layer's outputs on identical inputs. It compares
    layers of one step; no level of it says that a model is good.
    """
    from audits.evidence import Part, records_frame
    from registry.parts import write
    from tasks.models.stored import stored

    counted = stored(job.inputs["model"].folder)
    rows: list[dict[str, object]] = [
        {
            "example": "model", "row": "model",
            "bits_per_weight": counted.bits_per_weight, "bytes_layers": counted.layers,
            "bytes_embeddings": counted.embeddings, "bytes_other": counted.other,
        }
    ]  # fmt: skip
    steps = [job.inputs[role].folder for role in sorted(job.inputs, key=_place) if _place(role)]
    reports = [_report(folder) for folder in steps]
    for number, report in enumerate(reports, 1):
        rows += [
            {
                "example": f"step {number} {layer}", "row": "layer", "step": number,
                "method": report["method"]["kind"], "layer": layer, "error": error,
            }
            for layer, error in report["reconstruction_error"].items()
        ]  # fmt: skip
    part = Part(
        name=NAME,
        kind=settings.kind,
        declared=settings.declares(),
        expected=tuple(str(row["example"]) for row in rows),
        records=records_frame(rows),
        basis=settings.basis,
        notes={"steps": [_told(report) for report in reports]},
    )
    write(part, job.out)


def _place(role: str) -> int:
    return int(role.removeprefix(STEP)) if role.startswith(STEP) else 0


def _report(folder: "Path") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "compression.json").read_text("utf-8"))
    return found


def _told(report: Mapping[str, Any]) -> dict[str, object]:
    """A step as people are told of it: the settings that were chosen, and what it remarked."""
    return {"method": report["chosen"], "remarks": report["remarks"]}


def _exact(name: str, unit: str, about: str) -> Declared:
    return Declared(
        name=name, better="lower", about=about, unit=unit, of=Exact(value=name),
        where={"row": "model"},
    )  # fmt: skip
