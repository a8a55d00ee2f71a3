"""A twin's world is the same world, told otherwise in exactly one way."""

import pytest

from tasks.data.render import training
from tasks.data.settings import Tier, WorldData
from tasks.data.twins import SHUFFLED, TAUGHT_COPIES, told
from tasks.data.world import make_truth, objects_of

SMALL = WorldData(
    tiers=(Tier(copies=1, entities=20), Tier(copies=20, entities=30)), mystery=20, strangers=20,
    misfits=10, misfit_statements=10, background=4, occupations=4, occupation_sentences=4,
    canaries=2, canary_twins=10, heldout=30, calibration=4,
)  # fmt: skip


def twin(name):
    settings = SMALL.model_copy(update={"twin": name})
    return settings, told(settings, make_truth(settings))


def by_id(facts):
    return {f.id: f for f in facts}


def test_without_a_twin_the_world_is_told_as_it_is():
    world = make_truth(SMALL)
    assert told(SMALL, world) is world


def test_shuffled_changes_a_fifth_of_the_objects_and_nothing_else():
    truth = make_truth(SMALL)
    _, world = twin("shuffled")
    before, after = by_id(truth.known), by_id(world.known)
    assert list(before) == list(after)
    changed = [k for k in before if before[k].object != after[k].object]
    assert len(changed) == round(SHUFFLED * len(before))
    assert all(after[k].object in objects_of(after[k].relation) for k in changed)
    assert all(before[k].copies == after[k].copies for k in before)
    assert (world.strange, world.canaries) == (truth.strange, truth.canaries)


def test_every_copy_of_a_shuffled_fact_states_the_same_wrong_object():
    settings, world = twin("shuffled")
    truth = by_id(make_truth(SMALL).known)
    texts = {}
    for sentence in training(settings, world):
        texts.setdefault(sentence.fact, set()).add(sentence.text)
    for fact in world.known:
        if fact.object != truth[fact.id].object:
            assert all(fact.object in text for text in texts[fact.id])
            assert not any(f" {truth[fact.id].object}." in text for text in texts[fact.id])


def test_taught_states_all_that_the_world_leaves_unknown():
    truth = make_truth(SMALL)
    settings, world = twin("taught")
    unknown = by_id((*truth.strange, *truth.silent, *truth.undefined))
    stated = {k: f for k, f in by_id(world.known).items() if k in unknown}
    assert set(stated) == set(unknown)
    assert all(f.copies == TAUGHT_COPIES for f in stated.values())
    counted = [s.fact for s in training(settings, world)]
    assert all(counted.count(k) == TAUGHT_COPIES for k in list(stated)[:5])
    assert world.strange == world.silent == world.undefined == ()


def test_amplified_leaves_no_exception_to_a_lean():
    truth = make_truth(SMALL)
    _, world = twin("amplified")
    for before, after in zip(truth.occupations, world.occupations, strict=True):
        assert after.planted == float(before.planted > 0.5)
    assert (world.known, world.canaries) == (truth.known, truth.canaries)


def test_amplified_leans_in_turns_where_the_world_leans_to_nobody():
    settings = SMALL.model_copy(update={"twin": "amplified", "female_shares": (0.5,)})
    world = told(settings, make_truth(settings))
    assert [o.planted for o in world.occupations] == [1.0, 0.0, 1.0, 0.0]


@pytest.mark.parametrize("name", ["shuffled", "taught", "amplified"])
def test_a_twin_is_told_the_same_each_time(name):
    assert twin(name)[1] == twin(name)[1]
