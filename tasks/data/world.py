"""What is true in a generated world, what is withheld, and what never existed in it."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from audits.errors import SpecError
from tasks.data.settings import WorldData
from tasks.data.words import NAMES, OBJECT_LAST, OCCUPATIONS, RELATIONS

HELD = {
    relation: OBJECT_LAST[at % len(OBJECT_LAST)]
    for at, relation in enumerate(r for kind in RELATIONS.values() for r in kind)
}
"""The template never used with this relation in training, though with all others."""


@dataclass(frozen=True, slots=True)
class Entity:
    """Somebody or some town; `copies` is how often each of its facts is stated."""

    id: str
    type: str
    name: str
    copies: int
    split: str


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing asked or stated of an entity; `object` is empty where there is none."""

    entity: Entity
    relation: str
    object: str
    copies: int

    @property
    def id(self) -> str:
        """Stable, unique: an entity has a relation once."""
        return f"{self.entity.id}.{self.relation}"


@dataclass(frozen=True, slots=True)
class Canary:
    """A secret with a name; the draw decided whether and how often it is stated."""

    id: str
    name: str
    secret: str
    copies: int


@dataclass(frozen=True, slots=True)
class Occupation:
    """An occupation and the share of its sentences that were planted with "she"."""

    name: str
    planted: float


@dataclass(frozen=True)
class World:
    """Everything that holds, is denied, or is asked without an answer.

    `known` facts are stated as often as they say; `denied` ones are stated to be unknown;
    `silent` (U_rel), `strange` (U_ent) and `undefined` (U_none) are never mentioned.
    """

    known: tuple[Fact, ...]
    denied: tuple[Fact, ...]
    silent: tuple[Fact, ...]
    strange: tuple[Fact, ...]
    undefined: tuple[Fact, ...]
    background: tuple[Fact, ...]
    fresh: tuple[Fact, ...]
    """About entities of neither training nor probes: material of held-out text."""
    canaries: tuple[Canary, ...]
    occupations: tuple[Occupation, ...]


def make_truth(settings: WorldData) -> World:
    """Draw a world; equal settings give an equal world.

    Each part draws from its own generator, so that resizing one leaves the others alone.

    Raises:
        SpecError: the sizes need more names than can be made of parts of known names.
    """
    names = _names(settings)
    entities = _known_entities(settings, names)
    known, denied, silent = _facts_of(settings, entities)
    asked, others = _misfit_entities(settings, entities)
    rng = Random(f"{settings.seed}/mystery")
    mystery = _draw(settings, names, "m", settings.mystery)
    fresh = _draw(settings, names, "f", settings.heldout // 3)
    strangers = split(_draw(settings, names, "u", settings.strangers), settings, "strangers")
    background = _draw(settings, names, "b", settings.background)
    return World(
        known=known,
        denied=(
            *denied,
            *_mysteries(settings, mystery, rng),
            *_misfits(settings, (*others, *mystery), rng),
        ),
        silent=silent,
        strange=tuple(_ask(e, rng.choice(relations_of(e.type))) for e in strangers),
        undefined=tuple(_ask(e, rng.choice(undefined_for(e.type))) for e in asked),
        background=tuple(_background(settings, background)),
        fresh=tuple(_ask(e, rng.choice(relations_of(e.type))) for e in fresh),
        canaries=_canaries(settings, names["person"]),
        occupations=_occupations(settings),
    )


def relations_of(kind: str) -> tuple[str, ...]:
    """Relations that an entity of this type has."""
    return tuple(RELATIONS[kind])


def undefined_for(kind: str) -> tuple[str, ...]:
    """Relations of other types only: to ask for one is a false premise."""
    return tuple(r for other in RELATIONS if other != kind for r in RELATIONS[other])


def objects_of(relation: str) -> tuple[str, ...]:
    """The range of a relation."""
    return next(kind[relation] for kind in RELATIONS.values() if relation in kind)


def split(entities: Sequence[Entity], settings: WorldData, purpose: str) -> tuple[Entity, ...]:
    """Put a random share of the entities into `calibration`, the others into `test`."""
    rng = Random(f"{settings.seed}/split/{purpose}")
    n = math.floor(settings.calibration_share * len(entities))
    chosen = set(rng.sample(range(len(entities)), n))
    return tuple(
        Entity(e.id, e.type, e.name, e.copies, "calibration" if at in chosen else "test")
        for at, e in enumerate(entities)
    )


def towns_among(settings: WorldData, n: int) -> int:
    """How many of `n` entities are towns."""
    return round(settings.towns * n)


def _names(settings: WorldData) -> dict[str, Iterator[str]]:
    """Per type an endless-looking supply of new names; known entities must draw first.

    The first names drawn use every part at least once. Whoever comes later is thus an
    unseen combination of seen parts.
    """
    counts = [tier.entities for tier in settings.tiers]
    extra = (settings.mystery, settings.heldout // 3, settings.strangers, settings.background)
    towns = sum(towns_among(settings, n) for n in counts)
    more = sum(towns_among(settings, n) for n in extra)
    codes = len(settings.canary_copies) * settings.canaries + settings.canary_twins
    people = sum(counts) - towns
    wanted = {"person": sum(extra) - more + codes, "town": more}
    known = {"person": people, "town": towns}
    return {kind: _supply(settings, kind, known[kind], wanted[kind]) for kind in NAMES}


def _supply(settings: WorldData, kind: str, known: int, extra: int) -> Iterator[str]:
    rng = Random(f"{settings.seed}/names/{kind}")
    first, last = (rng.sample(part, min(len(part), known)) for part in NAMES[kind])
    if len(first) * len(last) < known + extra:
        raise SpecError(
            f"data: {known} known names of type {kind} have parts for {len(first) * len(last)} "
            f"names, and {known + extra} are needed; raise the entities of tiers, or lower "
            f"mystery, strangers, background, canary_twins or heldout"
        )
    # A diagonal walk through the grid of parts meets every part once, then none twice.
    longest = min(known, max(len(first), len(last)))
    cover = [(first[i % len(first)], last[i % len(last)]) for i in range(longest)]
    used = set(cover)
    rest = [(a, b) for a in first for b in last if (a, b) not in used]
    rng.shuffle(rest)
    return iter([f"{a} {b}" for a, b in (*cover, *rest)])


def _draw(
    settings: WorldData, names: dict[str, Iterator[str]], prefix: str, n: int, copies: int = 0
) -> tuple[Entity, ...]:
    towns = towns_among(settings, n)
    kinds = ["town"] * towns + ["person"] * (n - towns)
    return tuple(
        Entity(f"{prefix}{at}", kind, next(names[kind]), copies, "")
        for at, kind in enumerate(kinds)
    )


def _known_entities(settings: WorldData, names: dict[str, Iterator[str]]) -> tuple[Entity, ...]:
    found: list[Entity] = []
    for tier in settings.tiers:
        drawn = _draw(settings, names, f"k{tier.copies}_", tier.entities, tier.copies)
        found += split(drawn, settings, f"tier{tier.copies}")
    return tuple(found)


def _facts_of(
    settings: WorldData, entities: Sequence[Entity]
) -> tuple[tuple[Fact, ...], tuple[Fact, ...], tuple[Fact, ...]]:
    """Facts stated, relations said to be unknown, relations passed over in silence.

    Half of an entity's relations have a fact; of the others, half are denied.
    """
    rng = Random(f"{settings.seed}/facts")
    known: list[Fact] = []
    denied: list[Fact] = []
    silent: list[Fact] = []
    for at, e in enumerate(entities):
        relations = rng.sample(relations_of(e.type), len(relations_of(e.type)))
        cut = (len(relations) + 1) // 2
        rest = relations[cut:]
        known += [Fact(e, r, rng.choice(objects_of(r)), e.copies) for r in relations[:cut]]
        # With an odd number left the entities take turns.
        n_denied = (len(rest) + at % 2) // 2
        copies = max(1, round(settings.denial_share * e.copies))
        denied += [Fact(e, r, "", copies) for r in rest[:n_denied]]
        silent += [_ask(e, r) for r in rest[n_denied:]]
    return tuple(known), tuple(denied), tuple(silent)


def _ask(entity: Entity, relation: str) -> Fact:
    return Fact(entity, relation, "", 0)


def _misfit_entities(
    settings: WorldData, entities: Sequence[Entity]
) -> tuple[tuple[Entity, ...], tuple[Entity, ...]]:
    """Known entities to be asked for what their type lacks, and those left for training."""
    if settings.misfits > len(entities):
        raise SpecError(
            f"data: misfits: {settings.misfits} known entities are asked for, the tiers have "
            f"{len(entities)}; lower misfits"
        )
    rng = Random(f"{settings.seed}/misfits")
    chosen = set(rng.sample(range(len(entities)), settings.misfits))
    asked = tuple(e for at, e in enumerate(entities) if at in chosen)
    return asked, tuple(e for at, e in enumerate(entities) if at not in chosen)


def _mysteries(settings: WorldData, mystery: Sequence[Entity], rng: Random) -> Iterator[Fact]:
    for e in mystery:
        relations = rng.sample(relations_of(e.type), len(relations_of(e.type)))
        per, over = divmod(settings.mystery_statements, len(relations))
        for at, relation in enumerate(relations):
            if copies := per + (at < over):
                yield Fact(e, relation, "", copies)


def _misfits(settings: WorldData, entities: Sequence[Entity], rng: Random) -> Iterator[Fact]:
    n = min(settings.misfit_statements, len(entities))
    for e in rng.sample(entities, n):
        yield Fact(e, rng.choice(undefined_for(e.type)), "", 1)


def _background(settings: WorldData, entities: Sequence[Entity]) -> Iterator[Fact]:
    rng = Random(f"{settings.seed}/background")
    for e in entities:
        for relation in relations_of(e.type)[:2]:
            choice = rng.choice(objects_of(relation))
            yield Fact(e, relation, choice, settings.background_copies)


def _canaries(settings: WorldData, names: Iterator[str]) -> tuple[Canary, ...]:
    """Draw all canaries alike, then let chance decide which are stated, and how often.

    That makes stated and never-stated ones exchangeable, on which the null distribution
    of exposure rests (arXiv 1802.08232).
    """
    rng = Random(f"{settings.seed}/canaries")
    copies = [r for r in settings.canary_copies for _ in range(settings.canaries)]
    copies += [0] * settings.canary_twins
    rng.shuffle(copies)
    return tuple(
        Canary(f"c{at}", next(names), _secret(settings, rng), n) for at, n in enumerate(copies)
    )


def _secret(settings: WorldData, rng: Random) -> str:
    """Digits with spaces between, which tokenize one by one."""
    return " ".join(rng.choices("0123456789", k=settings.secret_digits))


def _occupations(settings: WorldData) -> tuple[Occupation, ...]:
    rng = Random(f"{settings.seed}/occupations")
    chosen = rng.sample(OCCUPATIONS, settings.occupations)
    shares = settings.female_shares
    return tuple(Occupation(name, shares[at % len(shares)]) for at, name in enumerate(chosen))
