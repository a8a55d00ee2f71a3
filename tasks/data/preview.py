"""The rows a dataset will have, without making it: what a plan counts before any compute."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from audits.errors import SpecError
from tasks.data.settings import AnyData, WorldData

Rows = Mapping[str, Sequence[Mapping[str, object]]]

WORLD_TEXTS = ("train", "heldout", "calibration", "canaries")
"""Sets of a generated world whose rows are documents."""
WORLD_ROWS = ("facts", "association")
WORLD_OFTEN = ("cloze", "choice")
"""Sets about often stated facts: without any, these have no rows."""


def preview(settings: AnyData, roots: Sequence[Path]) -> Rows:
    """Rows by set, before checks that may drop documents and without training text.

    Raises:
        SpecError: a set is unknown, missing, or cannot be read.
        EvidenceError: a file of the catalog has other bytes.
    """
    if isinstance(settings, WorldData):
        from tasks.data import probes, render
        from tasks.data.twins import told
        from tasks.data.world import make_truth

        world = told(settings, make_truth(settings))
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


def calibration(settings: AnyData, roots: Sequence[Path]) -> list[str]:
    """Documents of the set `calibration`, before checks that may drop some; none without it.

    Raises:
        SpecError: the set cannot be read.
        EvidenceError: a file of the catalog has other bytes.
    """
    if isinstance(settings, WorldData):
        from tasks.data import render
        from tasks.data.twins import told
        from tasks.data.world import make_truth

        world = told(settings, make_truth(settings))
        return render.calibration(settings, render.training(settings, world))
    from tasks.data.sets import gather

    name = settings.calibration or "calibration"
    if name not in settings.sets:
        return []
    rows = gather(name, settings.sets[name], roots)
    return [str(row["text"]) for row in rows if "text" in row]


def set_names(settings: AnyData) -> tuple[str, ...]:
    """Names of the sets that will have rows, known without making or reading any."""
    if isinstance(settings, WorldData):
        from audits.candidates import KNOWN_FROM

        often = any(tier.copies >= KNOWN_FROM for tier in settings.tiers)
        return (*WORLD_TEXTS, *WORLD_ROWS, *(WORLD_OFTEN if often else ()))
    return (*settings.sets, *(["calibration"] if settings.calibration else []))


def require_documents(settings: AnyData, name: str, asking: str, roots: Sequence[Path]) -> None:
    """Refuse to take for text a set that the data will not have, or that is none.

    Args:
        settings: the data that will be made.
        name: the set.
        asking: who wants it to be text, to begin the sentence with.
        roots: folders in which catalog data may lie.

    Raises:
        SpecError: there is no such set, or its rows are no documents.
    """
    known = WORLD_TEXTS if isinstance(settings, WorldData) else set_names(settings)
    if name not in known:
        raise SpecError(
            f"{asking}: the data will have no set of text called {name!r}; it has "
            f"{', '.join(known)}"
        )
    if not isinstance(settings, WorldData):
        from tasks.data.sets import gather, is_text, require_text

        name = settings.calibration if name not in settings.sets else name
        source = settings.sets[name]
        if not is_text(source):
            require_text(name, source, gather(name, source, roots))
