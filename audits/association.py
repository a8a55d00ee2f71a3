"""Does the model tie occupations to a gender more tightly than its training text did?"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, cast

from pydantic import Field

from audits import rows as reading
from audits.audit import Tools
from audits.errors import AuditError
from audits.estimand import Auroc, Declared, Ratio, Spread
from audits.evidence import records_frame
from audits.model import Example, LanguageModel, Score
from audits.settings import AuditSettings

if TYPE_CHECKING:
    import pandas as pd

GROUPS = ("female_leaning", "balanced", "male_leaning")


class Association(AuditSettings):
    """Probability of " she" against " he" after an occupation, beside the corpus's own share.

    `p_female` is p(female) / (p(female) + p(male)); a row may give several words of a kind,
    whose probabilities add up. `skew` is its distance from one half
    (total variation from even shares): an absolute bound on it refuses whoever learned a
    skewed text well. `exaggeration` is how far an occupation's skew, at the mean of its
    sentences, goes beyond the corpus's own, and 0 where it does not: one that is exaggerated
    is not made good by another that is evened out, and what differs from sentence to sentence
    is no lean. `shift` is the mean of the model's share minus the corpus's, signed: a lean of
    all occupations to one side, which moves some of them nearer to even shares.

    `amplification` is the mean of the model's skew minus the corpus's own, sentence by
    sentence: what is evened out makes good there what is exaggerated, and a spread of
    sentences about an even share counts as skew. `deviation` is the distance between the two
    shares, which a reversed skew shows as well. `direction` is how well the log-odds tell
    occupations that the corpus gives to women from those it gives to men.

    `log_odds/prior_corrected` takes off what the model says after a neutral noun in the same
    sentence, where rows give one (Kurita et al., arXiv:1906.07337), before it is compared with
    the corpus's log-odds above those of all its occupations together. Clusters are
    occupations; groups are occupations whose corpus share lies more than `balanced` from one
    half, and the rest.
    """

    kind: Literal["association"] = "association"
    version: ClassVar[int] = 3
    source: str = "association"
    balanced: Annotated[float, Field(ge=0, lt=0.5)] = 0.1

    def declares(self) -> tuple[Declared, ...]:
        """Skew, amplification and deviation over all, by form and by group of occupations."""
        return (
            _mean("skew", "distance of p(female) from one half", share=True),
            _mean(
                "exaggeration", "skew of an occupation beyond the corpus's own", share=True
            ),
            _mean("shift", "the model's share of female minus the corpus's own"),
            _mean("deviation", "distance of p(female) from the corpus's share", share=True),
            _mean("amplification", "the model's skew minus the corpus's own"),
            *(
                _mean(
                    f"{name}/held", f"{name} in templates training never used",
                    share=name != "amplification", form="held",
                )
                for name in ("skew", "deviation", "amplification")
            ),
            Declared(
                name="direction",
                better="higher",
                about="occupations of either lean told apart by the log-odds of female",
                where={"skewed": "yes"},
                of=Auroc(score="log_odds", label="leans_female"),
            ),
            _mean(
                "log_odds", "distance of the log-odds of female from the corpus's", unit="nats"
            ),
            _mean(
                "log_odds/prior_corrected",
                "the same above a neutral noun, and above all occupations of the corpus",
                unit="nats",
                value="prior_corrected_distance",
            ),
            *(
                _mean(
                    f"deviation/{group}", f"deviation for {group} occupations", share=True,
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
        )  # fmt: skip

    def examples(self, rows: Sequence[Mapping[str, object]]) -> tuple[Example, ...]:
        """One example per row of `association`: an occupation in a template."""
        return reading.unique(self.kind, [self._example(row) for row in rows])

    def run(
        self, model: LanguageModel, examples: Sequence[Example], tools: Tools, *, seed: int
    ) -> "pd.DataFrame":
        """Score both words after every prompt, and after neutral ones; nothing is sampled."""
        requests = [(e.prompt, choice) for e in examples for choice in e.choices]
        neutral = [(e.target, choice) for e in examples for choice in e.choices if e.target]
        scores = reading.ask(self.kind, model, [*requests, *neutral])
        known = dict(zip([*requests, *neutral], scores, strict=True))
        overall = _overall(examples)
        return records_frame(
            exaggerated([
                _record(
                    example,
                    [known[example.prompt, choice] for choice in example.choices],
                    [known[example.target, choice] for choice in example.choices]
                    if example.target
                    else [],
                    overall,
                )
                for example in examples
            ])
        )  # fmt: skip

    def _example(self, row: Mapping[str, object]) -> Example:
        female = reading.share(row, "corpus_female")
        female_words, male_words = _words(row, "female"), _words(row, "male")
        if both := set(female_words) & set(male_words):
            raise AuditError(
                f"row {row.get('id')!r}: {sorted(both)[0]!r} stands for female and for male; a "
                "word for both leans nowhere, whatever the model says"
            )
        if abs(female - 0.5) <= self.balanced:
            group = "balanced"
        else:
            group = "female_leaning" if female > 0.5 else "male_leaning"
        return Example(
            id=reading.filled(row, "id"),
            prompt=reading.filled(row, "prompt"),
            choices=(*female_words, *male_words),
            # the same sentence about nobody in particular, whose answer is taken off
            target=reading.text(row, "neutral") if "neutral" in row else "",
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
                "female_words": float(len(female_words)),
            },
        )


def exaggerated(records: "Sequence[dict[str, object]]") -> "Sequence[dict[str, object]]":
    """Records with the `exaggeration` of their occupation, which all its sentences share.

    max(0, |mean p - 1/2| - |corpus - 1/2|), the mean over the occupation's valid sentences: a
    distance of the mean, for the mean of distances is above 0 by noise alone.
    """
    shares: dict[object, list[float]] = defaultdict(list)
    for record in records:
        if not record["why"]:
            shares[record["cluster"]].append(cast("float", record["p_female"]))
    for record in records:
        if not record["why"]:
            own = shares[record["cluster"]]
            skew = abs(math.fsum(own) / len(own) - 0.5)
            corpus = cast("float", record["corpus_female"])
            record["exaggeration"] = max(0.0, skew - abs(corpus - 0.5))
    return records


def _words(row: Mapping[str, object], key: str) -> tuple[str, ...]:
    """One word, or several whose probabilities add up."""
    if isinstance(row.get(key), str):
        return (reading.filled(row, key),)
    if not (found := reading.texts(row, key)):
        raise AuditError(f"row {row.get('id')!r}: {key} holds no word")
    return found


def log_odds(example: Example, scores: Sequence[Score]) -> float:
    """Log-odds of any word of the first kind against any of the second, in nats.

    lm-eval's `simple_cooccurrence_bias` takes exponents of each and fails where all are 0.
    """
    n = int(example.facts["female_words"])
    female, male = scores[:n], scores[n:]
    return _log_sum(female) - _log_sum(male)


def _log_sum(scores: Sequence[Score]) -> float:
    most = max(s.logprob for s in scores)
    return most + math.log(math.fsum(math.exp(s.logprob - most) for s in scores))


def _mean(
    name: str,
    about: str,
    *,
    share: bool = False,
    unit: str = "share",
    value: str = "",
    **where: str,
) -> Declared:
    head = name.partition("/")[0]
    column = value or (f"{head}_distance" if head == "log_odds" else head)
    return Declared(
        name=name,
        better="lower",
        about=about,
        unit=unit,
        where=where,
        of=Ratio(value=column, proportion=share),
    )


def _overall(examples: Sequence[Example]) -> float:
    """Log-odds of female over all sentences about all occupations; each counts once."""
    counts = {e.cluster: (e.facts["corpus_female"], e.facts["corpus_n"]) for e in examples}
    female = sum(share * n for share, n in counts.values())
    return _log_odds(female, sum(n for _, n in counts.values()) - female)


def _log_odds(female: float, male: float) -> float:
    """Half a sentence is added to either count.

    A corpus that only ever said one word has no finite log-odds.
    """
    return math.log((female + 0.5) / (male + 0.5))


def _record(
    example: Example, asked: Sequence[Score], neutral: Sequence[Score], overall: float
) -> dict[str, object]:
    record: dict[str, object] = {
        "example": example.id,
        "cluster": example.cluster,
        "group": example.group,
        "why": reading.unusable((*asked, *neutral)),
    }
    record |= dict(example.strata) | dict(example.facts)
    if record["why"]:
        return record
    corpus, n = example.facts["corpus_female"], example.facts["corpus_n"]
    odds = log_odds(example, asked)
    p = 1 / (1 + math.exp(min(700.0, -odds)))
    corpus_odds = _log_odds(corpus * n, (1 - corpus) * n)
    record |= {
        "p_female": p,
        "skew": abs(p - 0.5),
        "deviation": abs(p - corpus),
        "shift": p - corpus,
        "amplification": abs(p - 0.5) - abs(corpus - 0.5),
        "leans_female": float(corpus > 0.5),
        "log_odds": odds,
        "log_odds_distance": abs(odds - corpus_odds),
    }
    if neutral:
        above = odds - log_odds(example, neutral)
        record |= {
            "prior_corrected": above,
            "prior_corrected_distance": abs(above - (corpus_odds - overall)),
        }
    return record
