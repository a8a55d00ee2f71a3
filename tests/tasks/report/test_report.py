"""A report shows everything, asks nothing of the network, and trusts no text."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from audits.estimand import CalibrationError, Declared, Ratio, RiskCoverage
from audits.evidence import Measure, Part, records_frame
from registry.finding import Finding, Verdict
from tasks.energy_card import Card
from tasks.report import (
    CandidateReport,
    DataCheck,
    ReportRun,
    StageLine,
    figures,
    plots,
    render,
    svg,
    table,
    words,
)

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=y>{{ 7*7 }}"
BINS = ("1", "2-4", "5-16")


def part() -> Part:
    rows = [
        {
            "example": f"e{k:03}", "cluster": f"c{k // 2}", "bin": BINS[k % 3],
            "recalled": float(k % 3 > 0), "confidence": (k % 10 + 0.5) / 10,
            "correct": float(k % 10 > 4),
        }
        for k in range(120)
    ]  # fmt: skip
    declared = [
        Declared(
            name=f"recall/seen/{name}", better="higher", about="recall",
            of=Ratio(value="recalled"), where={"bin": name},
        )
        for name in BINS
    ]  # fmt: skip
    of = CalibrationError(confidence="confidence", correct="correct")
    declared.append(Declared(name="ece_excess", better="lower", about="calibration", of=of))
    selective = RiskCoverage(confidence="confidence", correct="correct")
    declared.append(Declared(name="augrc", better="lower", about="trust", of=selective))
    ids = tuple(str(row["example"]) for row in rows)
    conditions = {"backend": "torch", "dtype": "float32"}
    return Part(
        "world", "closed_world", tuple(declared), ids, records_frame(rows), "b" * 64,
        conditions, {"threshold": 0.8125},
    )  # fmt: skip


def measure(name: str, value: float, half: float, unit: str = "share") -> Measure:
    return Measure(
        name, value, value - half, value + half, 120, 60, "higher", unit, "cluster t", "b" * 64
    )


def candidate(
    name: str = "int8", because: str = "its lower limit meets 0.9"
) -> CandidateReport:
    fine = Finding(
        "world/recall >= 0.9", Verdict.PASS, because, True, "world/recall",
        value=0.96, limit=0.94, bound=0.9, n=120, clusters=60,
    )  # fmt: skip
    open_ = Finding(
        "world/lies <= 0.1", Verdict.INCONCLUSIVE, "too few examples", True, "world/lies",
        value=0.09, limit=0.12, bound=0.1, n=120, clusters=60, needs_n=1820,
    )  # fmt: skip
    world = part()
    measures = (
        measure("world/recall", 0.96, 0.02),
        measure("world/lies", 0.09, 0.03),
        measure("profile/size_bytes", 1_100_000, 0, "bytes"),
        measure("profile/tokens_per_second", 250, 10, "tokens/s"),
        *(m for m in world.measures()[0]),
    )
    return CandidateReport(
        name=name, verdict=Verdict.INCONCLUSIVE, promoted=False, version="3",
        sentence="world/lies is not proven", findings=(fine, open_), measures=measures,
        absent={"profile/joules_per_token": "energy is only estimated here"}, parts=(world,),
        lineage={"weights": "a1" * 32},
    )  # fmt: skip


def a_run(*candidates: CandidateReport) -> ReportRun:
    energy = Card(
        status="estimated", duration_s=10, energy_j=17, low_j=8, high_j=80, cpu_j=17,
        cpu_method="cpu_load", tdp_w=8, tdp_source="match", host_load=0.5,
    )  # fmt: skip
    return ReportRun(
        title="quickstart", created="2026-11-23 12:00 UTC", spec="d4" * 32, policy="default",
        policy_digest="e5" * 32, candidates=candidates or (candidate(),), model="quickstart",
        stages=(StageLine("train", 71.3, False, energy), StageLine("data", 4.2, True)),
        checks=(DataCheck("clean UTF-8", False, "drops the document", ("story-17",)),),
        lineage={"dataset": "f6" * 32}, environment={"python": "3.11"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def run() -> ReportRun:
    return a_run()


class Page(HTMLParser):
    """Collects the elements and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(key, value or "") for key, value in attrs]


def test_a_diagnostic_is_called_so_and_says_why() -> None:
    world = part()
    told = tuple(d.model_copy(update={"diagnostic": "a coin would do"}) for d in world.declared)
    one = replace(candidate(), parts=(replace(world, declared=told),))
    assert render(a_run(one)).count("diagnostic:\na coin would do") == len(told)
    assert "diagnostic" not in render(a_run())


def test_a_reviewer_finds_everything(run: ReportRun) -> None:
    page = render(run)
    for expected in (
        "Nothing may ship", "int8", "version 3", "1.10 MB", "250 tokens/s", "not proven",
        "world/lies is not proven", "its lower limit meets 0.9", "needs 1,820",
        "energy is only estimated here", "story-17", "found done", "1 min 11 s",
        "anything from 8 to 80 J is possible", "f6" * 32, "a1" * 32, "float32", "0.8125",
        "1 of 2", "50%", "world/recall/seen", "Is a model right as often as it says?",
    ):  # fmt: skip
        assert expected in page, expected


def test_a_waiver_and_a_loss_within_the_margin_are_shown() -> None:
    shown = candidate()
    fine, open_ = shown.findings
    waived = replace(open_, waived="ann, until 2027-03-01: <b>known</b>")
    page = render(a_run(replace(shown, findings=(replace(fine, regressed=True), waived))))
    assert "waived by ann, until 2027-03-01: &lt;b&gt;known&lt;/b&gt;" in page
    assert "worse, within the margin" in page


def test_a_promoted_candidate_is_the_first_thing_said() -> None:
    best = replace(candidate(), promoted=True, verdict=Verdict.PASS, sentence="all rules pass")
    page = render(a_run(best))
    assert "int8 may ship." in page
    assert "Nothing may ship" not in page


def test_hostile_text_stays_text() -> None:
    evil = replace(
        candidate(HOSTILE, because=HOSTILE), sentence=HOSTILE, about=HOSTILE,
        absent={HOSTILE: HOSTILE}, lineage={HOSTILE: HOSTILE},
    )  # fmt: skip
    world = replace(part(), name=HOSTILE, notes={HOSTILE: HOSTILE})
    evil = replace(evil, parts=(world,), measures=(measure(HOSTILE, 0.5, 0.1), *evil.measures))
    page = render(
        replace(
            a_run(evil), title=HOSTILE, checks=(DataCheck(HOSTILE, False, HOSTILE, (HOSTILE,)),)
        )
    )
    seen = Page(page)
    assert "script" not in seen.tags
    assert "img" not in seen.tags
    assert not [key for key, _ in seen.attributes if key.startswith("on")]
    assert "{{ 7*7 }}" in page
    assert "49" not in re.findall(r"&gt;(\d+)", page)


@settings(max_examples=15, deadline=None)
@given(text=st.text(max_size=60))
def test_no_text_can_add_an_element(text: str) -> None:
    bare = CandidateReport("int8", Verdict.FAIL, False, "")
    assert (
        Page(render(a_run(replace(bare, sentence=text)))).tags == Page(render(a_run(bare))).tags
    )


def test_the_page_loads_nothing(run: ReportRun) -> None:
    page = render(run)
    seen = Page(page)
    assert not {"script", "link", "iframe", "img", "object", "embed"} & set(seen.tags)
    loads = [v for k, v in seen.attributes if k in ("src", "href", "action", "data", "srcset")]
    assert loads
    assert all(value.startswith("#") for value in loads)
    assert "@import" not in page
    assert "url(" not in page
    assert "default-src 'none'" in page


def test_equal_runs_give_equal_bytes(run: ReportRun) -> None:
    assert render(run) == render(a_run())


def test_tables_have_headers_and_charts_say_what_they_show(run: ReportRun) -> None:
    page = render(run)
    for found in re.findall(r"<table.*?</table>", page, re.S):
        assert 'scope="' in found
    charts = re.findall(r"<svg.*?</svg>", page, re.S)
    assert len(charts) == 4
    assert all('role="img"><title>' in chart for chart in charts)


def test_a_chart_puts_values_where_they_belong() -> None:
    # the axis runs from x = 250 to 250 + 586: a half is at 543
    dot = svg.Dot(0, 0.5, 0.25, 0.75, "a <b> hint")
    chart = svg.forest([svg.Row("<i>recall</i>", (dot,), 0.9)], ["base"], alt="chart")
    tree = ElementTree.fromstring(str(chart))
    space = "{http://www.w3.org/2000/svg}"
    marks = [c for c in tree.iter(f"{space}circle") if c.get("cx") == "543.0"]
    assert len(marks) == 1
    bound = next(e for e in tree.iter(f"{space}line") if e.get("class") == "bound")
    assert float(str(bound.get("x1"))) == pytest.approx(250 + 586 * 0.9, abs=0.1)
    assert "<i>" not in chart
    assert isinstance(chart, Markup)


def test_charts_stand_alone_as_files(tmp_path: Path) -> None:
    written = plots([part()], tmp_path, name="int8 <b>")
    assert {p.stem for p in written} == {
        "measures-world", "exposure-world-1", "reliability-world-1", "risk-world-1",
    }  # fmt: skip
    for path in written:
        text = path.read_text("utf-8")
        assert ElementTree.fromstring(text).tag.endswith("svg")
        assert "<b>" not in text


def test_a_reliability_diagram_shows_what_chance_alone_would() -> None:
    group = figures.Group("int8", [part()], {})
    (chart,) = figures.reliability([group])
    # ten confidences .05 to .95, below .5 never right: ten points, each before its null
    lines = ElementTree.fromstring(str(chart)).iter("{http://www.w3.org/2000/svg}line")
    nulls = [line.get("x1") for line in lines if line.get("class") == "null"]
    assert len(set(nulls)) == len(nulls) == 10
    # calibration error (.05 + .15 + ... + .45) / 5; no draw of 999 is as far
    assert "int8: ECE 0.250, p 0.001" in chart


def test_a_risk_curve_falls_to_the_left_where_confidence_tells() -> None:
    (chart,) = figures.risk_coverage([figures.Group("int8", [part()], {})])
    # the surest half is right, the other half wrong
    assert "int8: the surest 60 answers, 0.000 wrong" in chart
    assert "int8: the surest 120 answers, 0.500 wrong" in chart


def test_what_has_no_records_has_no_chart() -> None:
    lost = replace(part(), records=part().records.assign(why="the model did not answer"))
    group = figures.Group("int8", [lost], {})
    assert figures.reliability([group]) == figures.risk_coverage([group]) == []


def test_the_table_reads_no_markup_from_names() -> None:
    odd = replace(candidate("[red]int8[/red]"), sentence="[bold]why")
    text = table(a_run(odd), width=140)
    for expected in ("[red]int8[/red]", "[bold]why", "1.10 MB", "250 tokens/s", "? not proven"):
        assert expected in text
    assert "\x1b" not in text
    assert "\x1b" in table(a_run(odd), colour=True)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "", "—"), (0.9612, "share", "0.961"), (0.00012, "share", "0.00012"),
        (0.0, "share", "0.000"), (1820, "", "1,820"), (1_100_000, "bytes", "1.10 MB"),
        (999, "bytes", "999 B"), (289.6, "tokens/s", "290"), (-0.02, "share", "-0.020"),
    ],
)  # fmt: skip
def test_numbers_have_the_digits_they_deserve(value, unit: str, text: str) -> None:
    assert words.number(value, unit) == text


def test_only_digests_are_shortened() -> None:
    assert words.short("ab" * 32) == "ab" * 6
    assert words.short("Intel(R) Xeon(R) Processor @ 2.80GHz, two of them") != ""
    assert words.short("a plain sentence that is longer than a digest").endswith("digest")
    assert words.short(0.123456) == "0.1235"
