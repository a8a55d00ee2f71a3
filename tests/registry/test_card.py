import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits.evidence import Evidence
from registry.card import Subject, escape, render
from registry.finding import Case
from registry.gate import decide
from registry.policy import Policy
from registry.rules import AtLeast
from registry.testing import disk, evidence, facts, rights

POLICY = Policy(
    name="strict",
    rules=(
        AtLeast(measure="facts/recall", bound=0.9),
        AtLeast(measure="facts/gone", bound=0.9, hard=False),
    ),
)


def card(known, decision=None, **rest):
    return render(Subject.of("toy", "int8", known), decision, **rest)


def test_a_card_says_verdict_findings_lineage_and_every_measure_with_n():
    known = evidence("w1", facts(rights(200, 10), per_cluster=5), disk(123456), parent="w0")
    text = card(known, decide(POLICY, Case(known, evidence("w0"))))
    assert "# toy: int8" in text
    assert "**PASS** by policy strict" in text
    assert "(soft)" in text
    assert "| weights | `w1` |" in text
    assert "| parent | w0 |" in text
    assert re.search(
        r"\| facts/recall \| 0\.95 \| 0\.\d+ to 0\.\d+ \| 200 in 40 clusters", text
    )
    assert "| profile/size\\_bytes | 123,456 bytes | exact | 1 | lower |" in text


def test_what_could_not_be_measured_is_on_the_card_with_its_reason():
    text = card(evidence("w1", facts([1] * 20, lost=["e1", "e2"])))
    assert re.search(r"\| facts/recall \| not measured \| \| \| .*2 of 20", text)
    assert "Not judged yet." in text


@pytest.mark.parametrize(
    "text", ["<script>", "[x](http://y)", "a|b", "# head", "`code`", "![i](j)", "a\n\n# b"]
)
def test_foreign_text_never_becomes_markup(text):
    known = Evidence.gather("w1", [facts([1] * 50)], {"title": text, "limits": text})
    shown = card(known)
    assert escape(text) in shown
    assert text not in shown.replace(escape(text), "")
    assert escape(text) != text


@given(st.text())
def test_escaped_text_is_one_line_without_bare_signs(text):
    shown = re.sub(r"&(amp|lt|gt|#36|#64);", "", escape(text))
    assert "\n" not in shown
    assert "\r" not in shown
    assert not re.search(r"(?<!\\)(?:\\\\)*[<>|`\[\]*_#]", shown)


@pytest.mark.parametrize("limit", [300, 600])
def test_a_card_that_is_too_long_says_where_the_rest_is(limit):
    known = evidence("w1", *(facts([1] * 50, name=f"part{i}") for i in range(9)))
    text = card(known, limit=limit)
    assert len(text) <= limit
    assert "card.md among the run's artifacts" in text
