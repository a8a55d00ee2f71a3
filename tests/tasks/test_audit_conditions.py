"""What an audit of facts says of how it knows what the model was taught."""

from audits.closed_world import ClosedWorld
from tasks.audit import _membership

AUDIT = ClosedWorld()


def rows(copies):
    return [
        {
            "id": f"K{at}", "fact": f"f{at}", "stratum": "K", "form": "seen",
            "type": "town", "relation": "home", "object": "Ara", "split": "test",
            "candidates": ["Ara", "Bor"], "abstain": "unknown", "copies": n,
            "entity": f"{at}", "prompt": f"{at} is",
        }
        for at, n in enumerate(copies)
    ]  # fmt: skip


def test_without_a_stream_membership_is_declared():
    assert _membership(AUDIT, rows([1, 3]), {}, 1) == {"membership": "declared"}


def test_a_fact_counted_otherwise_than_declared_is_named():
    said = _membership(AUDIT, rows([1, 3]), {"K0": 2, "K1": 5}, 2)["membership"]
    assert said.startswith("counted in the training stream; 1 questions")
    assert said.endswith("K1 5 of 6")


def test_the_share_of_statements_made_once_by_hand():
    # two of the six statements are all there is of their fact; each is read twice
    found = _membership(AUDIT, rows([1, 1, 4]), {"K0": 2, "K1": 2, "K2": 8}, 2)
    assert found == {
        "membership": "counted in the training stream",
        "monofacts": "0.3333 of the known statements",
    }
