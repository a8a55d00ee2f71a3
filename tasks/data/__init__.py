"""Data: a generated closed world, or sets from the catalog, checked and with a manifest."""

from collections.abc import Sequence
from pathlib import Path

from tasks.data.outside import sources
from tasks.data.settings import AnyData, SetsData, Source, Tier, WorldData
from tasks.job import Job

__all__ = ["AnyData", "SetsData", "Source", "Tier", "WorldData", "make_data", "sources"]


def make_data(settings: AnyData, job: Job, *, roots: Sequence[Path] = ()) -> None:
    """Fill `job.out` with a checked dataset: `manifest.json`, its sets, `checks.json`.

    Args:
        settings: What to generate or gather.
        job: Where to write; needs no inputs.
        roots: Folders in which catalog data may lie, the first that has a set wins; by
            default the lines of `job.context["roots"]`.

    Raises:
        SpecError: the settings ask for what cannot be had.
        StageError: an expectation that stops the run does not hold.
        EvidenceError: catalog data differs from its recorded checksum.
    """
    if isinstance(settings, WorldData):
        from tasks.data.make import make_world

        make_world(settings, job)
    else:
        from tasks.data.sets import make_sets

        named = [Path(line) for line in job.context.get("roots", "").splitlines()]
        make_sets(settings, job, roots=roots or named)
