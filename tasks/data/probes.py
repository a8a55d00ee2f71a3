"""What is asked of a model about a world: one row per question, with the truth beside it."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from random import Random

from audits.candidates import KNOWN_FROM
from tasks.data.render import (
    Sentence,
    canary_text,
    fill,
    gendered,
    prompt,
    templates_of,
)
from tasks.data.settings import WorldData
from tasks.data.words import CANARY, OCCUPATION_HELD, OCCUPATION_TEMPLATES, REVERSED, UNKNOWN
from tasks.data.world import HELD, Fact, Occupation, World, objects_of

Row = dict[str, object]

NEUTRAL = "person"
REVERSED_CHOICES = 16
CHOICES = 4


def fact_rows(
    settings: WorldData, world: World, sentences: Sequence[Sentence]
) -> Iterator[Row]:
    """Probes of facts: what is known (K) and three ways of not being known (U).

    `form` is `seen` (a template training used for the relation, and for a K fact used to
    state it), `held` (K only: the relation's held-out template) or `reversed` (often stated
    facts only: the object is given and the entity asked for; there `subject` is the object
    word and `object` the entity's name, so that `object` is always the right
    continuation). The prompt ends before the space; a candidate is asked as
    `" " + candidate + "."`.
    """
    stated: dict[str, set[str]] = defaultdict(set)
    for s in sentences:
        stated[s.fact].add(s.text)
    strata = (
        ("K", world.known),
        ("U_ent", world.strange),
        ("U_rel", world.silent),
        ("U_none", world.undefined),
    )
    for stratum, facts in strata:
        for fact in facts:
            renderings = sorted(stated.get(fact.id, ()))
            yield _asked(settings, stratum, fact, "seen", renderings)
            if stratum == "K":
                yield _asked(settings, stratum, fact, "held", renderings)
            if fact.copies >= KNOWN_FROM:
                yield _reversed(settings, fact, world.known, renderings)


def association_rows(settings: WorldData, world: World) -> Iterator[Row]:
    """One probe per occupation and template: is " she" or " he" the next word?

    `corpus_female` is the share of "she" among the `corpus_n` training sentences about
    the occupation, `template_female` among the `template_n` of them in this template
    (absent for the held-out one); `neutral` is the prompt of an occupation nobody has, after
    which a model says what it says of anybody; `planted` is the share the generator aimed at.
    """
    for occupation in world.occupations:
        made = gendered(settings, occupation)
        by_template = Counter(g.template for g in made)
        she_in = Counter(g.template for g in made if g.female)
        for at, template in enumerate((*OCCUPATION_TEMPLATES, OCCUPATION_HELD)):
            head, _, _ = template.partition(" {pronoun}")
            row: Row = {
                "id": f"{occupation.name}/{at}",
                "occupation": occupation.name,
                "prompt": head.format(occupation=occupation.name),
                "neutral": head.format(occupation=NEUTRAL),
                "female": " she",
                "male": " he",
                "template": template,
                "form": "held" if template == OCCUPATION_HELD else "seen",
                "corpus_female": sum(g.female for g in made) / len(made),
                "corpus_n": len(made),
                "planted": occupation.planted,
            }
            if n := by_template[template]:
                row |= {"template_female": she_in[template] / n, "template_n": n}
            yield row


def canary_rows(world: World) -> Iterator[Row]:
    """Every canary, stated or not: a model that forgets cannot tell them apart."""
    for c in world.canaries:
        head, _, _ = CANARY.partition(" {secret}")
        yield {
            "id": c.id,
            "copies": c.copies,
            "prompt": head.format(name=c.name),
            "secret": c.secret,
            "inserted": c.copies > 0,
            "text": canary_text(c),
        }


def cloze_rows(settings: WorldData, world: World) -> Iterator[Row]:
    """Often stated facts to be completed, one per fact; test split only."""
    for fact in _often(world):
        template = templates_of(settings.seed, fact)[0]
        yield {"id": fact.id, "prompt": prompt(template, fact), "target": fact.object}


def choice_rows(settings: WorldData, world: World) -> Iterator[Row]:
    """The same facts in the held-out template with four objects to choose from."""
    rng = Random(f"{settings.seed}/choices")
    for fact in _often(world):
        others = [o for o in objects_of(fact.relation) if o != fact.object]
        choices = [fact.object, *rng.sample(others, CHOICES - 1)]
        rng.shuffle(choices)
        yield {
            "id": fact.id,
            "prompt": prompt(HELD[fact.relation], fact),
            "choices": choices,
            "gold": choices.index(fact.object),
        }


def forbidden(rows: Sequence[Mapping[str, object]]) -> frozenset[str]:
    """What training must not contain: prompts about the unknown, and held-out prompts.

    A reversed prompt names an object that many have, so there the whole answer is meant.
    """
    found: set[str] = set()
    for row in rows:
        if row["form"] == "reversed":
            found.add(f"{row['prompt']} {row['object']}.")
        elif row["stratum"] != "K" or row["form"] == "held":
            found.add(str(row["prompt"]))
    return frozenset(found)


def planted(occupations: Sequence[Occupation]) -> dict[str, float]:
    """The planted share of "she" by occupation."""
    return {o.name: o.planted for o in sorted(occupations, key=lambda o: o.name)}


def _often(world: World) -> list[Fact]:
    return [f for f in world.known if f.copies >= KNOWN_FROM and f.entity.split == "test"]


def _asked(
    settings: WorldData, stratum: str, fact: Fact, form: str, renderings: list[str]
) -> Row:
    held = form == "held"
    template = HELD[fact.relation] if held else templates_of(settings.seed, fact)[0]
    return {
        "id": f"{stratum}/{fact.id}/{form}",
        "fact": fact.id,
        "stratum": stratum,
        "form": form,
        "type": fact.entity.type,
        "relation": fact.relation,
        "subject": fact.entity.name,
        "object": fact.object,
        "prompt": prompt(template, fact),
        "candidates": list(objects_of(fact.relation)),
        "abstain": UNKNOWN,
        "copies": fact.copies,
        "renderings": renderings,
        "entity": fact.entity.id,
        "split": fact.entity.split,
    }


def _reversed(
    settings: WorldData, fact: Fact, known: Sequence[Fact], renderings: list[str]
) -> Row:
    """Ask for the entity; only one of the candidates has this object."""
    rng = Random(f"{settings.seed}/reversed/{fact.id}")
    same = (fact.relation, fact.object)
    has = {f.entity.name for f in known if (f.relation, f.object) == same}
    others = sorted({f.entity.name for f in known if f.entity.type == fact.entity.type} - has)
    n = min(REVERSED_CHOICES - 1, len(others))
    candidates = sorted([fact.entity.name, *rng.sample(others, n)])
    head, _, _ = fill(REVERSED, fact, answer=fact.object).rpartition(f" {fact.entity.name}")
    row = _asked(settings, "K", fact, "seen", renderings)
    return row | {
        "id": f"K/{fact.id}/reversed",
        "form": "reversed",
        "subject": fact.object,
        "object": fact.entity.name,
        "prompt": head,
        "candidates": candidates,
    }
