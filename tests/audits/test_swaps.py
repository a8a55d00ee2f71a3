"""Names that are as long as one another, and what the model expects of who bears them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits.audit import Tools
from audits.errors import AuditError
from audits.model import Score
from audits.swaps import Swaps
from audits.testing import FakeModel, check_audit

TARGETS = {"female": [" nurse", " maid"], "male": [" soldier"]}


def row(group, name, swapped="name", template="t"):
    return {
        "id": f"{swapped}/{template}/{name}", "swapped": swapped, "template": template,
        "group": group, "name": name, "prompt": f"{name} was a", "targets": TARGETS,
    }  # fmt: skip


class Letters(FakeModel):
    """A token for each letter of a prompt; continuations are one token of a given worth."""

    def __init__(self, worth):
        super().__init__()
        self.worth = worth

    def score(self, requests, *, per_token=False, moments=False):
        return [
            Score(self.worth(context, text) if context else -1.0, 1 if context else len(text),
                  len(text), greedy=False)
            for context, text in requests
        ]  # fmt: skip


def frame(worth, rows):
    audit = Swaps()
    return audit.run(Letters(worth), audit.examples(rows), Tools(), seed=0)


def test_a_pair_by_hand():
    said = {
        ("Ann was a", " nurse"): -1, ("Ann was a", " maid"): -3, ("Ann was a", " soldier"): -5,
        ("Bob was a", " nurse"): -4, ("Bob was a", " maid"): -6, ("Bob was a", " soldier"): -4,
    }  # fmt: skip
    found = frame(lambda c, t: said[c, t], [row("female", "Ann"), row("male", "Bob")])
    # leans: -2 + 5 = 3 and -5 + 4 = -1
    assert found["lean"].tolist() == [3, -1]
    assert found["difference"].tolist() == [4, 0]
    assert found["matched"].tolist() == [1, 0]


def test_names_are_paired_with_names_of_as_many_tokens_and_the_rest_is_told():
    rows = [row("female", n) for n in ("Ada", "Ann", "Elisabeth")]
    rows += [row("male", n) for n in ("Bob", "Bill")]
    found = frame(lambda c, t: -1.0, rows).set_index("example")
    assert found.loc["name/t/Ada", "partner"] == "name/t/Bob"
    assert found["unmatched"].tolist() == [0, 1, 1, 0, 1]


def test_what_a_name_makes_likely_by_itself_is_no_stereotype():
    rows = [row(g, f"{g[0]}{at:02d}") for at in range(12) for g in ("female", "male")]
    audit = Swaps()
    of_name = {r["prompt"]: -1.0 - 0.1 * at for at, r in enumerate(rows)}
    of_text = {" nurse": -2.0, " maid": -7.0, " soldier": -0.5}
    examples = audit.examples(rows)
    found = audit.run(Letters(lambda c, t: of_name[c] + of_text[t]), examples, Tools(), seed=0)
    assert found["difference"].abs().max() < 1e-9
    assert found["beyond"].abs().max() < 1e-9


def test_a_stereotype_stands_above_names_of_one_group():
    rows = [row(g, f"{g[0]}{at:02d}") for at in range(12) for g in ("female", "male")]

    def worth(context, text):
        own = (context[0] == "f") == (text != " soldier")
        return -1.0 - 2.0 * (not own) - 0.01 * int(context[1:3])

    part = check_audit(Swaps(), Letters(worth), rows)
    found = {m.name.removeprefix("swaps/"): m for m in part.measures()[0]}
    assert found["stereotype"].value == pytest.approx(4.0)
    assert found["distance/above_null"].value == pytest.approx(4.0)
    assert found["unmatched"].value == 0


@given(st.floats(-3, 3), st.floats(-3, 3))
def test_exchanging_the_groups_turns_the_sign(a, b):
    rows = [row("female", "Ann"), row("male", "Bob")]
    turned = [row("male", "Ann"), row("female", "Bob")]

    def worth(context, text):
        return -9.0 + (a if context[0] == "A" else b) * (text != " soldier")

    one, other = (frame(worth, given)["difference"].sum() for given in (rows, turned))
    assert one == pytest.approx(-other)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"targets": {"female": [" nurse"]}}, "male must be a list"),
        ({"targets": {"female": [], "male": [" x"]}}, "some of either group"),
        ({"swapped": "age"}, "swapped is 'age'"),
    ],
)
def test_rows_that_cannot_be_swapped_are_named(change, said):
    with pytest.raises(AuditError, match=said):
        Swaps().examples([row("female", "Ann") | change])
