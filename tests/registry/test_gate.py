import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from audits.errors import EvidenceError
from audits.evidence import Evidence, Part
from registry.finding import Case, Verdict
from registry.gate import Decision, choose, decide
from registry.policy import Policy, lint
from registry.rules import AtLeast, AtMost, NoWorse, Present, RatioAtMost
from registry.testing import disk, evidence, facts, rights

FEW = settings(max_examples=30, deadline=None)

outcomes = st.tuples(st.sampled_from([40, 200]), st.sampled_from([0, 1, 4, 20, 39])).map(
    lambda pair: rights(*pair)
)
bounds = st.sampled_from([0.0, 0.5, 0.85, 0.9, 0.97, 1.0])
measures = st.sampled_from(["facts/recall", "facts/wrong", "more/recall", "profile/size_bytes"])
than = st.sampled_from(["parent", "champion"])
absolute = st.builds(AtLeast, measure=st.just("facts/recall"), bound=bounds) | st.builds(
    AtMost, measure=st.just("facts/wrong"), bound=bounds
)
any_rule = (
    absolute
    | st.builds(AtLeast, measure=measures, bound=bounds, hard=st.booleans())
    | st.builds(AtMost, measure=measures, bound=bounds, hard=st.booleans())
    | st.builds(NoWorse, measure=measures, than=than, margin=bounds, hard=st.booleans())
    | st.builds(Present, measure=measures)
    | st.builds(
        RatioAtMost, measure=st.just("profile/size_bytes"), than=than, ratio=st.just(0.7)
    )
)


@st.composite
def policies(draw):
    rules = [draw(absolute), *draw(st.lists(any_rule, max_size=4))]
    return Policy(name="any", rules=tuple({r.id: r for r in reversed(rules)}.values())[::-1])


@st.composite
def models(draw, subject):
    parts = [facts(draw(outcomes), basis=draw(st.sampled_from(["asked", "asked", "other"])))]
    if draw(st.booleans()):
        parts.append(facts(draw(outcomes), name="more", per_cluster=4))
    if draw(st.booleans()):
        parts.append(disk(draw(st.integers(1, 9))))
    return evidence(subject, *parts)


@st.composite
def cases(draw):
    return Case(
        draw(models("new")),
        draw(st.none() | models("old")),
        draw(st.none() | models("best")),
    )


def with_part(known: Evidence, part: Part) -> Evidence:
    return Evidence.gather(
        known.subject, {**known.parts, part.name: part}.values(), known.about
    )


def without_rows(part: Part, lost: set[str]) -> Part:
    kept = part.records[~part.records["example"].isin(lost)]
    return Part(
        part.name, part.kind, part.declared, part.expected, kept, part.basis, part.conditions
    )


@FEW
@given(policies(), cases(), st.data())
def test_losing_a_measure_never_helps(policy, case, data):
    if decide(policy, case).promote:
        return
    name = data.draw(st.sampled_from(sorted(case.candidate.parts)))
    rest = [p for n, p in case.candidate.parts.items() if n != name]
    less = Evidence.gather("new", rest, case.candidate.about)
    assert not decide(policy, Case(less, case.parent, case.champion)).promote


@FEW
@given(policies(), cases(), st.data())
def test_losing_records_of_any_model_never_helps(policy, case, data):
    if decide(policy, case).promote:
        return
    who = data.draw(st.sampled_from(["candidate", "parent", "champion"]))
    whose = getattr(case, who)
    if whose is None:
        return
    part = whose.parts[data.draw(st.sampled_from(sorted(whose.parts)))]
    lost = set(data.draw(st.lists(st.sampled_from(part.expected), max_size=5)))
    roles = {
        "candidate": case.candidate, "parent": case.parent, "champion": case.champion,
        who: with_part(whose, without_rows(part, lost)),
    }  # fmt: skip
    assert not decide(policy, Case(**roles)).promote


@FEW
@given(policies(), cases(), any_rule)
def test_one_more_rule_never_helps(policy, case, extra):
    if extra.id in {r.id for r in policy.rules} or decide(policy, case).promote:
        return
    more = Policy(name="any", rules=(*policy.rules, extra))
    assert not decide(more, case).promote


@FEW
@given(policies(), cases(), st.randoms())
def test_the_order_of_records_changes_nothing(policy, case, random):
    order = list(range(len(case.candidate.parts["facts"].records)))
    random.shuffle(order)
    part = case.candidate.parts["facts"]
    mixed = Part(
        part.name, part.kind, part.declared, part.expected, part.records.iloc[order], part.basis
    )
    shuffled = Case(with_part(case.candidate, mixed), case.parent, case.champion)
    verdicts = [f.verdict for f in decide(policy, case).findings]
    assert [f.verdict for f in decide(policy, shuffled).findings] == verdicts


@FEW
@given(outcomes, outcomes, bounds)
def test_unlike_bases_never_pass(new, old, margin):
    case = Case(evidence("new", facts(new)), evidence("old", facts(old, basis="other")))
    rule = NoWorse(measure="facts/recall", than="parent", margin=margin)
    assert rule.check(case).verdict is Verdict.INCONCLUSIVE


@FEW
@given(policies())
def test_a_model_of_which_nothing_is_known_is_never_promoted(policy):
    decision = decide(policy, Case(evidence("new")))
    assert decision.verdict is not Verdict.PASS
    assert len(decision.findings) == len(policy.rules)


def test_a_policy_of_comparisons_alone_promotes_nothing_even_if_forced():
    rule = NoWorse(measure="facts/recall", than="champion", margin=0.1)
    for rules in ((), (rule,), (Present(measure="facts/recall"),)):
        forced = Policy.model_construct(name="forced", rules=rules)
        decision = decide(forced, Case(evidence("new", facts([1] * 100))))
        assert decision.verdict is Verdict.INCONCLUSIVE
        assert (
            decision.sentence
            == "forced proves nothing of this model: no absolute rule about its answers passes"
        )


def test_what_a_model_costs_proves_nothing_of_what_it_answers():
    cheap = AtMost(measure="profile/size_bytes", bound=1e300)
    known = evidence("new", facts(rights(400, 200)), disk(9))
    decision = decide(Policy(name="cheap", rules=(cheap,)), Case(known))
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert "cheap proves nothing of this model" in decision.sentence
    both = Policy(name="both", rules=(cheap, AtLeast(measure="facts/recall", bound=0.3)))
    assert decide(both, Case(known)).promote
    said = lint(Policy(name="cheap", rules=(cheap,)), {"profile/size_bytes": "lower"})
    assert said == [
        "policy cheap: its hard absolute rules ask only what the model costs, and "
        "none what it answers, so it would promote nothing; add one that does"
    ]
    assert lint(both, {"profile/size_bytes": "lower", "facts/recall": "higher"}) == []


@pytest.mark.parametrize("costs", [True, False])
def test_neither_does_what_it_takes_on_disk_nor_a_diagnostic(costs):
    part = facts(rights(400, 2))
    said = part.declared[0].model_copy(update={"diagnostic": "no level of it says anything"})
    part = replace(part, kind="storage") if costs else replace(part, declared=(said,))
    policy = Policy(name="p", rules=(AtLeast(measure="facts/recall", bound=0.5),))
    decision = decide(policy, Case(evidence("new", part)))
    assert decision.findings[0].verdict is Verdict.PASS
    assert decision.verdict is Verdict.INCONCLUSIVE


def test_a_policy_about_bytes_alone_is_found_out_before_any_compute():
    rule = AtMost(measure="storage/bytes_layers", bound=1e9)
    (said,) = lint(
        Policy(name="p", rules=(rule,), prefer={"measure": rule.measure}),
        {rule.measure: "lower"},
    )
    assert "ask only what the model costs" in said


def test_absolute_rules_alone_still_refuse():
    policy = Policy(name="p", rules=(AtLeast(measure="facts/recall", bound=0.9),))
    decision = decide(policy, Case(evidence("new", facts(rights(200, 100)))))
    assert decision.verdict is Verdict.FAIL


def test_the_first_candidate_without_a_champion_is_judged_by_the_rest():
    policy = Policy(
        name="p",
        rules=(
            AtLeast(measure="facts/recall", bound=0.5),
            NoWorse(measure="facts/recall", than="parent", margin=0.05),
            NoWorse(measure="facts/recall", than="champion", margin=0.05),
        ),
    )
    worse = Case(evidence("new", facts(rights(400, 100))), evidence("old", facts([1] * 400)))
    decision = decide(policy, worse)
    assert decision.verdict is Verdict.FAIL
    assert [f.verdict for f in decision.findings] == ["pass", "fail", "pass"]
    assert [f.applies for f in decision.findings] == [True, True, False]


def test_a_soft_rule_warns_and_does_not_block():
    policy = Policy(
        name="p",
        rules=(
            AtLeast(measure="facts/recall", bound=0.5),
            AtLeast(measure="facts/recall", bound=0.99, hard=False),
        ),
    )
    decision = decide(policy, Case(evidence("new", facts(rights(400, 100)))))
    assert decision.promote
    assert [f.rule for f in decision.warnings] == ["facts/recall >= 0.99"]
    assert decision.sentence == "the one hard rule of p passes"


def test_failures_are_named_before_open_questions():
    policy = Policy(
        name="p",
        rules=(
            Present(measure="absent/x"),
            AtLeast(measure="facts/recall", bound=0.9),
        ),
    )
    decision = decide(policy, Case(evidence("new", facts(rights(400, 200)))))
    assert decision.verdict is Verdict.FAIL
    assert [f.rule for f in decision.refusals] == [
        "facts/recall >= 0.9",
        "absent/x is measured",
    ]
    assert decision.sentence.startswith("facts/recall >= 0.9 fails: 0.5, at best 0.5")
    assert decision.sentence.endswith("(1 more of 2 hard rules do not pass)")


@FEW
@given(policies(), cases())
def test_a_decision_survives_json(policy, case):
    decision = decide(policy, case)
    document = json.loads(json.dumps(decision.as_json()))
    assert Decision.from_json(document) == decision
    assert document["policy_digest"] == policy.identity


@pytest.mark.parametrize(
    "harm",
    [
        lambda d: d | {"verdict": "pass"} if d["verdict"] != "pass" else d | {"verdict": "x"},
        lambda d: d | {"format": 9},
        lambda d: d | {"extra": 1},
        lambda d: {k: v for k, v in d.items() if k != "subject"},
        lambda d: [d],
    ],
)
def test_a_decision_that_was_altered_is_refused(harm):
    policy = Policy(name="p", rules=(AtLeast(measure="facts/recall", bound=0.9),))
    document = decide(policy, Case(evidence("new", facts([1] * 50)))).as_json()
    with pytest.raises(EvidenceError):
        Decision.from_json(harm(document))


def test_the_preferred_of_those_that_pass_is_chosen():
    policy = Policy(name="p", rules=(AtLeast(measure="facts/recall", bound=0.5),))
    known = [
        evidence("a", facts([1] * 200)),
        evidence("b", facts([1] * 200), disk(9)),
        evidence("c", facts([1] * 200), disk(5)),
        evidence("d", facts([0] * 200), disk(1)),
        evidence("e", facts([1] * 200), disk(5)),
    ]
    decisions = [decide(policy, Case(e)) for e in known]
    assert choose(decisions, policy, known) == 2
    assert choose(decisions[:1], policy, known[:1]) == 0
    assert choose(decisions[3:4], policy, known[3:4]) is None
    assert choose([], policy, []) is None
    larger = policy.model_copy(
        update={"prefer": policy.prefer.model_copy(update={"better": "higher"})}
    )
    assert choose(decisions, larger, known) == 1


def test_a_decision_is_bound_to_all_three_models():
    policy = Policy(name="p", rules=(AtLeast(measure="facts/recall", bound=0.5),))
    case = Case(evidence("n", facts([1] * 50)), evidence("o"), evidence("b"))
    decision = decide(policy, case)
    assert (decision.subject, decision.parent, decision.champion) == ("n", "o", "b")
    assert replace(decision, subject="x") != decision


@st.composite
def barely_refused(draw):
    """A rule that just fails to pass, its case, and clusters that may be lost of it."""
    size = draw(st.sampled_from([1, 2, 4]))
    n, rng = 100 * size, np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    failing = np.repeat(rng.random(100) < draw(st.sampled_from([0.0, 0.03, 0.3])), size)
    new = (~failing & (rng.random(n) > draw(st.sampled_from([0.0, 0.02])))).astype(int).tolist()
    old = np.where(rng.random(n) < 0.5, 1, new).tolist()
    kind = draw(st.sampled_from(["at_least", "at_most", "parent", "champion"]))
    bad = sorted({at // size for at in range(n) if not new[at]}) or [0]
    lost = draw(st.sets(st.integers(0, 99) | st.sampled_from(bad), min_size=1, max_size=2))
    gone = {f"e{at}" for at in range(n) if at // size in lost}

    def rule(by):
        if kind == "at_least":
            return AtLeast(measure="facts/recall", bound=by, min_n=1)
        if kind == "at_most":
            return AtMost(measure="facts/wrong", bound=by, min_n=1)
        return NoWorse(measure="facts/recall", than=kind, margin=max(0.0, by), min_n=1)

    def case(gone=()):
        mine = without_rows(facts(new, per_cluster=size), set(gone))
        other = evidence("old", facts(old, per_cluster=size))
        return Case(evidence("new", mine), other, other)

    limit = rule(0.5).check(case()).limit
    assume(limit is not None)
    sharp = {"at_least": limit + 1e-9, "at_most": limit - 1e-9}.get(kind, -limit - 1e-9)
    assume(0 <= sharp <= 1)
    return rule(sharp), case(), case(gone)


@settings(max_examples=40, deadline=None)
@given(barely_refused())
def test_losing_whole_clusters_never_helps_a_rule_that_was_barely_missed(found):
    rule, whole, less = found
    assert rule.check(whole).verdict is not Verdict.PASS
    assert rule.check(less).verdict is not Verdict.PASS
