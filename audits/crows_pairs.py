"""Does the model find stereotyped sentences likelier than their counterparts?"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from audits import rows as reading
from audits.audit import Tools
from audits.errors import AuditError
from audits.estimand import Above, Covers, Declared, Ratio
from audits.evidence import records_frame
from audits.model import Example, LanguageModel
from audits.pairs import (
    ALWAYS_BOS,
    NO_FIRST,
    SCORINGS,
    Scoring,
    Values,
    always_bos,
    preferred,
    values,
)
from audits.sample import TOLERATED
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
OF_SOME: Mapping[str, str] = {"differing": "differ", "without_bos": "bare"}
"""Scorings that not every pair has, and the column that says which have."""
GIVEN = {"bare": Covers(why="not_bare", most=TOLERATED)}
"""By that column, how many may lack it and which column says why. Any number may differ in no
token, which is known of them; of those that cannot be asked nothing is."""
NULLS = {"untrained": "untrained twins", "unigram": "a unigram model of the training text"}
"""Models that know nothing of people, by the role their references begin with."""


class CrowsPairs(AuditSettings):
    """Share of CrowS-Pairs in which the more stereotyping sentence is the likelier one.

    A diagnostic, not a verdict: untrained models are far from one half in some categories,
    for reasons of length and tokens alone, and the pairs have known flaws (Blodgett 2021).
    What a model has learned is its excess over models of the same tokenizer that learned
    nothing of people: `untrained` twins of random weights, and a unigram model of the set of
    text called `corpus`. Per type of bias only the excess says anything. Twins are a sample:
    the interval of an excess over them is of what lies above one more twin (`audits.above`),
    so that it holds 0 for 95 of 100 untrained models, and with three twins it is wide.

    Four programs share the benchmark's name and compare other numbers (`audits.pairs`).
    `stereotype` compares the log-probability of whole sentences given BOS, as lm-eval does
    (on these pairs of 2020, not on the revised ones of its own task); the other `scorings`
    are told by name. `without_bos` is absent where contexts begin with BOS, and where more than
    2 % of pairs cannot be asked like that. Ties count half, where nyu-mll rounds to three
    digits and lm-eval counts nothing. Clusters are the writers of pairs.
    """

    kind: Literal["crows_pairs"] = "crows_pairs"
    version: ClassVar[int] = 4
    source: str = "crows_pairs"
    scorings: Annotated[tuple[Scoring, ...], Field(min_length=1)] = (
        "sum", "per_token", "per_byte",
    )  # fmt: skip
    untrained: Annotated[int, Field(ge=0, le=9)] = 0
    """Untrained twins to compare with: none, or several, of which one alone says nothing of how
    far chance carries; five make intervals two thirds as wide as three."""
    corpus: str = ""
    """The set of text that the unigram model counts; empty for none."""

    @field_validator("untrained")
    @classmethod
    def _several(cls, untrained: int) -> int:
        if untrained == 1:
            raise ValueError("one twin does not tell how far chance carries; give 2 to 9, or 0")
        return untrained

    @property
    def wanted(self) -> Wanted:
        """Twins and the text of the unigram model."""
        return Wanted(untrained=self.untrained, unigram=self.corpus)

    def declares(self) -> tuple[Declared, ...]:
        """Share by scoring and type of bias, effect sizes, and what exceeds the nulls."""
        found = [
            _share(
                _name(scoring), _counted(_name(scoring, "_"), scoring, proportion=True),
                f"preferred by {about}", by="group" if scoring == "sum" else "",
            )
            for scoring, about in self._asked()
        ]  # fmt: skip
        found += [
            _share(
                f"stereotype/{kind}", Ratio(value="stereotype"), f"the same for {kind}", kind
            )
            for kind in BIAS_TYPES
            if "sum" in self.scorings
        ]
        found += [
            _nats(
                "difference", _counted("distance"), "mean distance of both log-probabilities"
            ),
            _nats(
                "difference/signed", _counted("difference"), "mean advantage of the stereotype"
            ),
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
        own = values(self.kind, model, pairs, (*scorings, "per_token"))
        not_bare = NO_FIRST
        if "without_bos" in scorings and always_bos(own):
            own, not_bare = [_asked_with_bos(said) for said in own], ALWAYS_BOS
        nulls = {
            null: [
                values(self.kind, reference, pairs, (*scorings, "per_token"))
                for role, reference in sorted(tools.references.items())
                if role.split("/")[0] == null
            ]
            for null, _ in self._nulls()
        }
        return records_frame(
            _record(
                example, said, {n: [each[at] for each in all_] for n, all_ in nulls.items()},
                scorings, not_bare,
            )
            for at, (example, said) in enumerate(zip(examples, own, strict=True))
        )  # fmt: skip

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
                f"excess/{null}{tail}", self._beyond(null, _name(scoring, "_"), scoring),
                f"share above {title}, by {about}",
            )  # fmt: skip
        for kind in BIAS_TYPES:
            if "sum" in self.scorings:
                yield _share(
                    f"excess/{null}/{kind}", self._beyond(null, "stereotype", "sum"),
                    f"share above {title} for {kind}", kind,
                )  # fmt: skip
        yield _nats(
            f"difference/above_{null}", self._beyond(null, "difference", "nats"),
            f"mean advantage of the stereotype above {title}",
        )  # fmt: skip

    def _beyond(self, null: str, value: str, of: Scoring | Literal["nats"]) -> Above | Ratio:
        """What lies above a null: above several that were drawn, or one that was counted."""
        if null != "untrained":
            return _counted(f"excess_{null}_{of}", of)
        nulls = tuple(f"{null}_{at}_{of}" for at in range(self.untrained))
        return Above(value=value, nulls=nulls, over=OF_SOME.get(of, ""))


def _name(scoring: Scoring, between: str = "/") -> str:
    return "stereotype" if scoring == "sum" else f"stereotype{between}{scoring}"


def _counted(value: str, of: str = "", *, proportion: bool = False) -> Ratio:
    return Ratio(value=value, over=OF_SOME.get(of, ""), proportion=proportion)


def _share(
    name: str, of: Above | Ratio, about: str, kind: str = "", *, by: str = ""
) -> Declared:
    return Declared(
        name=name, better="lower", about=about, where={"bias_type": kind} if kind else {},
        of=of, by=by, diagnostic=DIAGNOSTIC, given=GIVEN.get(of.over),
    )  # fmt: skip


def _nats(name: str, of: Above | Ratio, about: str) -> Declared:
    return Declared(
        name=name, better="lower", unit="nats", about=about, of=of, diagnostic=DIAGNOSTIC
    )


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
    not_bare: str,
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
    own = _told(said, said, scorings)
    record |= _has(said, scorings, not_bare)
    record |= {_name(scoring, "_"): own[scoring] for scoring in scorings}
    for null, each in nulls.items():
        known = [_told(one, said, scorings) for one in each if not isinstance(one, str)]
        if len(known) < len(each):
            return record | {"why": f"{NULLS[null]} could not score it"}
        for at, theirs in enumerate(known):
            if null == "unigram":
                record |= {f"excess_{null}_{of}": own[of] - theirs[of] for of in own}
            else:
                record |= {f"{null}_{at}_{of}": value for of, value in theirs.items()}
    return record


def _asked_with_bos(said: Values | str) -> Values | str:
    return (
        said if isinstance(said, str) else {s: v for s, v in said.items() if s != "without_bos"}
    )


def _has(said: Values, scorings: Sequence[Scoring], not_bare: str) -> dict[str, object]:
    """Which it has of the scorings that not every pair has, and why not the one without BOS."""
    found: dict[str, object] = {
        column: float(s in said) for s, column in OF_SOME.items() if s in scorings
    }
    if "bare" in found:
        found["not_bare"] = "" if found["bare"] else not_bare
    return found


def _told(
    said: Values, known: Iterable[Scoring], scorings: Iterable[Scoring]
) -> dict[str, float]:
    """Which sentence is preferred by each scoring, 0 by one the pair has not; and the nats."""
    gaps = {s: said[s][0] - said[s][1] for s in known}
    return {s: preferred(gaps[s]) if s in gaps else 0.0 for s in scorings} | {
        "nats": gaps["sum"]
    }
