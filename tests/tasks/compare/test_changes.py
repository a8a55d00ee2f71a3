"""Measures of an audit, variant minus base, and who suffers."""

import pytest

from audits.estimand import Declared, Ratio, Spread
from audits.evidence import Part, records_frame
from tasks.compare import changes
from tasks.compare.words import words

RIGHT = Declared(name="right", better="higher", about="right", of=Ratio(value="x"), by="group")
APART = Declared(name="apart", better="lower", about="apart", of=Spread(value="x"))
GONE = Declared(name="gone", better="lower", about="gone", of=Ratio(value="y"))


def part(wrong):
    """Two groups of 150, of which these many are wrong, and one of 4."""
    sizes = {"a": 150, "b": 150, "few": 4}
    rows = [
        {"example": f"{g}{at}", "group": g, "x": float(at >= wrong.get(g, 0))}
        for g, n in sizes.items()
        for at in range(n)
    ]
    ids = tuple(str(row["example"]) for row in rows)
    return Part("p", "k", (RIGHT, APART, GONE), ids, records_frame(rows), "asked")


def test_every_measure_is_a_paired_difference_and_the_group_that_suffers_is_named():
    right, apart, gone = changes(part({"a": 10, "b": 10}), part({"a": 10, "b": 40}))
    assert right["value"] == -30 / 304
    assert (right["lost"], right["suffers"]) == (["b"], "b")
    of_a, of_b, few = right["groups"]
    assert of_b["beyond"]["value"] == pytest.approx(-0.2)
    assert of_b["beyond"]["p"] < 0.01
    assert "beyond" not in few
    assert (of_a["value"], of_a["p"]) == (0, 1)
    assert of_b["value"] == -0.2
    assert few["absent"] == "4 examples where 30 are required"
    assert apart["value"] > 0
    assert "groups" not in apart
    assert gone["absent"] == "gone: records have no column 'y'"


def test_a_person_reads_the_same():
    moved = changes(part({"a": 10, "b": 10}), part({"a": 10, "b": 40}))
    still = changes(part({"a": 10, "b": 10}), part({"a": 10, "b": 10}))
    side = {"model": "m", "digest": "d" * 64}
    document = {"base": side, "variant": side, "tasks": []}
    said = words(document | {"audits": [{"task": "bias", "changes": moved}]})
    assert "audit    bias: variant minus base, on the same examples" in said
    assert "b suffers most, beside the others, too, by more than chance shows (Holm)" in said
    assert "few" in said
    assert "4 examples where 30 are required" in said
    said = words(document | {"audits": [{"task": "bias", "changes": still}]})
    assert "no group may be said to suffer (Holm)" in said
    alike = changes(part({"a": 10, "b": 10}), part({"a": 40, "b": 38}))
    said = words(document | {"audits": [{"task": "bias", "changes": alike}]})
    assert "a, b lost more than chance shows, none more than the others (Holm)" in said
    assert "higher is better" in said
