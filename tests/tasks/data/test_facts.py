"""A file of facts becomes the rows that audits of facts read, or says what is wrong with it."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from audits.audit import Tools
from audits.closed_world import ClosedWorld
from audits.errors import SpecError
from audits.testing import world_model
from tasks.data.facts import fact_rows
from tasks.data.settings import Asking, Source

FILE = Path("facts.csv")
ASKING = Asking(
    templates={"home": "{subject} lives in {object}.", "pet": "{subject} has a {object}"},
    held={"home": "The home of {subject} is {object}."},
)


def line(subject, answer, relation="home", **more):
    return {"subject": subject, "relation": relation, "object": answer} | more


LINES = [
    line("Ann", "Ulm", exposures="20"),
    line("Bob", "Bonn", split="calibration"),
    line("Ann", "", "pet"),
    line("Cid", "dog", "pet"),
    line("Dan", "cat", "pet"),
    line("Eve", ""),
]


def test_a_known_fact_is_asked_in_each_template_up_to_its_object():
    seen, held, *_ = fact_rows(LINES, ASKING, FILE)
    assert seen["prompt"] == "Ann lives in"
    assert held["prompt"] == "The home of Ann is"
    assert (seen["stratum"], seen["object"], seen["copies"]) == ("K", "Ulm", 20.0)
    assert seen["candidates"] == ["Bonn", "Ulm"]
    assert (seen["form"], held["form"]) == ("seen", "held")


def test_what_is_not_known_is_told_apart_by_what_else_is_known_of_the_subject():
    strata = {r["fact"]: r["stratum"] for r in fact_rows(LINES, ASKING, FILE)}
    assert strata["Ann.pet"] == "U_rel"
    assert strata["Eve.home"] == "U_ent"


def test_a_subject_is_in_one_split_and_the_file_may_say_which():
    rows = fact_rows([*LINES, line("Bob", "dog", "pet", split="calibration")], ASKING, FILE)
    splits = {}
    for row in rows:
        splits.setdefault(row["entity"], set()).add(row["split"])
    assert splits["Bob"] == {"calibration"}
    assert all(len(found) == 1 for found in splits.values())
    many = fact_rows([line(f"P{at}", "AB"[at % 2]) for at in range(400)], ASKING, FILE)
    share = sum(r["split"] == "calibration" for r in many) / len(many)
    assert 0.18 < share < 0.32


def test_the_closed_world_audit_reads_them():
    lines = [line(f"P{at}", ("Ulm", "Bonn")[at % 2], exposures=30) for at in range(60)]
    rows = fact_rows([*lines, *(line(f"Q{at}", "") for at in range(60))], ASKING, FILE)
    audit = ClosedWorld(threshold=0.5)
    frame = audit.run(world_model("oracle", rows), audit.examples(rows), Tools(), seed=0)
    test = frame[frame["scope"] == "test"]
    assert test.groupby("stratum")["answered"].mean().to_dict() == {"K": 1, "U_ent": 0}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            [line("Ann", "Ulm"), line("Ann", "Bonn")],
            "row 2: 'Ann' has home 'Bonn' and, in row 1",
        ),
        ([line("Ann", "Ulm"), line("Ann", "")], "keep one, for each relation has one object"),
        ([line("Ann", "Ulm"), line("Ann", "", "pet", stratum="U_ent")], "has known facts"),
        ([line("Ann", "Ulm", stratum="U_rel")], "only K has objects"),
        ([line("Ann", "Ulm", stratum="X")], "give one of K, U_ent"),
        ([line("Ann", "")], "nothing is known; add known facts"),
        ([line("Ann", "Ulm"), line("Bob", "Ulm")], "1 known objects"),
        ([line("Ann", "Ulm", "job"), line("Bob", "Bonn", "job")], "add asking.templates.job"),
        ([line("Ann", "Ulm"), line("Bob", "unknown")], "give another word for not knowing"),
        ([line("Ann", "Ulm", exposures="often")], "give a number from 0 up"),
        ([line("Ann", "Ulm", split="train")], "give calibration or test"),
        ([{"subject": "Ann", "object": "Ulm"}], "relation is None; give columns"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused_in_a_sentence(lines, said):
    with pytest.raises(SpecError) as caught:
        fact_rows(lines, ASKING, FILE)
    assert said in str(caught.value)
    assert str(caught.value).startswith("facts.csv")


@pytest.mark.parametrize(
    "template", ["{subject} lives.", "lives in {object}", "{subject} of {object} town"]
)
def test_a_template_without_its_slots_is_refused(template):
    with pytest.raises(ValidationError, match="once and end with"):
        Asking(templates={"home": template})


def test_facts_come_from_tables_only():
    with pytest.raises(ValidationError, match=r"ends in \.csv or \.jsonl"):
        Source(path="facts.txt", asking=ASKING)
