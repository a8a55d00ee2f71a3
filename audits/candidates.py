"""Which answer does the model prefer among all a closed world allows, and how surely?

The answers to a question are enumerated, so probabilities, entropy and the mass outside
the candidates are exact: nothing is sampled and no text is parsed. Both audits of facts,
`closed_world` and `calibration`, read their rows and score their candidates here.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from audits import rows as reading
from audits.errors import AuditError
from audits.model import Example, LanguageModel, Score

STRATA = ("K", "U_ent", "U_rel", "U_none")
"""Known; unknown since the entity, its relation, or such a relation was never stated."""
FORMS = ("seen", "held", "reversed")
SPLITS = ("calibration", "test")
TEST = {"scope": "test"}
"""Rows that measures rest on; thresholds are set on the others."""
KNOWN_FROM = 17
"""From so many statements on a fact should be known."""
PREVALENCES = {"10": 0.1, "30": 0.3, "50": 0.5}
"""Shares of unanswerable questions at which rates are declared, by their name."""


def examples(kind: str, rows: Sequence[Mapping[str, object]]) -> tuple[Example, ...]:
    """Examples from rows of the set `facts`; the last choice is the word for not knowing.

    Raises:
        AuditError: a row lacks something, or the object of a known fact is no candidate.
    """
    return reading.unique(kind, [_example(row) for row in rows])


def records(
    kind: str,
    model: LanguageModel,
    asked: Sequence[Example],
    exposures: Mapping[str, int] | None = None,
) -> list[dict[str, object]]:
    """One record per example: what is known of it, and what the model preferred.

    A candidate is continued with its full stop, so that no name is a prefix of another.
    `confidence` is the probability of the best candidate, normalised over the candidates
    and the word for not knowing; `entropy` (nats) is of the same distribution; `residual`
    is the probability of saying none of them. `correct` is always 0 where the answer is
    unknown. `scope` is `test` or `calibration`, or `reversed` for reversed questions,
    which are reported and never mixed with the others. `weight_30` weighs known and
    unknown rows of a scope so that 30 % of the questions are unanswerable.

    Of known facts, `matched` counts the false candidates of as many tokens as the true one that
    are stated as often of anybody, to a factor of two (an object nobody has is an easy rival),
    and `beaten_matched` those it outscores. Its prior is an answer's mean probability in the
    questions of all subjects for the relation in the same form, which masks whom is asked for:
    `corrected` says whether the true one gains most over it, `above_masked` is `correct` minus
    whether the answer of the highest prior is right.

    A question that nothing should answer is no evidence where `exposures` says that training
    spoke of it: its record is invalid, and says so.
    """
    requests = [(e.prompt, f" {choice}.") for e in asked for choice in e.choices]
    scores = reading.ask(kind, model, requests)
    majority = _majority(asked)
    priors, often = _priors(asked, scores), _statements(asked)
    found: list[dict[str, object]] = []
    start = 0
    for example, record in zip(asked, weighted(asked), strict=True):
        mine = scores[start : start + len(example.choices)]
        start += len(mine)
        why = stated(example, exposures or {}) or reading.unusable(mine) or _overfull(mine)
        if not why:
            record |= _preferred(example, mine, majority)
            if example.target:
                record |= _against_rivals(
                    example, mine, priors[_asked_as(example)], often[example.group]
                )
        record["why"] = why
        found.append(record)
    return found


def exposure(name: str, fact: str, exposures: Mapping[str, int]) -> int:
    """How often training stated what an example asks, counted under its id or its fact's."""
    return exposures.get(name, exposures.get(fact, 0))


def stated(example: Example, exposures: Mapping[str, int]) -> str:
    """Why a question is no unanswerable one; empty where it is, or where it has an answer."""
    n = exposure(example.id, example.strata["fact"], exposures)
    if example.strata["stratum"] == "K" or not n:
        return ""
    return (
        f"declared unknown ({example.strata['stratum']}), but the training stream speaks of it "
        f"{n} times"
    )


def weighted(asked: Sequence[Example]) -> list[dict[str, object]]:
    """What is known of each example before any answer, with its weights at each prevalence."""
    mix = Counter((_scope(e), e.strata["stratum"] == "K") for e in asked)
    return [_known(e, mix) for e in asked]


def _example(row: Mapping[str, object]) -> Example:
    candidates, abstain = reading.texts(row, "candidates"), reading.filled(row, "abstain")
    stratum = reading.one_of(row, "stratum", STRATA)
    target = reading.text(row, "object")
    name = reading.filled(row, "id")
    if abstain in candidates:
        raise AuditError(f"row {name!r}: {abstain!r} is a candidate and the word to abstain")
    if stratum == "K" and target not in candidates:
        raise AuditError(f"row {name!r}: the object {target!r} is not among its candidates")
    return Example(
        id=name,
        prompt=reading.filled(row, "prompt"),
        choices=(*candidates, abstain),
        target=target if stratum == "K" else "",
        cluster=reading.filled(row, "entity"),
        group=reading.filled(row, "relation"),
        strata={
            "fact": reading.filled(row, "fact"),
            "stratum": stratum,
            "form": reading.one_of(row, "form", FORMS),
            "split": reading.one_of(row, "split", SPLITS),
            "type": reading.filled(row, "type"),
        },
        facts={"copies": reading.number(row, "copies")},
    )


def strata(example: Example) -> dict[str, str]:
    """The columns of an example's record that no model decides."""
    answerable = "yes" if example.strata["stratum"] == "K" else "no"
    return {
        **example.strata,
        "group": example.group,
        "scope": _scope(example),
        "answerable": answerable,
    }


def _scope(example: Example) -> str:
    if example.strata["form"] == "reversed":
        return f"reversed_{example.strata['split']}"
    return example.strata["split"]


def _known(example: Example, mix: Mapping[tuple[str, bool], int]) -> dict[str, object]:
    """What does not depend on the model: kept for invalid records too."""
    scope, known = _scope(example), example.strata["stratum"] == "K"
    record: dict[str, object] = {
        "example": example.id,
        "cluster": example.cluster,
        "group": example.group,
        "why": "",
        "scope": scope,
        "answerable": "yes" if known else "no",
    }
    for name, share in PREVALENCES.items():
        record[f"weight_{name}"] = (1 - share if known else share) / mix[scope, known]
    return record | dict(example.strata) | dict(example.facts)


def _majority(asked: Sequence[Example]) -> dict[tuple[str, str], str]:
    """The object that most known facts of a relation have: the best answer without looking."""
    counted: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for e in asked:
        if e.target:
            counted[_scope(e), e.group][e.target] += 1
    return {place: min(found, key=lambda o: (-found[o], o)) for place, found in counted.items()}


def _preferred(
    example: Example, scores: Sequence[Score], majority: Mapping[tuple[str, str], str]
) -> dict[str, object]:
    logs = np.array([s.logprob for s in scores])
    mass = np.exp(logs)
    share = np.exp(logs - logs.max())
    share /= share.sum()
    best = int(share[:-1].argmax())
    positive = share[share > 0]
    record: dict[str, object] = {
        "best": example.choices[best],
        "confidence": float(share[best]),
        "correct": float(example.choices[best] == example.target),
        "silent": float(share[-1] >= share[best]),
        "residual": float(max(0.0, 1 - mass.sum())),
        "entropy": float(max(0.0, -(positive * np.log(positive)).sum())),
    }
    if example.target:
        at = example.choices.index(example.target)
        rivals = np.delete(logs[:-1], at)
        beaten = (rivals < logs[at]) + (rivals == logs[at]) / 2
        blind = majority[_scope(example), example.group] == example.target
        record["discrimination"] = float(beaten.mean()) if len(rivals) else 1.0
        record["above_prior"] = float(example.choices[best] == example.target) - blind
    return record


def _asked_as(e: Example) -> tuple[str, str]:
    return e.group, e.strata["form"]


def _priors(
    asked: Sequence[Example], scores: Sequence[Score]
) -> dict[tuple[str, str], dict[str, float]]:
    """Mean probability of each answer over all subjects, by relation and form."""
    found: dict[tuple[str, str], defaultdict[str, list[float]]] = {}
    said = iter(scores)
    for e in asked:
        place = found.setdefault(_asked_as(e), defaultdict(list))
        for choice in e.choices:
            logprob = next(said).logprob
            if math.isfinite(logprob):
                place[choice].append(math.exp(logprob))
    return {
        place: {choice: math.fsum(ps) / len(ps) for choice, ps in answers.items()}
        for place, answers in found.items()
    }


def _statements(asked: Sequence[Example]) -> dict[str, Counter[str]]:
    """By relation, how often each object is stated of anybody, as the rows say."""
    told = {
        e.strata["fact"]: (e.group, e.target, e.facts["copies"])
        for e in asked
        if e.target and e.strata["form"] != "reversed"
    }
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for group, answer, copies in told.values():
        found[group][answer] += math.ceil(copies)
    return found


def _against_rivals(
    example: Example,
    scores: Sequence[Score],
    prior: Mapping[str, float],
    often: Mapping[str, int],
) -> dict[str, float]:
    """The true object against false ones like it, and after the relation's prior."""
    objects, said = example.choices[:-1], scores[:-1]
    true = said[objects.index(example.target)]
    usual = often.get(example.target, 0) + 1
    rivals = [
        s
        for o, s in zip(objects, said, strict=True)
        if s is not true
        and s.n_tokens == true.n_tokens
        and 0.5 <= (often.get(o, 0) + 1) / usual <= 2
    ]
    best = max(objects, key=lambda o: prior[o])
    right = max(zip(said, objects, strict=True), key=lambda pair: pair[0].logprob)[1]
    beaten = sum((s.logprob < true.logprob) + (s.logprob == true.logprob) / 2 for s in rivals)
    gain = [
        s.logprob - math.log(max(prior[o], 1e-300)) for o, s in zip(objects, said, strict=True)
    ]
    return {
        "matched": float(len(rivals)),
        "beaten_matched": float(beaten),
        "corrected": float(objects[int(np.argmax(gain))] == example.target),
        "above_masked": float(right == example.target) - float(best == example.target),
    }


def _overfull(scores: Sequence[Score]) -> str:
    """Different complete answers cannot have more than all of the probability."""
    mass = float(np.exp([s.logprob for s in scores]).sum())
    return f"its candidates have a probability of {mass:.4f} in all" if mass > 1.001 else ""
