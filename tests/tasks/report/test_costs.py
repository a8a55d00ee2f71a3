"""Candidates side by side: what each costs, what changed, and who is beaten by nobody."""

import math
import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from audits.estimand import Declared, Ratio
from audits.evidence import Measure, Part, records_frame
from registry.finding import Finding, Verdict
from tasks.report import costs, plane, render, svg
from tasks.report.model import CandidateReport, ReportRun
from tasks.storage import StorageSettings

N = 40
ACC = Declared(name="acc/t", better="higher", about="accuracy", of=Ratio(value="acc"))


def number(name: str, value: float, better: str = "lower", unit: str = "bytes") -> Measure:
    return Measure(name, value, value, value, 9, 9, better, unit, "exact", "b")


def evaluated(right: set[int], basis: str = "b") -> Part:
    rows = [
        {
            "example": f"e{k:02}",
            "cluster": f"e{k:02}",
            "acc": float(k in right),
            "chosen": k % 2,
        }
        for k in range(N)
    ]
    ids = tuple(str(row["example"]) for row in rows)
    return Part("evaluate", "evaluate", (ACC,), ids, records_frame(rows), basis)


def stored(errors: dict[str, float], steps: list[dict[str, object]]) -> Part:
    rows: list[dict[str, object]] = [
        {"example": "model", "row": "model", "bits_per_weight": 4.25, "bytes_layers": 100,
         "bytes_embeddings": 50, "bytes_other": 5},
    ]  # fmt: skip
    rows += [
        {"example": f"step 1 {name}", "row": "layer", "step": 1, "method": "wanda",
         "layer": name, "error": error}
        for name, error in errors.items()
    ]  # fmt: skip
    declared = StorageSettings().declares()
    ids = tuple(str(row["example"]) for row in rows)
    return Part(
        "storage", "storage", declared, ids, records_frame(rows), "s", notes={"steps": steps}
    )


def candidate(name: str, *parts: Part, parent: Part | None = None, size: float = 1000.0):
    measures = [m for part in parts for m in part.measures()[0]]
    measures += [
        number("profile/size_bytes", size),
        number("profile/tokens_per_second", 1e5 / size, "higher", "tokens/s"),
    ]
    finding = Finding("evaluate/acc/t >= 0.5", Verdict.PASS, "", True, "evaluate/acc/t")
    return CandidateReport(
        name=name, verdict=Verdict.PASS, promoted=False, sentence="", findings=(finding,),
        measures=tuple(measures), parts=parts, made_from=(parent,) if parent else (),
    )  # fmt: skip


BASE = evaluated(set(range(30)))
PRUNED = evaluated({*range(20), 35})
STEPS = [{"method": {"kind": "wanda", "sparsity": 0.5}, "remarks": {"run_time": "no gain"}}]
STORED = stored({"b.<0>": 0.5, "b.1": 0.0, "b.2": 0.01}, STEPS)


def two() -> tuple[CandidateReport, CandidateReport]:
    return candidate("base", BASE), candidate("pruned", PRUNED, STORED, parent=BASE, size=600)


def test_a_row_says_how_a_candidate_was_made_and_what_its_bytes_are() -> None:
    base, pruned = costs.costs(two())
    assert base.steps == ()
    assert base.cells[:4] == ("1.00 kB", "—", "—", "—")
    assert pruned.steps == ("wanda (sparsity 0.5)",)
    assert pruned.remarks == ("no gain",)
    assert pruned.cells[:4] == ("600 B", "100 B", "50 B", "4.250 bits")


def test_remarks_that_differ_in_case_alone_are_two() -> None:
    def told(name: str, said: str) -> CandidateReport:
        step = {"method": STEPS[0]["method"], "remarks": {"run_time": said}}
        return candidate(name, stored({}, [step]))

    both = (told("a", "No gain"), told("b", "no gain"))
    page = render(ReportRun("r", "now", "d" * 64, "p", "e" * 64, both))
    assert "<li>No gain</li><li>no gain</li>" in page


def test_parts_of_a_setting_are_told_side_by_side_and_digests_short() -> None:
    fallen = [{"tensor": "a", "asked": "Q8_0", "written": "F16"}]
    method = {"kind": "distill", "teachers": [{"model": "c" * 64}], "steps": 3}
    told = stored({}, [{"method": method, "remarks": {"fallbacks": fallen}}])
    (row,) = costs.costs([candidate("a", told)])
    assert row.steps == (f"distill (teachers {'c' * 12}, steps 3)",)
    assert row.remarks == ("fallbacks: a Q8_0 F16",)


def test_changes_are_paired_and_sure_ones_are_called_so() -> None:
    """29 of 40 questions stand still, ten are lost, one is won: -9 of 40."""
    (row,) = [row for row in costs.changes(two()) if row.measure == "evaluate/acc/t"]
    (base, moved, sure), (pruned, change, worse) = row.cells
    assert (base, moved, sure) == ("0.750", "", "")
    assert pruned == "0.525"
    assert change.startswith("-0.225 (")
    assert worse == "worse"


def test_nothing_is_called_better_of_a_measure_that_has_a_sign() -> None:
    """From -0.5 to -0.25 a shift that should be small went up."""
    declared = Declared(
        name="shift", better="lower", about="signed", of=Ratio(value="x", proportion=False)
    )

    def shifted(by: float) -> Part:
        rows = [{"example": f"e{k}", "x": by + k % 2 / 10} for k in range(N)]
        ids = tuple(str(row["example"]) for row in rows)
        return Part("lean", "audit", (declared,), ids, records_frame(rows), "b")

    new, old = shifted(-0.25), shifted(-0.5)
    (row,) = [r for r in costs.changes([candidate("v", new, parent=old)])]
    ((_, moved, sure),) = row.cells
    assert moved.startswith("+0.250")
    assert sure == ""


def test_other_questions_are_not_compared() -> None:
    other = candidate("other", evaluated({1}, basis="another"), parent=BASE)
    (row,) = costs.changes([other])
    assert row.cells == (("0.025", "", ""),)
    assert costs.flipped([other]) == []


def test_flips_are_counted_both_ways() -> None:
    (row,) = costs.flipped(two())
    assert (row.candidate, row.questions, row.n) == ("pruned", "evaluate/acc/t", N)
    assert (row.lost, row.gained) == (10, 1)
    assert row.share.startswith("0.275 (")


def test_nobody_is_on_the_frontier_whom_another_beats_in_both() -> None:
    size = [number("s", v) for v in (3, 2, 1, 2)]
    loss = [number("l", v) for v in (1, 2, 3, 3)]
    assert costs.undominated(list(zip(size, loss, strict=True))) == [0, 1, 2]
    speed = [number("v", v, "higher") for v in (3, 2, 1, 2)]
    assert costs.undominated(list(zip(speed, loss, strict=True))) == [0]


@given(st.lists(st.tuples(*[st.integers(0, 5)] * 2), min_size=1, max_size=8))
def test_someone_is_always_on_the_frontier_and_equals_are_together(pairs) -> None:
    measured = [(number("a", float(a)), number("b", float(b))) for a, b in pairs]
    best = costs.undominated(measured)
    assert best
    for k, pair in enumerate(pairs):
        assert (k in best) == (pair in [pairs[at] for at in best])


def test_layers_are_drawn_in_order_and_a_shared_step_once() -> None:
    chart = costs.by_layer([candidate("a", STORED), candidate("b", STORED)])
    assert chart.count("b.2, wanda: 0.01") == 1
    assert "a, b" in chart
    assert "b.&lt;0&gt;" in chart  # a layer's name is text
    assert "b.1" not in chart  # no error has no place on a logarithmic axis
    assert costs.by_layer([candidate("a", BASE)]) == ""


def test_layers_of_a_step_that_changed_some_lie_where_the_others_have_them() -> None:
    some = stored({"b.2": 0.3}, STEPS)
    chart = costs.by_layer([candidate("few", some), candidate("all", STORED)])
    spot = {
        m: re.search(rf"{m}</title><\w+ (?:cx|x)=\"([\d.]+)", chart) for m in ("0.3", "0.01")
    }
    xs = [float(found[1]) for found in spot.values() if found]
    assert len(xs) == 2
    assert abs(xs[0] - xs[1]) < 6  # one place; a disc and a square differ by half a mark


def test_the_page_shows_candidates_side_by_side() -> None:
    run = ReportRun("r", "now", "d" * 64, "p", "e" * 64, two())
    page = render(run)
    for said in ("Side by side", "no gain", "Answers that turned", "None is as good in both"):
        assert said in page
    assert "None is as good" not in render(replace(run, candidates=two()[:1]))


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
@example(1.0, 800_001.0)
def test_ticks_are_few_round_and_inside(low: float, width: float) -> None:
    ticks = plane.round_numbers(low, low + width)
    assert 2 <= len(ticks) <= 6
    step = ticks[1] - ticks[0]
    assert all(low - 1e-6 * step <= t <= low + width + 1e-6 * step for t in ticks)
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(mantissa - m) for m in (1, 2, 5, 10)) < 1e-3


def test_equal_points_have_a_place() -> None:
    spot = plane.Spot(0, 5.0, 0.0, 0.0, 0.0, "one")
    axis = plane.Axis("x")
    assert "one" in plane.scatter([spot, spot], ["a", "b"], axis, axis, alt="two of one")


@pytest.mark.parametrize("values", [(0.02, 0.05), (0.01, 10.0)])
def test_a_logarithmic_axis_has_two_ticks_at_least(values) -> None:
    assert len(plane.decades(*map(math.log10, values))) >= 2


def test_forty_eight_candidates_have_marks_of_their_own():
    assert len({svg.mark(series, 0.0, 0.0) for series in range(48)}) == 48
