"""Generate a closed world, check it, and write it as a dataset."""

from collections import Counter
from collections.abc import Mapping, Sequence
from string import ascii_letters, digits

from tasks.data import checks, probes, render
from tasks.data.settings import WorldData
from tasks.data.twins import told
from tasks.data.words import (
    CANARY,
    OBJECT_INSIDE,
    OBJECT_LAST,
    OCCUPATION_HELD,
    OCCUPATION_TEMPLATES,
    REVERSED,
)
from tasks.data.world import HELD, World, make_truth
from tasks.data.write import Rows, write_manifest, write_set
from tasks.job import Job


def make_world(settings: WorldData, job: Job) -> None:
    """Fill `job.out` with a world's training text, probes and truth.

    Raises:
        SpecError: the sizes asked for cannot be had.
        StageError: a check of the generated text failed.
    """
    world = told(settings, make_truth(settings))
    sentences = render.training(settings, world)
    facts = list(probes.fact_rows(settings, world, sentences))
    documents = [
        {"id": f"t{at}", "text": s.text, "kind": s.kind, "facts": [s.fact] if s.fact else []}
        for at, s in enumerate(sentences)
    ]
    kept = checks.check({"train": documents}, plan(settings, world, facts), job)["train"]
    used = frozenset(s.text for s in sentences)
    held = render.heldout(settings, world, used)
    found: dict[str, tuple[Rows, str]] = {
        "train": (kept, "one pass of training text, one statement per document"),
        "heldout": (
            [{"id": f"h{at}", "text": s.text, "kind": s.kind} for at, s in enumerate(held)],
            "new sentences of the same grammar, none of them in train",
        ),
        "calibration": (
            [
                {"id": f"q{at}", "text": text}
                for at, text in enumerate(render.calibration(settings, sentences))
            ],
            "training sentences for quantization to look at",
        ),
        "facts": (facts, "probes of known facts and of three kinds of unknown ones"),
        "association": (
            probes.association_rows(settings, world),
            "next word she or he after an occupation, with the corpus's own ratio",
        ),
        "canaries": (probes.canary_rows(world), "stated secrets and never-stated twins"),
        "cloze": (probes.cloze_rows(settings, world), "often stated facts to complete"),
        "choice": (probes.choice_rows(settings, world), "the same with four choices"),
    }
    sets = {name: write_set(job.out, name, *what) for name, what in found.items()}
    content = {"kind": "world", "sets": sets, "truth": truth(settings, world, sentences, facts)}
    write_manifest(job.out, content)
    job.note("truth", content["truth"])


def plan(
    settings: WorldData, world: World, facts: Sequence[Mapping[str, object]]
) -> checks.Plan:
    """What generated documents are held to; a failure is our own mistake and stops."""
    copies: Counter[str] = Counter()
    for fact in (*world.known, *world.denied):
        copies.update(render.statements(settings.seed, fact))
    for fact in world.background:
        copies.update(render.both_ways(settings.seed, fact))
    for occupation in world.occupations:
        copies.update(g.text for g in render.gendered(settings, occupation))
    for canary in world.canaries:
        copies[render.canary_text(canary)] += canary.copies
    return checks.Plan(
        effects=dict.fromkeys(checks.ALL, "stop"),
        copies=copies,
        forbidden=probes.forbidden(facts),
        alphabet=frozenset(f"{ascii_letters}{digits} ,."),
    )


def truth(
    settings: WorldData,
    world: World,
    sentences: Sequence[render.Sentence],
    facts: Sequence[Mapping[str, object]],
) -> dict[str, object]:
    """What the generator knows and a reader of the manifest may rely on."""
    tiers = Counter(f.copies for f in world.known)
    strata = Counter((str(r["stratum"]), str(r["split"]), str(r["form"])) for r in facts)
    return {
        "seed": settings.seed,
        "settings": settings.model_dump(mode="json"),
        "facts_by_copies": {str(copies): tiers[copies] for copies in sorted(tiers)},
        "monofact_share": tiers[1] / len(world.known),
        "probes": {"/".join(key): strata[key] for key in sorted(strata)},
        "documents_by_kind": dict(sorted(Counter(s.kind for s in sentences).items())),
        "documents": len(sentences),
        "words": sum(len(s.text.split()) for s in sentences),
        "templates": {
            "object_last": list(OBJECT_LAST),
            "object_inside": OBJECT_INSIDE,
            "reversed": REVERSED,
            "held": HELD,
            "occupation": list(OCCUPATION_TEMPLATES),
            "occupation_held": OCCUPATION_HELD,
            "canary": CANARY,
        },
        "planted_female": probes.planted(world.occupations),
        "canaries_by_copies": {
            str(n): c for n, c in sorted(Counter(c.copies for c in world.canaries).items())
        },
    }
