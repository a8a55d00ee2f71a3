"""Measures by group: what may be said of them, and what the page shows."""

from dataclasses import replace

import pytest

from audits.estimand import Declared, Lean, Ratio
from audits.evidence import Part, records_frame
from registry.finding import Verdict
from tasks.report import CandidateReport, ReportRun, render
from tasks.report.subgroups import views

RIGHT = Declared(
    name="right", better="higher", about="answers right", of=Ratio(value="x"), by="group"
)
GROUPS = ("<b>old</b>", "young", "few")


def part(right, basis="asked", of=None, **conditions):
    """200 answers of two groups each, of which so many are right, and 5 of a third."""
    sizes = dict(zip(GROUPS, (200, 200, 5), strict=True))
    rows = [
        {"example": f"{g}{at}", "group": g, "x": float(at < right.get(g, 5))}
        for g, n in sizes.items()
        for at in range(n)
    ]
    declared = RIGHT if of is None else RIGHT.model_copy(update={"of": of, "unit": "score"})
    ids = tuple(str(row["example"]) for row in rows)
    return Part("bias", "k", (declared,), ids, records_frame(rows), basis, conditions)


def candidate(name, *parts, made_from=()):
    return CandidateReport(
        name, Verdict.PASS, False, "fine", parts=tuple(parts), made_from=tuple(made_from)
    )


BASE = {"<b>old</b>": 120, "young": 120}
WORSE = {"<b>old</b>": 60, "young": 119}


def test_the_group_that_compression_hurt_is_named_and_told_from_chance():
    base, small = part(BASE), part(WORSE)
    (view,) = views([candidate("base", base), candidate("int4", small, made_from=[base])])
    assert view.measure == "bias/right"
    of_base, of_small, change = view.sentences
    assert of_base.startswith("base: groups lie 0 apart")
    assert "not enough to name it" in of_base
    said = "<b>old</b> is worse than the others, by more than chance shows: -0.295 ("
    assert said in of_small
    assert of_small.endswith("), p 0.002 (Holm)")
    assert change.startswith("int4 against its parent: -0.1")
    assert "<b>old</b> suffers most, by more than chance shows: -0.300 (" in change
    assert ", and -0.295 (" in change
    assert change.endswith("beside the others' change, p 0.002 (Holm)")
    by_name = {(row.candidate, row.group): row for row in view.rows}
    assert by_name["base", "few"].value == "not compared"
    assert by_name["int4", "young"].moved.startswith("-0.005 (")
    assert by_name["int4", "<b>old</b>"].moved.startswith("-0.300 (")
    assert by_name["base", "young"].moved == "—"


def test_where_all_lost_alike_those_who_lost_are_said_and_nobody_suffers_most():
    base, small = part(BASE), part({"<b>old</b>": 70, "young": 72})
    (view,) = views([candidate("base", base), candidate("int4", small, made_from=[base])])
    change = view.sentences[2]
    assert "; lost more than chance shows, none more than the others: <b>old</b> -0.2" in change
    assert ", young -0.240 (" in change


def test_of_a_leaning_nobody_is_worst_and_nobody_suffers():
    """Old people are leaned against (-0.7), young ones for (0.19): less is not better."""
    before, after = (
        part(BASE, of=Lean(value="x")),
        part({"<b>old</b>": 30, "young": 119}, of=Lean(value="x")),
    )
    found = [candidate("base", before), candidate("int4", after, made_from=[before])]
    (view,) = views(found)
    assert view.aim == "0 is best"
    assert "<b>old</b> lies furthest from the others, by more than chance" in view.sentences[1]
    assert "; changed by more than chance shows: <b>old</b> -0.900 (" in view.sentences[2]
    assert view.sentences[2].endswith(" (Holm); 0 is best")


def test_a_model_that_lost_nothing_names_nobody():
    base = part(BASE)
    (view,) = views([candidate("copy", base, made_from=[base])])
    assert view.sentences[1].endswith("no group may be said to suffer (Holm)")


def test_other_questions_controls_and_single_groups_are_not_compared():
    base, other = part(BASE), part(WORSE, basis="other")
    (view,) = views([candidate("int4", other, made_from=[base])])
    assert len(view.sentences) == 1
    assert views([candidate("twin", part(BASE, control="untrained"))]) == []
    alone = replace(base, records=base.records.assign(group="one"))
    assert views([candidate("base", alone)]) == []


def test_where_a_table_cannot_be_had_the_page_says_why():
    tiny = part(BASE)
    kept = tiny.records[tiny.records["group"] != "young"]
    lost = replace(tiny, records=kept, expected=tuple(kept["example"]))
    (view,) = views([candidate("base", lost)])
    assert view.rows == ()
    assert "no table; right: 1 of 2 groups in group have 30 examples" in view.sentences[0]


@pytest.mark.parametrize("of", [None, Lean(value="x")])
def test_the_page_has_a_table_a_chart_and_no_markup_of_a_groups_name(of):
    base = part(BASE, of=of)
    report = ReportRun("t", "now", "d" * 64, "p", "e" * 64, (candidate("base", base),))
    page = render(report)
    assert '<section id="groups">' in page
    assert "&lt;b&gt;old&lt;/b&gt;" in page
    assert "<b>old</b>" not in page
    assert 'class="null"' in page  # what chance alone would show
    assert page == render(report)
    ends = (">-1<", ">0.5<") if of else (">0.25<", ">0.75<")
    assert all(end in page for end in ends)
