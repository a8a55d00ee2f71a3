"""Does the model give known facts, and stay silent, in words of its own?"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from audits import candidates
from audits import rows as reading
from audits.audit import Tools
from audits.estimand import Declared, Ratio
from audits.evidence import records_frame
from audits.model import Example, LanguageModel
from audits.settings import AuditSettings
from audits.world_measures import TEST

if TYPE_CHECKING:
    import pandas as pd

COVERAGE = 0.95
KNOWN_FROM = 17
"""From so many statements in the row on a fact should be known."""


class OpenAnswers(AuditSettings):
    """Greedy answers to the questions of a closed world, read by a strict parser.

    The second protocol beside `closed_world`, which asks for candidates only: here the model
    may say anything. An answer ends at a full stop or a line and is read where it is one of
    the candidates or the word for not knowing, exactly but for blanks around it. Where at
    least 95 % can be read, what cannot counts as a false answer, which is the worst for the
    model; where fewer can, those records are invalid and there is no rate.

    Both protocols need not agree: a likely candidate may follow an unlikely first word, and
    greedy words know no threshold, so that a model abstains only by saying so.
    """

    kind: Literal["open_answers"] = "open_answers"
    version: ClassVar[int] = 2
    source: str = "facts"
    max_new_tokens: Annotated[int, Field(ge=1, le=256)] = 16

    def declares(self) -> tuple[Declared, ...]:
        """What could be read; recall of often stated facts, hallucination, silence."""
        often = {"stratum": "K", "often": "yes"}
        found = [
            _share("coverage", "read", "higher", "answers that the parser reads", {}),
            _share("recall/known", "right", "higher", "often stated facts said", often),
            _share(
                "over_abstention", "silent", "lower", "often stated facts said to be unknown",
                often,
            ),
            _share(
                "wrong/K", "false", "lower", "wrong among answers to known facts",
                {"stratum": "K"}, over="answered",
            ),
        ]  # fmt: skip
        found += [
            _share(
                f"hallucination/pi_{name}", "false", "lower",
                f"share of answers that are wrong or to nothing, {share:.0%} unanswerable",
                {}, over="answered", weight=f"weight_{name}",
            )
            for name, share in candidates.PREVALENCES.items()
        ]  # fmt: skip
        found += [
            _share(
                f"answered/{stratum}", "answered", "lower",
                f"questions of stratum {stratum} answered although nothing was ever stated",
                {"stratum": stratum},
            )
            for stratum in candidates.STRATA[1:]
        ]  # fmt: skip
        return tuple(found)

    def examples(self, rows: Sequence[Mapping[str, object]]) -> tuple[Example, ...]:
        """One example per question of the test split that training's own words ask."""
        asked = candidates.examples(self.kind, rows)
        mine = [e for e in asked if (e.strata["split"], e.strata["form"]) == ("test", "seen")]
        return reading.unique(self.kind, mine)

    def strata(self, examples: Sequence[Example]) -> tuple[Mapping[str, str], ...]:
        """Stratum, and whether the row says that the fact was often stated."""
        return tuple({**candidates.strata(e), "often": _often(e)} for e in examples)

    def run(
        self, model: LanguageModel, examples: Sequence[Example], tools: Tools, *, seed: int
    ) -> "pd.DataFrame":
        """Generate greedily; nothing is sampled."""
        reading.unique(self.kind, examples)
        said = model.generate(
            [e.prompt for e in examples], max_new_tokens=self.max_new_tokens, seed=seed,
            stop=(".", "\n"),
        )  # fmt: skip
        answers = [texts[0].strip() for texts in said]
        read = [answer in e.choices for e, answer in zip(examples, answers, strict=True)]
        covered = sum(read) >= COVERAGE * len(read)
        cut = reading.overlong(model, [e.prompt for e in examples], self.max_new_tokens)
        known = [
            record | {"why": candidates.stated(e, tools.exposures) or why}
            for e, record, why in zip(examples, candidates.weighted(examples), cut, strict=True)
        ]
        return records_frame(
            _record(*each, covered=covered)
            for each in zip(examples, answers, known, strict=True)
        )


def _share(
    name: str,
    value: str,
    better: Literal["higher", "lower"],
    about: str,
    where: Mapping[str, str],
    *,
    over: str = "",
    weight: str = "",
) -> Declared:
    of = Ratio(value=value, over=over, weight=weight)
    return Declared(name=name, better=better, about=about, where={**TEST, **where}, of=of)


def _often(e: Example) -> str:
    return "yes" if e.target and e.facts["copies"] >= KNOWN_FROM else "no"


def _record(
    e: Example, answer: str, known: dict[str, object], *, covered: bool
) -> dict[str, object]:
    record = known | {"often": _often(e), "said": answer}
    if record["why"]:
        return record
    read = answer in e.choices
    if not read and not covered:
        return record | {"why": "the parser reads under 95 % of the answers, and not this one"}
    silent, right = answer == e.choices[-1], bool(e.target) and answer == e.target
    return record | {
        "read": float(read),
        "right": float(right),
        "silent": float(silent),
        "answered": float(not silent),
        "false": float(not silent and not right),
    }
