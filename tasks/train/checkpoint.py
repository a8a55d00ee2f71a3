"""Start from a model that somebody else has trained."""

import shutil
from pathlib import Path

from audits.errors import SpecError
from tasks.job import Job
from tasks.models.folder import check_folder, is_folder
from tasks.models.hub import FILES, fetch
from tasks.train.settings import CheckpointSettings


def import_model(settings: CheckpointSettings, job: Job) -> None:
    """Copy a model's files into `job.out`; the original is not touched.

    It is loaded once before, so that what cannot be loaded is named where it lies.

    Raises:
        SpecError: The path is no model of safetensors weights that can be loaded, or it is
            a hub id that cannot be had here.
    """
    from tasks.models.load import load

    folder = _find(settings)
    load(folder, device="cpu")
    copied = 0
    for file in sorted({f for pattern in FILES for f in folder.glob(pattern)}):
        if file.is_file():
            # Follows the links of the hub's cache; times and owners are not content.
            shutil.copyfile(file, job.out / file.name)
            copied += file.stat().st_size
    check_folder(job.out)
    job.note("source", settings.path)
    job.note("revision", settings.revision)
    job.note("bytes", copied)


def _find(settings: CheckpointSettings) -> Path:
    if not is_folder(settings.path):
        return fetch(settings.path, settings.revision)
    if settings.revision is not None:
        raise SpecError(
            f"model.revision {settings.revision!r}: {settings.path} is a folder, which has "
            "no revision; remove it"
        )
    return Path(settings.path).expanduser()
