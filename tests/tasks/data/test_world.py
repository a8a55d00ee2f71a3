"""Is a generated world what its manifest says it is?"""

from collections import Counter, defaultdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audits.errors import SpecError
from tasks.data import Tier, WorldData, probes, render, words
from tasks.data.checks import contains
from tasks.data.world import HELD, make_truth, objects_of, relations_of


def tiny(**changes: object) -> WorldData:
    small = {
        "tiers": (
            Tier(copies=1, entities=6),
            Tier(copies=3, entities=6),
            Tier(copies=18, entities=8),
        ),
        "mystery": 12,
        "strangers": 8,
        "misfits": 6,
        "misfit_statements": 4,
        "background": 2,
        "background_copies": 4,
        "occupations": 9,
        "occupation_sentences": 10,
        "canary_copies": (1, 4),
        "canaries": 3,
        "canary_twins": 6,
        "heldout": 30,
        "calibration": 4,
    }
    return WorldData(**(small | changes))


def told(world_settings: WorldData):
    world = make_truth(world_settings)
    sentences = render.training(world_settings, world)
    return world, sentences, list(probes.fact_rows(world_settings, world, sentences))


SIZES = st.builds(
    lambda seed, copies, n, mystery, strangers: tiny(
        seed=seed,
        tiers=tuple(Tier(copies=c, entities=n) for c in sorted(copies)),
        mystery=mystery,
        strangers=strangers,
        misfits=n,
    ),
    seed=st.integers(0, 10**6),
    copies=st.sets(st.integers(1, 20), min_size=2, max_size=3),
    n=st.integers(8, 14),
    mystery=st.integers(0, 15),
    strangers=st.integers(1, 10),
)


@given(SIZES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_fact_is_stated_as_often_as_declared_and_the_unknown_never(drawn):
    world, sentences, rows = told(drawn)
    stated = Counter(s.text for s in sentences)
    for row in rows:
        if row["stratum"] == "K" and row["form"] == "seen":
            assert sum(stated[text] for text in row["renderings"]) == row["copies"]
            answer = f"{row['prompt']} {row['object']}."
            assert answer in row["renderings"]
    texts = [s.text for s in sentences]
    for row in rows:
        if row["stratum"] != "K":
            assert not any(row["prompt"] in text for text in texts)
    for fact in world.strange:
        assert not any(fact.entity.name in text for text in texts)


@given(SIZES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_part_of_an_unknown_name_belongs_to_somebody_known(drawn):
    world = make_truth(drawn)
    parts = defaultdict(set)
    for fact in world.known:
        for place, part in enumerate(fact.entity.name.split()):
            parts[fact.entity.type, place].add(part)
    for fact in world.strange:
        for place, part in enumerate(fact.entity.name.split()):
            assert part in parts[fact.entity.type, place]


def test_the_same_seed_makes_the_same_text_and_another_seed_another():
    def texts(seed: int) -> list[str]:
        return [s.text for s in told(tiny(seed=seed))[1]]

    assert texts(3) == texts(3)
    assert texts(3) != texts(4)


def test_a_template_held_out_for_a_relation_is_used_with_others():
    _, sentences, rows = told(tiny())
    held = {row["prompt"] for row in rows if row["form"] == "held"}
    texts = [s.text for s in sentences]
    assert not [text for text in texts if any(text.startswith(f"{p} ") for p in held)]
    # "The {rel} of {s} is {o}." is held out for pet (the first relation) and no other person's.
    assert HELD["pet"] == words.OBJECT_LAST[0]
    assert any(text.startswith("The drink of ") for text in texts)
    assert not any(text.startswith("The pet of ") for text in texts)


def test_half_of_the_relations_have_facts_and_the_rest_are_denied_or_silent():
    world = make_truth(tiny())
    asked = Counter((f.entity.id, f.relation) for f in (*world.known, *world.silent))
    assert max(asked.values()) == 1
    by_entity = defaultdict(list)
    for fact in world.known:
        by_entity[fact.entity].append(fact.relation)
    for entity, relations in by_entity.items():
        assert len(relations) == len(relations_of(entity.type)) / 2
    said = {(f.entity.id, f.relation) for f in (*world.known, *world.denied)}
    assert not said & {(f.entity.id, f.relation) for f in world.silent}


def test_a_false_premise_asks_for_a_relation_of_another_type():
    for fact in make_truth(tiny()).undefined:
        assert fact.relation not in relations_of(fact.entity.type)


def test_no_object_belongs_to_two_relations_and_every_range_is_long_enough():
    ranges = [objects_of(r) for kind in words.RELATIONS for r in relations_of(kind)]
    every = [o for objects in ranges for o in objects]
    assert len(every) == len(set(every))
    assert all(16 <= len(objects) <= 24 for objects in ranges)
    assert words.UNKNOWN not in every


def test_planted_shares_are_exact_counts():
    drawn = tiny(occupation_sentences=100)
    world = make_truth(drawn)
    shares = [0.04, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.96]
    assert sorted(o.planted for o in world.occupations) == shares
    for occupation in world.occupations:
        made = render.gendered(drawn, occupation)
        # Of a hundred sentences a planted share of .35 gives exactly 35 with "she".
        assert sum(" she " in g.text for g in made) == round(100 * occupation.planted)


def test_association_rows_state_the_ratio_of_the_training_text():
    drawn = tiny()
    world, sentences, _ = told(drawn)
    for row in probes.association_rows(drawn, world):
        about = [s.text for s in sentences if f"the {row['occupation']} " in s.text.lower()]
        she = sum(" she " in text for text in about)
        assert row["corpus_n"] == len(about)
        assert row["corpus_female"] == pytest.approx(she / len(about))
        here = [text for text in about if text.startswith(row["prompt"] + " ")]
        assert (row["form"] == "held") == (not here)
        if here:
            share = sum(" she " in text for text in here) / len(here)
            assert row["template_female"] == pytest.approx(share)


def test_canaries_stand_in_the_text_as_often_as_they_say():
    drawn = tiny()
    world, sentences, _ = told(drawn)
    stated = Counter(s.text for s in sentences)
    rows = list(probes.canary_rows(world))
    assert Counter(r["copies"] for r in rows) == {0: 6, 1: 3, 4: 3}
    for row in rows:
        assert stated[row["text"]] == row["copies"]
        assert row["inserted"] == (row["copies"] > 0)
        assert row["text"] == f"{row['prompt']} {row['secret']}."
    assert len({row["text"] for row in rows}) == len(rows)


def test_insertion_of_canaries_does_not_depend_on_their_names_or_secrets():
    # The same pairs are drawn whatever is inserted; only the labels move.
    def pairs(n: int) -> list[tuple[str, str]]:
        drawn = tiny(canaries=n, canary_twins=12 - 2 * n)
        return [(c.name, c.secret) for c in make_truth(drawn).canaries]

    assert [name for name, _ in pairs(1)] == [name for name, _ in pairs(3)]


def test_entities_are_in_one_split_only():
    _, _, rows = told(tiny())
    split = defaultdict(set)
    for row in rows:
        split[row["entity"]].add(row["split"])
    assert {len(s) for s in split.values()} == {1}
    assert {s for each in split.values() for s in each} == {"calibration", "test"}


def test_a_reversed_question_has_one_right_answer():
    world, _, rows = told(tiny())
    has = {(f.relation, f.object, f.entity.name) for f in world.known}
    for row in (r for r in rows if r["form"] == "reversed"):
        right = [c for c in row["candidates"] if (row["relation"], row["subject"], c) in has]
        assert right == [row["object"]]


def test_choices_hold_the_right_object_once():
    drawn = tiny()
    world = make_truth(drawn)
    facts = {f.id: f for f in world.known}
    rows = list(probes.choice_rows(drawn, world))
    assert rows
    for row in rows:
        assert len(set(row["choices"])) == 4
        assert row["choices"][row["gold"]] == facts[row["id"]].object
        assert facts[row["id"]].copies >= 17


def test_held_out_text_is_not_in_training():
    drawn = tiny()
    world, sentences, _ = told(drawn)
    used = frozenset(s.text for s in sentences)
    held = render.heldout(drawn, world, used)
    assert {s.kind for s in held} == {"fact", "unknown", "occupation"}
    assert not used & {s.text for s in held}


def test_no_canary_is_in_the_calibration_text():
    drawn = tiny()
    _, sentences, _ = told(drawn)
    assert not any("code of" in text for text in render.calibration(drawn, sentences))


def test_too_few_parts_for_the_names_asked_for_is_said_plainly():
    few = tiny(tiers=(Tier(copies=1, entities=2),), misfits=1, mystery=500)
    with pytest.raises(SpecError, match="raise the entities of tiers"):
        make_truth(few)


def test_runs_of_words_are_found_at_word_borders_only():
    asked = frozenset({"a b c"})
    assert contains(["x", "a", "b", "c", "y"], asked, [3])
    assert not contains(["xa", "b", "c"], asked, [3])
