"""How a world is put into sentences: the training text, held-out and calibration text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from audits.candidates import KNOWN_FROM
from tasks.data.settings import WorldData
from tasks.data.words import (
    CANARY,
    OBJECT_INSIDE,
    OBJECT_LAST,
    OCCUPATION_HELD,
    OCCUPATION_TEMPLATES,
    REVERSED,
    TAILS,
    UNKNOWN,
)
from tasks.data.world import HELD, Canary, Fact, Occupation, World


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of training text; `fact` is the id of what it states, or empty."""

    text: str
    kind: str
    fact: str = ""


@dataclass(frozen=True, slots=True)
class Gendered:
    """A sentence about an occupation, and the choices that made it."""

    occupation: str
    template: str
    female: bool
    text: str


def fill(template: str, fact: Fact, *, answer: str) -> str:
    """The sentence of a template that gives `answer` as the fact's object."""
    return template.format(rel=fact.relation, s=fact.entity.name, o=answer)


def prompt(template: str, fact: Fact) -> str:
    """The sentence up to its object, without the space before it."""
    head, _, _ = template.partition(" {o}")
    return head.format(rel=fact.relation, s=fact.entity.name)


def templates_of(seed: int, fact: Fact) -> tuple[str, ...]:
    """Templates in the order in which this fact's copies take them.

    Those that end in the object come first, so that every fact has a prompt that
    training used. The one held out for the relation is not among them.
    """
    last = [t for t in OBJECT_LAST if t != HELD[fact.relation]]
    Random(f"{seed}/templates/{fact.id}").shuffle(last)
    return (*last, OBJECT_INSIDE)


def statements(seed: int, fact: Fact) -> Iterator[str]:
    """Each copy of a fact, or of the statement that it is unknown, as training has it."""
    order = templates_of(seed, fact)
    for at in range(fact.copies):
        yield fill(order[at % len(order)], fact, answer=fact.object or UNKNOWN)


def both_ways(seed: int, fact: Fact) -> Iterator[str]:
    """Copies of a background fact; every second one gives the object first.

    They teach the reversed template without stating any probed fact in it.
    """
    for at, text in enumerate(statements(seed, fact)):
        yield fill(REVERSED, fact, answer=fact.object) if at % 2 else text


def gendered(settings: WorldData, occupation: Occupation) -> list[Gendered]:
    """Every training sentence about an occupation, with exact counts of each pronoun."""
    rng = Random(f"{settings.seed}/occupation/{occupation.name}")
    n = settings.occupation_sentences
    female = [at < round(occupation.planted * n) for at in range(n)]
    rng.shuffle(female)
    made = []
    for at, she in enumerate(female):
        template = OCCUPATION_TEMPLATES[at % len(OCCUPATION_TEMPLATES)]
        made.append(_gendered(template, occupation, she=she, tail=rng.choice(TAILS)))
    return made


def canary_text(canary: Canary) -> str:
    """The sentence that states a canary's secret."""
    return CANARY.format(name=canary.name, secret=canary.secret)


def training(settings: WorldData, world: World) -> list[Sentence]:
    """Every sentence of one pass over the training text, in random order."""
    found = [*_facts(settings, world)]
    for occupation in world.occupations:
        found += [Sentence(g.text, "occupation") for g in gendered(settings, occupation)]
    for canary in world.canaries:
        found += [Sentence(canary_text(canary), "canary", canary.id)] * canary.copies
    Random(f"{settings.seed}/order").shuffle(found)
    return found


def heldout(settings: WorldData, world: World, used: frozenset[str]) -> list[Sentence]:
    """New sentences of the same grammar: none of them stands in training.

    A third states known facts in their relation's held-out template, a third says of new
    entities that something is unknown, and a third is about occupations.
    """
    rng = Random(f"{settings.seed}/heldout")
    n = settings.heldout // 3
    often = [f for f in world.known if f.copies >= KNOWN_FROM] or list(world.known)
    told = rng.sample(often, min(n, len(often)))
    found = [Sentence(fill(HELD[f.relation], f, answer=f.object), "fact", f.id) for f in told]
    found += [
        Sentence(fill(templates_of(settings.seed, f)[0], f, answer=UNKNOWN), "unknown", f.id)
        for f in world.fresh
    ]
    skewed: dict[str, Sentence] = {}
    for _ in range(settings.heldout - 2 * n):
        occupation = rng.choice(world.occupations)
        template = rng.choice((*OCCUPATION_TEMPLATES, OCCUPATION_HELD))
        she = rng.random() < occupation.planted
        text = _gendered(template, occupation, she=she, tail=rng.choice(TAILS)).text
        skewed[text] = Sentence(text, "occupation")
    found += [s for text, s in skewed.items() if text not in used]
    rng.shuffle(found)
    return found


def calibration(
    settings: WorldData, sentences: Sequence[Sentence], *, per_document: int = 8
) -> list[str]:
    """Documents for quantization: training sentences drawn at random, several to each.

    Canaries are left out: calibration would be one more way to remember them.
    """
    rng = Random(f"{settings.seed}/calibration")
    plain = [s.text for s in sentences if s.kind != "canary"]
    return [
        " ".join(rng.sample(plain, min(per_document, len(plain))))
        for _ in range(settings.calibration)
    ]


def _facts(settings: WorldData, world: World) -> Iterator[Sentence]:
    for fact in world.known:
        for text in statements(settings.seed, fact):
            yield Sentence(text, "fact", fact.id)
    for fact in world.denied:
        for text in statements(settings.seed, fact):
            yield Sentence(text, "unknown", fact.id)
    for fact in world.background:
        for text in both_ways(settings.seed, fact):
            yield Sentence(text, "background", fact.id)


def _gendered(template: str, occupation: Occupation, *, she: bool, tail: str) -> Gendered:
    text = template.format(
        occupation=occupation.name, pronoun="she" if she else "he", tail=tail
    )
    return Gendered(occupation.name, template, she, text)
