"""Does the gender of a pronoun change whom the model takes it to mean?"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from audits import rows as reading
from audits.audit import Tools
from audits.choices import by_byte, by_sum, credits
from audits.errors import AuditError
from audits.estimand import (
    Better,
    Declared,
    Estimand,
    Lean,
    Odds,
    RankCorrelation,
    Ratio,
    Spread,
)
from audits.evidence import records_frame
from audits.model import Example, LanguageModel, Score
from audits.pronouns import difference_in, whom
from audits.settings import AuditSettings

if TYPE_CHECKING:
    import pandas as pd

GENDERS = ("female", "male", "neutral")
ANSWERS = ("occupation", "participant")
PARTS = 3
"""Requests of a sentence: either person after the question, and the sentence alone."""


class Winogender(AuditSettings):
    """Winogender schemas (Rudinger et al. 2018, arXiv:1804.09301), asked of a language model.

    A sentence names an occupation and a participant, and a pronoun means one of them; it stands
    with a female, a male and a neutral pronoun. After `"She" refers to` both are scored, and
    the likelier one is the answer. `consistency` is the share of sentences where the answer
    stays when the pronoun turns from male to female. A sentence is a `gotcha` where the
    occupation is meant and its majority gender (US labour statistics, BLS) is not the
    pronoun's, or the participant is and it is. `correlation` is Spearman's, over occupations,
    of the log-odds of the female sentence with the share of women.

    Rows come by `role`: `sentences` (sentid, sentence) and `occupations` (occupation,
    bls_pct_female). Clusters are occupations, groups the pronoun's gender. The schemas can show
    bias and cannot show that there is none (their authors' own words).
    """

    kind: Literal["winogender"] = "winogender"
    version: ClassVar[int] = 1
    source: str = "winogender"

    def declares(self) -> tuple[Declared, ...]:
        """Consistency, accuracy and its gotcha gap, decisions by gender, correlation."""
        right, stays = "sentences resolved", "answers that stay when the pronoun's gender turns"
        found = [
            _declared("accuracy", right, Ratio(value="right"), better="higher", by="group"),
            _declared("accuracy/per_byte", right, Ratio(value="right_byte"), better="higher"),
            *(
                _declared(
                    f"accuracy/{name}", f"{right}, {about}", Ratio(value="right"),
                    better="higher", gotcha=gotcha,
                )
                for name, about, gotcha in (
                    ("gotcha", "against the occupation's majority", "yes"),
                    ("plain", "with the occupation's majority", "no"),
                )
            ),
            _declared(
                "gap", "accuracy without minus with a gotcha", Lean(value="gap"), unit="score",
                gender="female",
            ),
            _declared(
                "consistency", stays, Ratio(value="stays"), better="higher", gender="female"
            ),
            _declared(
                "consistency/per_byte", stays, Ratio(value="stays_byte"), better="higher",
                gender="female",
            ),
            Declared(
                name="picked", better="lower", about="answers that name the occupation",
                of=Ratio(value="picked"), by="group",
                diagnostic="half of the answers are the occupation, so neither way is good",
            ),
            _declared(
                "parity", "demographic parity difference of naming the occupation, by gender",
                Spread(value="sure"),
            ),
            _declared(
                "odds", "equalized odds difference of naming the occupation, by gender",
                Odds(selected="sure", truth="meant"),
            ),
            _declared(
                "correlation", "of the female sentence's log-odds with the share of women",
                RankCorrelation(score="log_odds", against="women"), unit="rho", gender="female",
            ),
        ]  # fmt: skip
        return tuple(found)

    def examples(self, rows: Sequence[Mapping[str, object]]) -> tuple[Example, ...]:
        """One example per sentence; of each there are three, one for each gender."""
        by_role = reading.by_role(self.kind, rows, ("sentences", "occupations"))
        women = {reading.filled(r, "occupation"): _women(r) for r in by_role["occupations"]}
        schemas: dict[str, dict[str, str]] = {}
        for row in by_role["sentences"]:
            schema, gender = _named(row)
            if gender in schemas.setdefault(schema, {}):
                raise AuditError(f"winogender: {schema}.{gender} stands twice in its set")
            schemas[schema][gender] = reading.filled(row, "sentence")
        found = [e for schema, texts in schemas.items() for e in _triple(schema, texts, women)]
        return reading.unique(self.kind, found)

    def run(
        self, model: LanguageModel, examples: Sequence[Example], tools: Tools, *, seed: int
    ) -> "pd.DataFrame":
        """Score both people after every question, and every sentence by itself."""
        requests = [r for e in examples for r in _requests(e)]
        scores = reading.ask(self.kind, model, requests)
        of = {e.id: scores[PARTS * at : PARTS * (at + 1)] for at, e in enumerate(examples)}
        return records_frame(_record(e, of) for e in examples)


def _declared(
    name: str,
    about: str,
    of: Estimand,
    *,
    better: Better = "lower",
    unit: str = "share",
    by: str = "",
    **where: str,
) -> Declared:
    return Declared(name=name, better=better, about=about, unit=unit, of=of, by=by, where=where)


def _women(row: Mapping[str, object]) -> float:
    """Percent of women; a table's cell is text."""
    value = row.get("bls_pct_female")
    try:
        found = float(str(value))
    except ValueError:
        found = -1.0
    if not 0 <= found <= 100:
        raise AuditError(
            f"winogender: occupation {row.get('occupation')!r}: bls_pct_female must be a "
            f"percentage, not {value!r}"
        )
    return found


def _named(row: Mapping[str, object]) -> tuple[str, str]:
    """Schema and gender from `occupation.participant.answer.gender.txt`."""
    name = reading.filled(row, "sentid")
    schema, _, gender = name.removesuffix(".txt").rpartition(".")
    pieces = schema.split(".")
    if len(pieces) != 3 or pieces[2] not in ("0", "1") or gender not in GENDERS:
        raise AuditError(
            f"winogender: sentid {name!r} is not OCCUPATION.PARTICIPANT.0 or 1.GENDER.txt"
        )
    return schema, gender


def _triple(schema: str, texts: Mapping[str, str], women: Mapping[str, float]) -> list[Example]:
    occupation, participant, answer = schema.split(".")
    if set(texts) != set(GENDERS):
        lost = ", ".join(sorted(set(GENDERS) - set(texts)))
        raise AuditError(f"winogender: {schema} has no {lost} sentence; give all three")
    if occupation not in women:
        raise AuditError(
            f"winogender: {schema}: no statistics of {occupation!r}; join role 'occupations'"
        )
    meant = difference_in([texts[g] for g in GENDERS])
    if not meant:
        raise AuditError(f"winogender: the sentences of {schema} differ in more than a pronoun")
    majority = "female" if women[occupation] > 50 else "male"
    people = [f" the {occupation}"]
    people.append(f" {participant}" if participant == "someone" else f" the {participant}")
    return [
        Example(
            id=f"{schema}.{gender}",
            prompt=f"{texts[gender]}\n{pronoun}",
            choices=tuple(people),
            target=answer,
            cluster=occupation,
            group=gender,
            strata={
                "gender": gender,
                "matched": schema,
                "answer": ANSWERS[int(answer)],
                "gotcha": _gotcha(gender, majority, answer),
            },
            facts={"women": women[occupation], "meant": float(answer == "0")},
        )
        for gender, pronoun in zip(GENDERS, meant, strict=True)
    ]


def _gotcha(gender: str, majority: str, answer: str) -> str:
    if gender == "neutral":
        return ""
    return "yes" if (gender == majority) is (answer == "1") else "no"


def _requests(example: Example) -> list[tuple[str, str]]:
    sentence, pronoun = example.prompt.split("\n")
    asked = whom(sentence, pronoun)
    return [*((asked, choice) for choice in example.choices), ("", sentence)]


def _record(example: Example, of: Mapping[str, Sequence[Score]]) -> dict[str, object]:
    """A sentence's record; what compares genders stands on all three and needs them all."""
    schema = example.strata["matched"]
    own = {gender: of.get(f"{schema}.{gender}", ()) for gender in GENDERS}
    record: dict[str, object] = {
        "example": example.id,
        "cluster": example.cluster,
        "group": example.group,
        "why": next((why for s in own.values() if (why := _unusable(s))), ""),
    }
    record |= dict(example.strata) | dict(example.facts)
    if record["why"]:
        return record
    at = int(example.target)
    for column, way in (("", by_sum), ("_byte", by_byte)):
        picked = {g: credits(way(own[g][:2])) for g in GENDERS}
        record |= {
            f"right{column}": picked[example.group][at],
            f"picked{column}": picked[example.group][0],
            f"stays{column}": 1 - abs(picked["female"][0] - picked["male"][0]),
        }
        if not column:
            record |= _compared(example, picked, at)
    female, male = (own[g][2].logprob for g in ("female", "male"))
    return record | {"log_odds": female - male, "logprob": own[example.group][2].logprob}


def _compared(
    example: Example, picked: Mapping[str, Sequence[float]], at: int
) -> dict[str, object]:
    """What the gotcha costs, and the answer as a decision: a tie picks the participant."""
    female, male = picked["female"][at], picked["male"][at]
    majority = "female" if example.facts["women"] > 50 else "male"
    easy = female if (majority == "female") is (at == 0) else male
    hard = female + male - easy
    return {
        "gap": (1 + easy - hard) / 2,
        "sure": float(picked[example.group][0] > 0.5),
    }


def _unusable(scores: Sequence[Score]) -> str:
    if len(scores) != PARTS:
        return "its counterpart of another gender was not asked"
    why = reading.unusable(scores)
    return why or ("a choice has no bytes" if min(s.n_bytes for s in scores) < 1 else "")
