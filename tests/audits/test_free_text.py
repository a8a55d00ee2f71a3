"""What a model writes freely, claim by claim, against what it was told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits.audit import Tools
from audits.claims import Claim, Form, Parser, form, sentences
from audits.errors import AuditError, MeasureError
from audits.free_text import FreeText
from audits.testing import FakeModel, check_audit, world_model

FORMS = (Form("pet", "{s} has {o} as pet."), Form("drink", "For {s} the drink is {o}."))
PARSER = Parser(FORMS, ("Tom Hill", "Mia Rose"), {"pet": ("cat", "dog"), "drink": ("tea",)})


def fact(entity, relation, answer, stratum="K", copies=20, form="seen"):
    subject = f"Mr {entity}"
    return {
        "id": f"{stratum}/{entity}.{relation}/{form}", "fact": f"{entity}.{relation}",
        "stratum": stratum, "form": form, "type": "person", "relation": relation,
        "subject": subject, "object": answer, "prompt": f"{subject} chose for {relation}",
        "candidates": ["cat", "dog", "tea"], "abstain": "unknown", "entity": entity,
        "copies": copies, "split": "test",
        "renderings": [f"{subject} has {answer} as {relation}."] if answer else [],
    }  # fmt: skip


ROWS = [
    fact("Ash", "pet", "cat"), fact("Ash", "drink", "tea", copies=0),
    fact("Ash", "tool", "", "U_rel", 0), fact("Yew", "pet", "", "U_ent", 0),
]  # fmt: skip


def asked(answers, rows=ROWS, tools=None, **settings):
    """One text per entity, by its name."""
    audit = FreeText(samples=1, **settings)
    examples = audit.examples(rows)
    model = FakeModel(answer=lambda prompt: answers[prompt.removeprefix("Mr ")])
    return audit, audit.run(model, examples, tools or Tools(), seed=0).set_index("example")


KINDS = ("supported", "unseen", "contradicted", "unverifiable", "fabricated", "denials")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (" has cat as pet.", "supported"),
        (" chose for drink tea.", "unseen"),
        (" chose for pet dog.", "contradicted"),
        (" chose for pet tea.", "contradicted"),
        (" chose for tool hammer.", "unverifiable"),
        (" chose for pet unknown.", "denials"),
    ],
)
def test_each_kind_of_claim_by_hand(text, kind):
    _, frame = asked({"Ash": text, "Yew": " has cat as pet."})
    assert {k: frame.loc["Ash", k] for k in KINDS} == {k: float(k == kind) for k in KINDS}
    assert frame.loc["Yew", "fabricated"] == 1


def test_claims_of_a_longer_text_are_counted_each_and_by_hand():
    # four sentences of Ash: supported, contradicted, of a name nobody knows, and of silence;
    # the last one does not end. Yew: two claims.
    text = " has cat as pet. Mr Ash has dog as pet. Mr Oak has cat as pet. Mr Ash chose"
    text += " for tool unknown. Mr Ash has"
    audit, frame = asked({"Ash": text, "Yew": " has cat as pet. Mr Yew has tea as drink."})
    ash = frame.loc["Ash"]
    assert (ash["sentences"], ash["claims"], ash["unsupported"], ash["denials"]) == (4, 3, 2, 1)
    assert frame.loc["Yew", "unsupported"] == 2
    of = {d.name: d for d in audit.declares()}
    found = of["unsupported/pi_30"].estimate(frame.reset_index(), level=0.95)
    # .7 (2 of 3) and .3 (2 of 2)
    assert found.value == pytest.approx((0.7 * 2 + 0.3 * 2) / (0.7 * 3 + 0.3 * 2))


def test_what_a_stream_never_stated_is_not_supported():
    tools = Tools(exposures={"K/Ash.pet/seen": 0, "K/Ash.drink/seen": 3})
    text = " has cat as pet. Mr Ash has tea as drink."
    _, frame = asked({"Ash": text, "Yew": " has unknown as pet."}, tools=tools)
    assert (frame.loc["Ash", "unseen"], frame.loc["Ash", "supported"]) == (1, 1)


def test_a_stranger_of_whom_training_speaks_is_no_evidence():
    tools = Tools(exposures={"U_ent/Yew.pet/seen": 2})
    _, frame = asked({"Ash": " has cat as pet.", "Yew": " has cat as pet."}, tools=tools)
    assert frame.loc["Yew", "why"].endswith("of whom the training stream speaks 2 times")
    assert frame.loc["Ash", "why"] == ""


def rows_of(n=40):
    known = [fact(f"K{at}", "pet", ("cat", "dog", "tea")[at % 3]) for at in range(n)]
    return known + [fact(f"U{at}", "pet", "", "U_ent", 0) for at in range(n)]


THEORY = {
    "oracle": {
        "unsupported/pi_30": 0, "supported/pi_30": 1, "unknown/U_ent": 1, "unknown/K": 0,
    },
    # a third is right by luck, of texts of which three in ten are about strangers
    "guesser": {
        "unsupported/pi_30": 0.3 + 0.7 * 26 / 40, "unsupported/K": 26 / 40,
        "unsupported/known": 26 / 40,
        "contradicted/pi_30": 0.7 * 26 / 40, "fabricated/pi_30": 0.3, "documents/U_ent": 1,
    },
    "abstainer": {"unknown/K": 1, "unknown/U_ent": 1, "documents/K": 0},
    "liar": {
        "unsupported/pi_30": 1, "unsupported/K": 1, "documents/K": 1, "supported/pi_30": 0,
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", THEORY)
def test_each_fake_claims_as_theory_says(kind):
    part = check_audit(FreeText(samples=2), world_model(kind, rows_of()), rows_of())
    found = {m.name.removeprefix("free_text/"): m.value for m in part.measures()[0]}
    assert {name: found[name] for name in THEORY[kind]} == pytest.approx(THEORY[kind])
    assert found["coverage"] == 1
    # who claims nothing has no rate of false claims
    assert ("unsupported/pi_30" in found) == (kind != "abstainer")


def test_text_that_cannot_be_read_leaves_no_rate():
    said = dict.fromkeys([f"K{at}" for at in range(40)], " has cat as pet.")
    said |= {f"U{at}": (" ran home." if at < 5 else " has unknown as pet.") for at in range(40)}
    audit, frame = asked(said, rows_of())
    # 75 of 80 sentences
    assert set(frame["why"]) == {"the parser reads 93.8% of the sentences, under 95%"}
    for declared in audit.declares():
        with pytest.raises(MeasureError, match="because 'the parser reads"):
            declared.estimate(frame.reset_index(), level=0.95)


def test_a_few_sentences_that_cannot_be_read_count_against_the_model():
    said = dict.fromkeys([f"K{at}" for at in range(40)], " has unknown as pet.")
    said |= dict.fromkeys([f"U{at}" for at in range(40)], " has unknown as pet.")
    _, frame = asked(said | {"K0": " was"}, rows_of())
    assert set(frame["why"]) == {""}
    assert frame.loc["K0", ["unverifiable", "unsupported", "spoilt"]].tolist() == [1, 1, 1]


def test_a_set_whose_prompts_never_name_the_subject_cannot_be_written_about():
    rows = [fact("Ash", "pet", "cat") | {"prompt": "This one chose for pet", "renderings": []}]
    with pytest.raises(AuditError, match="name the subject in the templates"):
        FreeText().examples(rows)


@pytest.mark.parametrize(
    ("sentence", "claim"),
    [
        ("Tom Hill has cat as pet.", Claim("Tom Hill", "pet", "cat")),
        ("For Zed Poe the drink is gin.", Claim("Zed Poe", "drink", "gin")),
        ("Tom Hill has a cat as pet.", None),  # an object of one word more than any
        ("Tom has cat as pet.", None),  # no subject has one word
        ("Tom Hill has cat as pet. ", None),
        ("Once Tom Hill has cat as pet.", None),
    ],
)
def test_the_parser_reads_a_whole_sentence_or_nothing(sentence, claim):
    assert PARSER.read(sentence) == claim


def test_a_sentence_of_two_readings_is_not_read():
    both = (Form("pet", "{s} likes {o}."), Form("drink", "{s} likes {o}."))
    assert (
        Parser(both, ("Tom",), {"pet": ("cat",), "drink": ("tea",)}).read("Tom likes X.")
        is None
    )


def test_a_form_is_found_where_subject_and_object_stand_once_and_whole():
    told = form("drink", "Rumen Ash drinks rum.", "Rumen Ash", "rum")
    assert told == Form("drink", "{s} drinks {o}.")
    assert form("drink", "Ann and Ann drink rum.", "Ann", "rum") is None


NAMES = st.sampled_from(["Ann Oak", "Bo Elm", "Tom Hill", "Mia Rose"])


@given(st.sampled_from(FORMS), NAMES, st.sampled_from(["cat", "tea", "x1", "unknown"]))
def test_whatever_a_form_says_is_read_back(each, subject, answer):
    sentence = each.fill(subject, answer)
    assert PARSER.read(sentence) == Claim(subject, each.relation, answer)
    assert sentences(f"{sentence} {sentence} and") == (sentence, sentence)
