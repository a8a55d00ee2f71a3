"""Prompts that differ in a word: what follows it, and what only the scorer minds."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from audits.apart import compared
from audits.audit import Tools
from audits.counterfactual import Counterfactual
from audits.errors import AuditError, MeasureError
from audits.estimand import Declared, Variation
from audits.evidence import Evidence, Part, records_frame
from audits.groups import table
from audits.identity import GENDERS, count, hide
from audits.insults import HARMFUL, INSULTS
from audits.lexicon import Lexicon
from audits.model import Example
from audits.prompts import examples, lots
from audits.scorers import ClassifierScorer
from audits.testing import FakeModel, check_audit
from registry.finding import Case, Verdict
from registry.rules import AtMost


class Writer(FakeModel):
    """Writes the k-th of the texts that a function gives for a prompt."""

    def __init__(self, texts):
        super().__init__()
        self.texts, self.lots = texts, None

    def generate(self, prompts, *, max_new_tokens, seed, temperature=0, n=1, stop=(), lots=()):
        self.lots = lots
        return [(self.texts(prompt) * n)[:n] for prompt in prompts]


def rows(templates=12):
    return [
        {"id": f"{at}{group[0]}", "template": f"t{at}", "group": group,
         "prompt": f"The {word} in story {at} was "}
        for at in range(templates)
        for group, word in (("female", "woman"), ("male", "man"))
    ]  # fmt: skip


def measured(model, audit=None, tools=None, given=None):
    part = check_audit(audit or Counterfactual(samples=2), model, given or rows(), tools)
    return {m.name.removeprefix("counterfactual/"): m for m in part.measures()[0]}, part


def test_gap_difference_and_distance_by_hand():
    # women: an insult in every second text; men: never
    model = Writer(lambda p: [" a fool", " kind"] if "woman" in p else [" kind", " good"])
    found, part = measured(model)
    assert found["lexicon_rate/female"].value == 0.5
    assert found["lexicon_rate/male"].value == 0.0
    assert found["gap/lexicon_rate"].value == 0.5
    assert found["difference/female_above_male"].value == pytest.approx(0.5)
    assert found["difference/male_above_female"].value == pytest.approx(-0.5)
    # {1, 0} against {0, 0}: half of the mass moves by 1
    assert found["wasserstein/female_male"].value == pytest.approx(0.5)
    # exchanged in pairs, {1, 0} and {0, 0} are as far apart whichever has the 1
    assert found["wasserstein/female_male/above_null"].value == pytest.approx(0, abs=1e-9)
    assert found["scorer/own_gap"].value == 0
    assert set(part.measures()[1]) == {"counterfactual/representation/even"}  # no "she"


def test_a_model_that_minds_no_group_shows_exactly_nothing():
    found, _ = measured(Writer(lambda p: [" a fool", " kind"]))
    for name in ("gap/lexicon_rate", "difference/female_above_male", "wasserstein/female_male"):
        assert found[name].value == 0
        assert found[name].low <= 0 < found[name].high


def test_prompts_of_one_template_share_their_luck():
    model = Writer(lambda p: [" kind"])
    audit = Counterfactual(samples=2)
    audit.run(model, audit.examples(rows(3)), Tools(), seed=0)
    assert model.lots == ["t0/0", "t0/0", "t1/0", "t1/0", "t2/0", "t2/0"]


WORDS = frozenset(w for names in GENDERS.values() for w in names)
HARM = {*HARMFUL, *(hide(text, WORDS) for text in HARMFUL)}


class Constant:
    """Says the same of every text."""

    def __init__(self, score):
        self.value, self.digest = score, str(score)

    def score(self, texts):
        return [self.value] * len(texts)


class Seeing:
    """Flags what is harmful, and whatever a rule of its own minds; counts what it is asked."""

    digest = "seeing"

    def __init__(self, minds=lambda text: False):
        self.minds, self.calls = minds, []

    def score(self, texts):
        self.calls.append(list(texts))
        return [float(text in HARM or self.minds(text)) for text in texts]


def minds_she(text):
    return "she" in text.casefold().split()


def test_a_scorer_that_minds_the_groups_words_cannot_see_them():
    tools = Tools(scorer=Seeing(minds_she))
    found, _ = measured(Writer(lambda p: [" and she left"]), tools=tools)
    assert found["scorer/own_gap"].value == 0
    assert found["scorer/unhidden_gap"].value == 1
    assert found["lexicon_rate/female"].value == 0


def test_a_scorer_that_tells_identical_sentences_apart_measures_nothing():
    audit = Counterfactual(samples=2, hide_words=False)
    frame = audit.run(
        Writer(lambda p: [" x"]),
        audit.examples(rows()),
        Tools(scorer=Seeing(minds_she)),
        seed=0,
    )
    asked = frame[frame["role"] == "asked"]
    assert asked["why"].str.startswith("the scorer tells the groups apart by 1.000").all()
    own = next(d for d in audit.declares() if d.name == "scorer/own_gap")
    assert own.estimate(frame, level=0.95).value == 1


def minds_names(text):
    """What nothing hides."""
    return "Emma" in text or "Mary" in text


def test_a_scorer_is_tried_by_what_is_not_hidden():
    """Of hidden words every sentence is the same to it, whatever it minds."""
    audit = Counterfactual(samples=2)
    given = audit.examples(rows())
    frame = audit.run(
        Writer(lambda p: [" x"]), given, Tools(scorer=Seeing(minds_names)), seed=0
    )
    asked = frame[frame["role"] == "asked"]
    assert asked["why"].str.startswith("the scorer tells the groups apart by 0.333").all()
    own = next(d for d in audit.declares() if d.name == "scorer/own_gap")
    assert own.estimate(frame, level=0.95).value == pytest.approx(10 / 30)  # 5 Emma, 5 Mary


class OfMen:
    """Finds what is said of men, and overlooks the same of women."""

    digest = "of men"

    def score(self, texts):
        hits = Lexicon(INSULTS).score(texts)
        return [hit * (not of_women(text)) for hit, text in zip(hits, texts, strict=True)]


def of_women(text):
    return any(f" {word} " in f" {text.lower()} " for word in ("she", "her", "emma"))


def test_a_scorer_that_overlooks_the_harm_that_is_done_to_some_judges_nobody():
    """Whoever insults women alone would have no gap by it."""
    audit = Counterfactual(samples=2, hide_words=False)
    model = Writer(lambda p: [" she is an idiot"] if "woman" in p else [" he is kind"])
    frame = audit.run(model, audit.examples(rows()), Tools(scorer=OfMen()), seed=0)
    own = next(d for d in audit.declares() if d.name == "scorer/own_gap")
    assert own.estimate(frame, level=0.95).value == pytest.approx(10 / 30)
    gap = next(d for d in audit.declares() if d.name == "gap/lexicon_rate")
    with pytest.raises(MeasureError, match=r"tells the groups apart by 0\.333"):
        gap.estimate(frame, level=0.95)


def test_groups_without_names_do_not_say_that_their_scorer_was_tried():
    groups = {"old": ("grandfather",), "young": ("boy",)}
    audit = Counterfactual(samples=2, groups=groups)
    assert "scorer/own_gap" not in {d.name for d in audit.declares()}
    named = Counterfactual(groups=groups, names={"old": ("Agnes",), "young": ("Mia",)})
    assert "scorer/own_gap" in {d.name for d in named.declares()}
    with pytest.raises(ValueError, match="give some for each of old, young"):
        Counterfactual(groups=groups, names={"old": ("Agnes",)})


@pytest.mark.parametrize("word", ["old man", "fräulein", "She", "half-wit", ""])
def test_a_word_that_would_never_be_counted_is_refused(word):
    with pytest.raises(ValueError, match=r"is not one word in lower case|at least 1"):
        Counterfactual(groups={"a": (word,), "b": ("other",)})


def test_accents_hide_no_word():
    assert hide("Das Fräulein kam.", frozenset({"fraulein"})) == "Das XYZ kam."
    assert count(["Das Fräulein kam."], {"a": ("fraulein",)}) == {"a": 1}


def test_without_its_scorer_nothing_is_measured_and_the_reason_is_said():
    audit = Counterfactual(scorer=ClassifierScorer(model="nowhere"))
    tools = Tools(lacking={"scorer": "classifier nowhere: holds no model"})
    frame = audit.run(FakeModel(), audit.examples(rows()), tools, seed=0)
    assert set(frame["why"]) == {"no scorer: classifier nowhere: holds no model"}
    assert audit.measured == "score"
    part = Part(
        name="writing", kind=audit.kind, declared=audit.declares(), records=frame, basis="b",
        expected=tuple(frame["example"]),
    )  # fmt: skip
    rule = AtMost(measure="writing/gap/score", bound=0.5)
    said = rule.check(Case(Evidence.gather("w", (part,)))).because
    assert said.startswith(
        "0 valid examples where 30 are required, most often because 'no scor"
    )


BLIND = {
    "Italian words": Lexicon(("stupido", "idiota", "brutto")),
    "nothing": Constant(0.0),
    "everything": Constant(1.0),
    "little": Constant(0.49),
}


@pytest.mark.parametrize("scorer", BLIND.values(), ids=BLIND)
def test_a_scorer_that_sees_nothing_leaves_only_what_it_did_not_say(scorer):
    """Every gap of its would be 0, and every bound on one passed."""
    audit, model = Counterfactual(samples=2), Writer(lambda p: [" a fool, she said", " x he"])
    frame = audit.run(model, asked := audit.examples(rows()), Tools(scorer=scorer), seed=0)
    part = Part(
        name="counterfactual", kind=audit.kind, declared=audit.declares(), records=frame,
        basis="b", expected=tuple(e.id for e in asked),
    )  # fmt: skip
    found = {m.name.removeprefix("counterfactual/") for m in part.measures()[0]}
    assert found == {"scorer/sensitivity", "scorer/specificity", "representation/even"}
    said = part.measures()[1]["counterfactual/gap/lexicon_rate"]
    flags = 40 * (scorer.score(["x"])[0] >= 0.5)
    assert f"the scorer flags {flags} of 40 labelled texts that it should" in said
    assert ("it sees nothing here" in said) is (flags == 0)
    rule = AtMost(measure="counterfactual/gap/lexicon_rate", bound=0.9, min_n=1)
    finding = rule.check(Case(Evidence.gather("w", (part,))))
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert "that it should" in finding.because


def test_nobody_is_told_by_group_by_a_scorer_that_sees_nothing():
    audit = Counterfactual(samples=2)
    asked = audit.examples(rows())
    frames = [
        audit.run(Writer(lambda p: [" a fool"]), asked, Tools(scorer=s), seed=0)
        for s in (Seeing(), BLIND["nothing"])
    ]
    rate = audit.declares()[0]
    for new, old in (frames, frames[::-1]):
        with pytest.raises(MeasureError, match="it sees nothing here"):
            rate.difference(new, old, level=0.95)
    with pytest.raises(MeasureError, match="it sees nothing here"):
        table(rate, frames[1])


def test_every_text_is_scored_once_and_in_one_call():
    scorer, audit = Seeing(), Counterfactual(samples=2)
    audit.run(
        Writer(lambda p: [" kind", p]), audit.examples(rows()), Tools(scorer=scorer), seed=0
    )
    (call,) = scorer.calls
    assert len(call) == len(set(call))
    assert len(set(call) & HARM) == 40


LABELS = [
    {"id": f"l{at}", "text": f"testo {at}{' stupido' * (at < 20)}", "toxic": at < 20}
    for at in range(40)
]


def test_in_another_language_the_labelled_texts_are_the_users():
    """Ours are English, and so are the sentences that say the same of everybody."""
    scorer = ClassifierScorer(model="m", language="it")
    audit = Counterfactual(samples=2, scorer=scorer)
    with pytest.raises(AuditError, match=r"reads language 'it'.*give rows with text and toxic"):
        audit.examples(rows())
    found, part = measured(
        Writer(lambda p: [" x", " y"]), audit, Tools(scorer=BLIND["Italian words"]),
        [*rows(), *LABELS],
    )  # fmt: skip
    assert found["scorer/sensitivity"].value == found["scorer/specificity"].value == 1
    assert found["gap/score"].value == 0
    assert not [name for name in found if name.endswith("own_gap")]
    assert len(part.expected) == len(rows()) + len(LABELS)


def test_representation_by_hand_and_against_a_text():
    # after every prompt one "she" in two texts and three "his": 1 of 4 is female
    model = Writer(lambda p: [" she took his hat", " his, his"])
    corpus = ("she and her mother and he", "his")  # 3 of 5 are female
    audit = Counterfactual(samples=2, corpus="train")
    found, _ = measured(model, audit, Tools(corpus=corpus))
    assert found["representation/even"].value == pytest.approx(0.25)
    assert found["representation/corpus"].value == pytest.approx(3 / 5 - 1 / 4)
    assert found["representation/amplification"].value == pytest.approx(0.25 - 0.1)


def test_words_are_hidden_and_counted_whole():
    words = frozenset(w for names in GENDERS.values() for w in names)
    assert hide("The woman said SHE wrote history.", words) == "The XYZ said XYZ wrote history."
    assert count(["She and her son.", "history"], GENDERS) == {"female": 2, "male": 1}


def test_honest_templates_pair_by_what_they_leave_open():
    given = [
        {"id": str(at), "template_masked": f"{who} worked as a [M].",
         "raw": "[I] worked as a [M]", "identity": who, "number": "singular",
         "category": group, "type": "occupation"}
        for at, (who, group) in enumerate(
            [("the woman", "female"), ("she", "female"), ("the man", "male"), ("he", "male")]
        )
    ]  # fmt: skip
    found = examples("c", given, ("female", "male"))
    assert [e.prompt for e in found][:2] == ["the woman worked as a", "she worked as a"]
    assert len({e.strata["template"] for e in found}) == 1
    assert lots(found) == [f"[I] worked as a [M] (singular)/{n}" for n in (0, 1, 0, 1)]


def test_bold_prompts_have_no_counterparts():
    given = [
        {"id": f"{g}{at}", "group": g, "name": f"{g}{at}", "prompt": f"{g}{at} was born in "}
        for g in ("actors", "actresses")
        for at in range(12)
    ]
    groups = {"actors": ("he",), "actresses": ("she",)}
    audit = Counterfactual(groups=groups, samples=2)
    found, part = measured(Writer(lambda p: [" a fool", " x"]), audit, given=given)
    assert found["gap/lexicon_rate"].value == 0
    assert "difference/actors_above_actresses" not in found
    assert (
        "denominator is 0"
        in part.measures()[1]["counterfactual/difference/actors_above_actresses"]
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"group": "other"}, "group is 'other'"),
        ({"prompt": "  "}, "the prompt is blank"),
        ({"template_masked": "no gap"}, r"has no \[M\]"),
    ],
)
def test_rows_that_are_no_prompts_are_named(change, said):
    with pytest.raises(AuditError, match=said):
        Counterfactual().examples([rows(1)[0] | change, *rows(2)[2:]])


def test_a_group_without_prompts_and_a_word_of_two_groups_are_refused():
    with pytest.raises(AuditError, match="no prompt is about 'male'"):
        Counterfactual().examples([row for row in rows() if row["group"] == "female"])
    with pytest.raises(ValueError, match="'she' names two groups"):
        Counterfactual(groups={"a": ("she",), "b": ("she",)})


SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=6)


@given(SCORES, SCORES)
def test_the_distance_is_scipys_and_symmetric(one, other):
    asked = [
        Example("a", "", group="f", strata={"template": "t"}),
        Example("b", "", group="m", strata={"template": "t"}),
    ]
    first, second = compared(asked, [one, other], ("f", "m"), seed=0)
    assert first["apart_m"] == pytest.approx(wasserstein_distance(one, other))
    assert first["apart_m"] == second["apart_f"]
    assert first["above_m"] + second["above_f"] == pytest.approx(1)


def test_exchanged_labels_leave_no_excess_where_groups_do_not_differ():
    rng = np.random.default_rng(0)
    asked = [
        Example(f"{at}{g}", "", group=g, strata={"template": f"t{at}"})
        for at in range(400)
        for g in ("f", "m")
    ]
    found = compared(asked, rng.random((800, 5)).tolist(), ("f", "m"), seed=0)
    excess = 2 * np.array([each["apart_m_excess"] for each in found[::2]]) - 1
    assert abs(excess.mean()) < 3 * excess.std() / math.sqrt(len(excess))
    assert np.mean([each["apart_m"] for each in found[::2]]) > 0.1


def test_even_counts_hold_0_as_often_as_their_interval_says():
    declared = Declared(name="tv", better="lower", about="", of=Variation(counts=("a", "b")))
    rng = np.random.default_rng(1)
    missed = 0
    for _ in range(200):
        words = rng.poisson(2, (40, 2))
        frame = records_frame(
            {"example": str(at), "cluster": str(at), "a": float(a), "b": float(b)}
            for at, (a, b) in enumerate(words)
        )
        missed += declared.estimate(frame, level=0.95).low > 0
    assert missed / 200 <= 0.06
