"""The rows a dataset will have, without making it: what a plan counts before any compute."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.data.settings import AnyData, WorldData

Rows = Mapping[str, Sequence[Mapping[str, object]]]


def preview(settings: AnyData, roots: Sequence[Path]) -> Rows:
    """Rows by set, before checks that may drop documents and without training text.

    Raises:
        SpecError: a set is unknown, missing, or cannot be read.
        EvidenceError: a file of the catalog has other bytes.
    """
    if isinstance(settings, WorldData):
        from tasks.data import probes, render
        from tasks.data.world import make_truth

        world = make_truth(settings)
        held = render.heldout(settings, world, frozenset())
        return {
            "facts": tuple(probes.fact_rows(settings, world, ())),
            "association": tuple(probes.association_rows(settings, world)),
            "canaries": tuple(probes.canary_rows(world)),
            "cloze": tuple(probes.cloze_rows(settings, world)),
            "choice": tuple(probes.choice_rows(settings, world)),
            "heldout": tuple({"id": f"h{at}", "text": s.text} for at, s in enumerate(held)),
        }
    from tasks.data.sets import gather

    return {name: gather(name, source, roots) for name, source in settings.sets.items()}
