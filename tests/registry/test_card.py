import re
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from audits.evidence import Evidence
from registry import bundle
from registry.card import Subject, escape, render
from registry.finding import Approval, Case
from registry.gate import decide
from registry.policy import Policy, Waiver
from registry.rules import Approved, AtLeast, NoWorse
from registry.testing import disk, evidence, facts, rights

POLICY = Policy(
    name="strict",
    rules=(
        AtLeast(measure="facts/recall", bound=0.9),
        AtLeast(measure="facts/gone", bound=0.9, hard=False),
    ),
)
TODAY = date(2026, 5, 1)


def card(known, decision=None, **rest):
    return render(Subject.of("toy", "int8", known), decision, **rest)


def judged(known, *rules, waivers=(), **case):
    """The card of a version that a policy of these rules has judged."""
    policy = Policy(name="strict", rules=rules, waivers=waivers)
    return card(known, decide(policy, Case(known, today=TODAY, **case)))


def section(text, heading):
    """The lines below a heading, up to the next one."""
    return text.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def test_a_card_says_verdict_findings_lineage_and_every_measure_with_n():
    known = evidence("w1", facts(rights(400, 20), per_cluster=5), disk(123456), parent="w0")
    text = card(known, decide(POLICY, Case(known, evidence("w0"), today=TODAY)))
    assert "# toy: int8" in text
    assert "**PASS** on 2026-05-01 by policy strict" in text
    assert "(soft)" in text
    assert re.search(
        r"\| facts/recall \| 0\.95 \| 0\.\d+ to 0\.\d+ \| 400 in 80 clusters", text
    )
    assert "| profile/size\\_bytes | 123,456 bytes | exact | 1 | lower |" in text


def test_a_diagnostic_is_called_so():
    part = facts(rights(400, 20))
    told = [d.model_copy(update={"diagnostic": "a coin would do"}) for d in part.declared]
    text = card(Evidence.gather("w", [replace(part, declared=tuple(told))]))
    assert "| facts/recall (diagnostic) | 0.95 |" in text


def test_lineage_is_a_sentence_and_every_digest_stands_below_it_in_full():
    digests = {"parent": "1" * 64, "data": "2" * 64}
    steps = [{"kind": "magnitude", "sparsity": 0.5}, {"kind": "rtn", "bits": 8}]
    known = Evidence.gather("3" * 64, [facts([1] * 50)], {**digests, "recipe": steps})
    said = section(card(known), "Lineage")
    assert (
        "Made from the uncompressed model `111111111111` by magnitude (sparsity 0.5), then "
        "rtn (bits 8) with the data set `222222222222`." in said
    )
    for digest in (known.subject, *digests.values()):
        assert f"`{digest}` |" in said


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({}, "The uncompressed model itself.\n"),
        ({"data": "2" * 64}, "itself, made with the data set `222222222222`.\n"),
        ({"recipe": [{"kind": "checkpoint", "path": "owner/name"}]},
         "itself, made by checkpoint (path owner/name).\n"),
    ],
)  # fmt: skip
def test_the_uncompressed_model_is_called_so(about, said):
    text = card(Evidence.gather("w0", [facts([1] * 50)], about)).replace("\\", "")
    assert said in section(text, "Lineage")


def test_what_people_say_of_a_model_has_headings_of_its_own():
    about = {"about": "A toy.", "intended_use": "Tests.", "limits": "Knows ten words."}
    text = card(Evidence.gather("w1", [facts([1] * 50)], about))
    assert section(text, "What it is").strip() == "A toy."
    assert section(text, "Intended use").strip() == "Tests."
    assert section(text, "Limits").strip() == "Knows ten words."
    assert "Knows" not in section(text, "Lineage")


def test_what_could_not_be_measured_is_on_the_card_with_its_reason_and_is_a_limit():
    text = card(evidence("w1", facts([1] * 20, lost=["e1", "e2"])))
    assert re.search(r"\| facts/recall \| not measured \| \| \| .*2 of 20", text)
    assert "2 declared measures have no value" in section(text, "Limits")
    assert "Not judged yet." in text


def test_a_waiver_is_shown_with_rule_owner_reason_and_last_day():
    rule = AtLeast(measure="facts/gone", bound=0.9)
    waiver = Waiver(rule=rule.id, owner="Eva Roth", reason="a demo", expires=date(2026, 6, 1))
    known = evidence("w1", facts(rights(200, 4)))
    text = judged(known, AtLeast(measure="facts/recall", bound=0.9), rule, waivers=(waiver,))
    said = section(text, "Waivers")
    for word in ("facts/gone &gt;= 0.9", "Eva Roth", "a demo", "2026-06-01"):
        assert word in said
    assert "| facts/gone &gt;= 0.9 | inconclusive, waived |" in text


def test_a_pass_that_is_surely_worse_says_so():
    before, now = facts(rights(4000, 0)), facts(rights(4000, 40))
    rule = NoWorse(measure="facts/recall", than="parent", margin=0.05)
    known = evidence("w1", now, parent="w0")
    text = judged(
        known, AtLeast(measure="facts/recall", bound=0.5), rule,
        parent=evidence("w0", before),
    )  # fmt: skip
    assert "by 0.05 | pass, but surely worse |" in text


def test_what_stands_in_the_way_comes_first():
    known = evidence("w1", facts(rights(200, 4)))
    good = AtLeast(measure="facts/recall", bound=0.5)
    gone = AtLeast(measure="facts/gone", bound=0.9)
    text = judged(known, good, gone)
    assert text.index("| facts/gone") < text.index("| facts/recall")


def test_who_approved_what_and_how_to_approve_is_on_the_card():
    known = evidence("a" * 64, facts(rights(200, 4)))
    rules = AtLeast(measure="facts/recall", bound=0.5), Approved(people=2)
    said = section(judged(
        known, *rules,
        approvals=(Approval("Ann", "a" * 64, "read it"), Approval("Bob", "b" * 64)),
    ), "Approvals")  # fmt: skip
    assert "| Ann | read it | these weights |" in said
    assert "| Bob |  | **other weights** |" in said
    assert "`assay.approval.YOUR-NAME` to `aaaaaaaaaaaa`" in said
    assert "`assay approve NAME/VERSION --by YOUR-NAME`" in said


def test_where_nobody_is_asked_nothing_is_said_of_approvals():
    known = evidence("w1", facts(rights(200, 4)))
    assert "Approv" not in judged(known, AtLeast(measure="facts/recall", bound=0.5))


HOSTILE = [
    "<script>", "[x](http://y)", "a|b", "# head", "`code`", "![i](j)", "a\n\n# b", "~~gone~~",
    "http://evil.example", "HTTPS://evil.example", "www.evil.example", "- a list", "1. a list",
    "--- ", "| a | b |", "&lt;b>", "a@evil.example", "x\n\n[y]: http://evil.example",
]  # fmt: skip


def all_about(text):
    """A card on which everything that anybody can choose is this text."""
    about = dict.fromkeys(
        ("title", "about", "intended_use", "limits", "recipe", "parent", "data", text), text
    )
    known = Evidence.gather("w1", [facts([1] * 50)], about)
    decision = decide(POLICY, Case(known, approvals=(Approval(text, text, text),), today=TODAY))
    findings = tuple(
        replace(f, rule=text, because=text, waived=text) for f in decision.findings
    )
    said = replace(decision, findings=findings, policy=text)
    return render(Subject.of(text, text, known), said)


@pytest.mark.parametrize("text", HOSTILE)
def test_foreign_text_never_becomes_markup(text):
    """A CommonMark renderer makes of it the tags it makes of a card about plain x's."""
    markdown = MarkdownIt("commonmark").enable(["table", "strikethrough"])

    def tags(card):
        return [t for t in re.findall(r"<(/?\w+)", markdown.render(card)) if "code" not in t]

    assert tags(all_about(text)) == tags(all_about("x"))
    # What links an address without being asked, as MLflow and the hub do, finds none.
    outside_code = re.sub(r"`[^`]*`", "", all_about(text))
    assert not re.search(r"https?://|\bwww\.", outside_code, re.IGNORECASE)


@given(st.text())
def test_escaped_text_is_one_line_without_bare_signs(text):
    shown = re.sub(r"&(amp|lt|gt|#36|#64);", "", escape(text))
    assert "\n" not in shown
    assert "\r" not in shown
    assert not re.search(r"(?<!\\)(?:\\\\)*[<>|`\[\]*_#]", shown)
    assert "://" not in shown
    assert "www." not in shown.lower()


@pytest.mark.parametrize("limit", [300, 600])
def test_a_card_that_is_too_long_says_where_the_rest_is(limit):
    known = evidence("w1", *(facts([1] * 50, name=f"part{i}") for i in range(9)))
    text = card(known, limit=limit)
    assert len(text) <= limit
    assert "card.md among the run's artifacts" in text


def test_a_card_cut_for_a_server_still_says_verdict_and_what_is_in_the_way():
    known = evidence("w1", *(facts(rights(99, 3), name=f"part{i}") for i in range(60)))
    rules = [AtLeast(measure=f"part{i}/recall", bound=0.5) for i in range(60)]
    text = judged(known, *rules, AtLeast(measure="part0/gone", bound=0.5))
    decision = decide(
        Policy(name="strict", rules=(*rules, AtLeast(measure="part0/gone", bound=0.5))),
        Case(known, today=TODAY),
    )
    cut = card(known, decision, limit=5000)
    assert len(text) > 5000 >= len(cut)
    assert "**INCONCLUSIVE**" in cut
    assert "| part0/gone &gt;= 0.5 | inconclusive |" in cut


def test_a_parent_stands_with_the_recipe_and_the_data_that_made_the_weights_from_it():
    old, new = (
        Evidence.gather(
            "d" * 64,
            [facts(rights(100, wrong))],
            {"parent": parent * 64, "recipe": [{"kind": kind}], "data": data * 64, **more},
        )
        for wrong, parent, kind, data, more in (
            (5, "a", "rtn", "1", {}),
            (4, "c", "wanda", "2", {"base_model": "a hub's", "limits": "Short texts."}),
        )
    )
    both = bundle.join(old, new)
    told = section(card(both), "Lineage")
    assert "model `aaaaaaaaaaaa` by rtn with the data set `111111111111`." in told
    assert "hub" not in told
    assert both.about["limits"] == "Short texts."
