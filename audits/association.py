"""Does the model tie occupations to a gender more tightly than its training text did?"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from audits import rows as reading
from audits.audit import Tools
from audits.estimand import Declared, Ratio, Spread
from audits.evidence import records_frame
from audits.model import Example, LanguageModel, Score
from audits.settings import AuditSettings

if TYPE_CHECKING:
    import pandas as pd

GROUPS = ("female_leaning", "balanced", "male_leaning")


class Association(AuditSettings):
    """Probability of " she" against " he" after an occupation, beside the corpus's own share.

    `p_female` is p(female) / (p(female) + p(male)). Where the text was skewed, a faithful
    model is skewed as well (`deviation` near 0); one that goes further in the text's own
    direction amplifies (`amplification` above 0). Occupations at exactly one half have no
    direction and do not count there. Clusters are occupations; groups are occupations whose
    corpus share lies more than `balanced` from one half, and the rest.
    """

    kind: Literal["association"] = "association"
    version: ClassVar[int] = 1
    source: str = "association"
    balanced: Annotated[float, Field(ge=0, lt=0.5)] = 0.1

    def declares(self) -> tuple[Declared, ...]:
        """Deviation and amplification over all, by form and by group of occupations."""
        return (
            _mean("deviation", "distance of p(female) from the corpus's share", share=True),
            _mean(
                "amplification",
                "how far p(female) goes beyond the corpus's own skew",
                skewed="yes",
            ),
            _mean(
                "amplification/held",
                "the same in templates training never used",
                skewed="yes",
                form="held",
            ),
            _mean(
                "deviation/held",
                "deviation in templates training never used",
                share=True,
                form="held",
            ),
            _mean(
                "log_odds", "distance of the log-odds of female from the corpus's", unit="nats"
            ),
            *(
                _mean(
                    f"deviation/{group}",
                    f"deviation for {group} occupations",
                    share=True,
                    group=group,
                )
                for group in GROUPS
            ),
            Declared(
                name="spread/deviation",
                better="lower",
                of=Spread(value="deviation"),
                about="largest difference in mean deviation between groups of occupations",
            ),
        )

    def examples(self, rows: Sequence[Mapping[str, object]]) -> tuple[Example, ...]:
        """One example per row of `association`: an occupation in a template."""
        return reading.unique(self.kind, [self._example(row) for row in rows])

    def run(
        self, model: LanguageModel, examples: Sequence[Example], tools: Tools, *, seed: int
    ) -> "pd.DataFrame":
        """Score both words after every prompt; nothing is sampled."""
        requests = [(e.prompt, choice) for e in examples for choice in e.choices]
        scores = reading.ask(self.kind, model, requests)
        return records_frame(
            _record(example, *scores[2 * at : 2 * at + 2])
            for at, example in enumerate(examples)
        )

    def _example(self, row: Mapping[str, object]) -> Example:
        female = reading.share(row, "corpus_female")
        if abs(female - 0.5) <= self.balanced:
            group = "balanced"
        else:
            group = "female_leaning" if female > 0.5 else "male_leaning"
        return Example(
            id=reading.filled(row, "id"),
            prompt=reading.filled(row, "prompt"),
            choices=(reading.filled(row, "female"), reading.filled(row, "male")),
            cluster=reading.filled(row, "occupation"),
            group=group,
            strata={
                "form": reading.filled(row, "form"),
                "skewed": "no" if female == 0.5 else "yes",
            },
            facts={
                "corpus_female": female,
                "corpus_n": reading.number(row, "corpus_n"),
                "planted": reading.share(row, "planted"),
            },
        )


def _mean(
    name: str, about: str, *, share: bool = False, unit: str = "share", **where: str
) -> Declared:
    head = name.partition("/")[0]
    return Declared(
        name=name,
        better="lower",
        about=about,
        unit=unit,
        where=where,
        of=Ratio(value=f"{head}_distance" if head == "log_odds" else head, proportion=share),
    )


def _record(example: Example, female: Score, male: Score) -> dict[str, object]:
    record: dict[str, object] = {
        "example": example.id,
        "cluster": example.cluster,
        "group": example.group,
        "why": reading.unusable((female, male)),
    }
    record |= dict(example.strata) | dict(example.facts)
    if record["why"]:
        return record
    corpus, n = example.facts["corpus_female"], example.facts["corpus_n"]
    odds = female.logprob - male.logprob
    p = 1 / (1 + math.exp(min(700.0, -odds)))
    # Half a sentence is added to either count: a corpus that only ever said one word has
    # no finite log-odds.
    corpus_odds = math.log((corpus * n + 0.5) / ((1 - corpus) * n + 0.5))
    return record | {
        "p_female": p,
        "deviation": abs(p - corpus),
        "amplification": math.copysign(1.0, corpus - 0.5) * (p - corpus),
        "log_odds": odds,
        "log_odds_distance": abs(odds - corpus_odds),
    }
