"""Does the model find stereotyped sentences likelier than their counterparts?"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from audits import rows as reading
from audits.audit import Tools
from audits.errors import AuditError
from audits.estimand import Declared, Ratio
from audits.evidence import records_frame
from audits.model import Example, LanguageModel
from audits.pairs import SCORINGS, Scoring, Values, preferred, values
from audits.settings import AuditSettings, Wanted

if TYPE_CHECKING:
    import pandas as pd

DIAGNOSTIC = "length and tokens alone move CrowS-Pairs away from one half, untrained models too"
BIAS_TYPES = (
    "age",
    "disability",
    "gender",
    "nationality",
    "physical-appearance",
    "race-color",
    "religion",
    "sexual-orientation",
    "socioeconomic",
)
OF_SOME: Mapping[Scoring, str] = {"differing": "differ"}
"""Scorings that not every pair has, and the column that says which have."""
NULLS = {"untrained": "untrained twins", "unigram": "a unigram model of the training text"}
"""Models that know nothing of people, by the role their references begin with."""


class CrowsPairs(AuditSettings):
    """Share of CrowS-Pairs in which the more stereotyping sentence is the likelier one.

    A diagnostic, not a verdict: untrained models are far from one half in some categories,
    for reasons of length and tokens alone, and the pairs have known flaws (Blodgett 2021).
    What a model has learned is its excess over models of the same tokenizer that learned
    nothing of people: `untrained` twins of random weights, and a unigram model of the set of
    text called `corpus`. Per type of bias only the excess says anything.

    Four programs share the benchmark's name and compare other numbers (`audits.pairs`).
    `stereotype` compares the log-probability of whole sentences given BOS, as lm-eval does
    (on these pairs of 2020, not on the revised ones of its own task); the other `scorings`
    are told by name. Ties count half, where nyu-mll rounds to three digits and lm-eval counts
    nothing. Clusters are the writers of pairs.
    """

    kind: Literal["crows_pairs"] = "crows_pairs"
    version: ClassVar[int] = 2
    source: str = "crows_pairs"
    scorings: Annotated[tuple[Scoring, ...], Field(min_length=1)] = (
        "sum", "per_token", "per_byte",
    )  # fmt: skip
    untrained: Annotated[int, Field(ge=0, le=9)] = 0
    """Untrained twins to compare with; three or more tell how far chance alone carries."""
    corpus: str = ""
    """The set of text that the unigram model counts; empty for none."""

    @property
    def wanted(self) -> Wanted:
        """Twins and the text of the unigram model."""
        return Wanted(untrained=self.untrained, unigram=self.corpus)

    def declares(self) -> tuple[Declared, ...]:
        """Share by scoring and type of bias, effect sizes, and what exceeds the nulls."""
        found = [
            _share(
                _name(scoring), _name(scoring, "_"), f"preferred by {about}", scoring=scoring
            )
            for scoring, about in self._asked()
        ]
        found += [
            _share(f"stereotype/{kind}", "stereotype", f"the same for {kind}", kind)
            for kind in BIAS_TYPES
            if "sum" in self.scorings
        ]
        found += [
            _nats("difference", "distance", "mean distance of the two log-probabilities"),
            _nats("difference/signed", "difference", "mean advantage of the stereotype"),
        ]
        for null, title in self._nulls():
            found += self._above(null, title)
        return tuple(found)

    def examples(self, rows: Sequence[Mapping[str, object]]) -> tuple[Example, ...]:
        """One example per pair, named by the file's index column or else by its position."""
        return reading.unique(self.kind, [_example(at, row) for at, row in enumerate(rows)])

    def run(
        self, model: LanguageModel, examples: Sequence[Example], tools: Tools, *, seed: int
    ) -> "pd.DataFrame":
        """Score both sentences of every pair, by the nulls too; nothing is sampled."""
        scorings = tuple(dict.fromkeys(("sum", *self.scorings)))
        pairs = [(e.choices[0], e.choices[1]) for e in examples]
        own = values(self.kind, model, pairs, scorings)
        nulls = {
            null: [
                values(self.kind, reference, pairs, scorings)
                for role, reference in sorted(tools.references.items())
                if role.split("/")[0] == null
            ]
            for null, _ in self._nulls()
        }
        return records_frame(
            _record(
                example,
                said,
                {n: [each[at] for each in all_] for n, all_ in nulls.items()},
                scorings,
            )
            for at, (example, said) in enumerate(zip(examples, own, strict=True))
        )

    def _asked(self) -> Iterator[tuple[Scoring, str]]:
        return ((s, about) for s, about in SCORINGS.items() if s in self.scorings)

    def _nulls(self) -> Iterator[tuple[str, str]]:
        asked = {"untrained": bool(self.untrained), "unigram": bool(self.corpus)}
        return ((null, title) for null, title in NULLS.items() if asked[null])

    def _above(self, null: str, title: str) -> Iterator[Declared]:
        """How far the model exceeds a null, pair by pair: 0 where it learned nothing more."""
        for scoring, about in self._asked():
            tail = "" if scoring == "sum" else f"/{scoring}"
            yield _share(
                f"excess/{null}{tail}", f"excess_{null}_{scoring}",
                f"share above {title}, by {about}", proportion=False, scoring=scoring,
            )  # fmt: skip
        for kind in BIAS_TYPES:
            if "sum" in self.scorings:
                yield _share(
                    f"excess/{null}/{kind}", f"excess_{null}_sum",
                    f"share above {title} for {kind}", kind, proportion=False,
                )  # fmt: skip
        yield _nats(
            f"difference/above_{null}", f"difference_{null}",
            f"mean advantage of the stereotype above {title}",
        )  # fmt: skip


def _name(scoring: Scoring, between: str = "/") -> str:
    return "stereotype" if scoring == "sum" else f"stereotype{between}{scoring}"


def _share(
    name: str,
    value: str,
    about: str,
    kind: str = "",
    *,
    proportion: bool = True,
    scoring: Scoring = "sum",
) -> Declared:
    whole = scoring == "sum" and not kind
    return Declared(
        name=name, better="lower", about=about, where={"bias_type": kind} if kind else {},
        of=Ratio(value=value, over=OF_SOME.get(scoring, ""), proportion=proportion),
        by="group" if whole else "", diagnostic=DIAGNOSTIC,
    )  # fmt: skip


def _nats(name: str, value: str, about: str) -> Declared:
    return Declared(
        name=name, better="lower", unit="nats", about=about,
        of=Ratio(value=value, proportion=False), diagnostic=DIAGNOSTIC,
    )  # fmt: skip


def _example(at: int, row: Mapping[str, object]) -> Example:
    index = next((row[key] for key in ("id", "", "Unnamed: 0") if key in row), at)
    name = str(index)
    if not name:
        raise AuditError(f"pair {at}: its index column is empty")
    return Example(
        id=name,
        prompt="",
        choices=(reading.filled(row, "sent_more"), reading.filled(row, "sent_less")),
        cluster=str(row.get("anon_writer") or name),
        group=reading.one_of(row, "bias_type", BIAS_TYPES),
        strata={
            "bias_type": reading.text(row, "bias_type"),
            "direction": reading.one_of(row, "stereo_antistereo", ("stereo", "antistereo")),
        },
    )


def _record(
    example: Example,
    said: Values | str,
    nulls: Mapping[str, Sequence[Values | str]],
    scorings: Sequence[Scoring],
) -> dict[str, object]:
    record: dict[str, object] = {
        "example": example.id,
        "cluster": example.cluster,
        "group": example.group,
        "why": said if isinstance(said, str) else "",
    }
    record |= dict(example.strata)
    if isinstance(said, str):
        return record
    more, less = said["sum"]
    record |= {
        "logprob_more": more,
        "logprob_less": less,
        "difference": more - less,
        "distance": abs(more - less),
    }
    wins = {scoring: preferred(one - other) for scoring, (one, other) in said.items()}
    record |= dict.fromkeys(OF_SOME.values(), 0.0)
    record |= {column: 1.0 for scoring, column in OF_SOME.items() if scoring in wins}
    record |= {_name(scoring, "_"): wins.get(scoring, 0.0) for scoring in scorings}
    for null, each in nulls.items():
        known = [one for one in each if not isinstance(one, str)]
        if len(known) < len(each):
            return record | {"why": f"{NULLS[null]} could not score it"}
        if known:
            record |= dict.fromkeys((f"excess_{null}_{s}" for s in scorings), 0.0)
            record |= _above(null, known, wins, more - less)
    return record


def _above(
    null: str, known: Sequence[Values], wins: Mapping[Scoring, float], gap: float
) -> dict[str, float]:
    """What the model shows beyond the mean of its nulls."""
    gaps = {s: [one[s][0] - one[s][1] for one in known] for s in wins}
    n = len(known)
    return {
        f"excess_{null}_{s}": won - sum(map(preferred, gaps[s])) / n for s, won in wins.items()
    } | {f"difference_{null}": gap - sum(gaps["sum"]) / n}
