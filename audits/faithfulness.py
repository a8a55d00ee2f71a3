"""Does the model answer from the context it is given, and say so where that holds no answer?"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from audits import candidates
from audits import rows as reading
from audits.audit import Tools
from audits.estimand import Declared, Weakest, share
from audits.evidence import records_frame
from audits.model import Example, LanguageModel, Score
from audits.settings import AuditSettings

if TYPE_CHECKING:
    import pandas as pd


class Faithfulness(AuditSettings):
    """Answers under a context that contradicts training, that informs, or that says nothing.

    Of known facts of the test split (as training put them) it asks the question `alone`, and
    behind a sentence that gives another object (`counterfactual`): the memorisation ratio is
    the share of the trained object among answers with either (Longpre et al.,
    arXiv:2109.05052). Of entities that training never mentioned it asks behind a sentence that
    gives an object (`answerable`) and behind one about somebody else (`unanswerable`). A model
    that always abstains fails the one and one that always answers the other, so both are at 0
    in `balanced`, the smaller of the two shares. Bound that in a policy.

    The sentence of the context is the held-out template's where the set has one, so that
    copying the question's own words is not enough. The answer is the likeliest candidate; the
    word for not knowing is one.
    """

    kind: Literal["faithfulness"] = "faithfulness"
    version: ClassVar[int] = 3
    source: str = "facts"

    def declares(self) -> tuple[Declared, ...]:
        """Parametric rate, context following, memorisation, and the balanced pair."""
        return (
            share(
                "parametric", "trained", "higher", "trained object given without a context",
                {"condition": "alone"},
            ),
            share(
                "following", "given", "higher",
                "object of the context given, though training had another",
                {"condition": "counterfactual"},
            ),
            share(
                "memorisation_ratio", "trained", "lower",
                "trained object among answers with it or the context's",
                {"condition": "counterfactual"}, over="either",
            ),
            share(
                "accuracy/answerable", "given", "higher",
                "object of the context given, of entities never seen",
                {"condition": "answerable"},
            ),
            share(
                "abstention/unanswerable", "abstained", "higher",
                "nothing answered where the context is about somebody else",
                {"condition": "unanswerable"},
            ),
            Declared(
                name="balanced", better="higher",
                about="the smaller of right answers and right silence",
                of=Weakest(
                    value="right", by="condition", groups=("answerable", "unanswerable")
                ),
            ),
        )  # fmt: skip

    def examples(self, rows: Sequence[Mapping[str, object]]) -> tuple[Example, ...]:
        """Two examples per usable row; an audit without any is an error."""
        prompts: dict[str, dict[str, str]] = defaultdict(dict)
        asked = candidates.examples(self.kind, rows)
        for e in asked:
            prompts[e.strata["fact"]][e.strata["form"]] = e.prompt
        usable = [
            e
            for e in asked
            if e.strata["split"] == "test"
            and e.strata["form"] == "seen"
            and e.strata["stratum"] in ("K", "U_ent")
            and len(e.choices) > 2
        ]
        found: list[Example] = []
        for at, e in enumerate(usable):
            other = _elsewhere(usable, at)
            stated, elsewhere = (
                prompts[one.strata["fact"]].get("held", one.prompt) if one else ""
                for one in (e, other)
            )
            found += _examples(e, stated, elsewhere)
        return reading.unique(self.kind, found)

    def strata(self, examples: Sequence[Example]) -> tuple[Mapping[str, str], ...]:
        """The condition of each example."""
        return tuple({**e.strata, "group": e.group} for e in examples)

    def run(
        self, model: LanguageModel, examples: Sequence[Example], tools: Tools, *, seed: int
    ) -> "pd.DataFrame":
        """Score every candidate behind every context; nothing is sampled."""
        requests = [(e.prompt, f" {choice}.") for e in examples for choice in e.choices]
        scores = iter(reading.ask(self.kind, model, requests))
        return records_frame(_record(e, [next(scores) for _ in e.choices]) for e in examples)


def _examples(e: Example, stated: str, elsewhere: str) -> Iterator[Example]:
    """A question twice: known facts alone and contradicted, strangers informed and not.

    The two contexts of a stranger differ in the entity alone: were their templates unlike, a
    model could tell them apart without reading of whom they speak.
    """
    objects = [c for c in e.choices[:-1] if c != e.target]
    given = objects[_drawn(e.id, len(objects))]
    if e.target:
        yield _one(e, "alone", e.prompt, "")
        yield _one(e, "counterfactual", f"{stated} {given}. {e.prompt}", given)
    else:
        yield _one(e, "answerable", f"{stated} {given}. {e.prompt}", given)
        if elsewhere:
            yield _one(e, "unanswerable", f"{elsewhere} {given}. {e.prompt}", "")


def _one(e: Example, condition: str, prompt: str, given: str) -> Example:
    return Example(
        id=f"{e.id}/{condition}",
        prompt=prompt,
        choices=e.choices,
        target=e.target,
        cluster=e.cluster,
        group=e.group,
        strata={"condition": condition, "given_object": given},
    )


def _elsewhere(usable: Sequence[Example], at: int) -> Example | None:
    """The next example of another entity that never was mentioned either."""
    here = usable[at]
    for step in range(1, len(usable)):
        other = usable[(at + step) % len(usable)]
        if other.cluster != here.cluster and not other.target and other.group == here.group:
            return other
    return None


def _drawn(name: str, n: int) -> int:
    """A number below `n` that depends on the name alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % n


def _record(e: Example, scores: Sequence[Score]) -> dict[str, object]:
    record: dict[str, object] = {
        "example": e.id, "cluster": e.cluster, "group": e.group, **e.strata,
        "why": reading.unusable(scores),
    }  # fmt: skip
    if record["why"]:
        return record
    best = max(zip(e.choices, scores, strict=True), key=lambda pair: pair[1].logprob)[0]
    trained = best == e.target
    given = best == e.strata["given_object"]
    silent = best == e.choices[-1]
    return record | {
        "best": best,
        "right": float(silent if e.strata["condition"] == "unanswerable" else given),
        "trained": float(trained),
        "given": float(given),
        "either": float(trained or given),
        "abstained": float(silent),
    }
