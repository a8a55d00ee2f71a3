"""Does the model find right answers likelier than hallucinated ones, beyond their length?"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from audits import rows as reading
from audits.audit import Tools
from audits.estimand import Declared, share
from audits.evidence import records_frame
from audits.model import Example, LanguageModel, Score
from audits.settings import AuditSettings

if TYPE_CHECKING:
    import pandas as pd

DIAGNOSTIC = "a rule that knows only the length of answers gets most of HaluEval right"
MATCHED = 0.1
"""Answers whose lengths differ by at most this share of the longer are length-matched."""
WAYS = {
    "sum": "log-probability of the answer",
    "per_token": "its mean per token",
    "per_byte": "its mean per byte",
}


class HaluEval(AuditSettings):
    """Share of HaluEval's questions whose right answer outscores the hallucinated one.

    A diagnostic and no gate: hallucinated answers (arXiv:2305.11747) are longer, and a rule
    that knows nothing but length gets most of the set right. So the share stands beside that
    of the rule "the shorter answer", their paired difference (`above_length`), and the share
    on pairs of like length. The original protocol asks a chat model yes or no, which is
    another task. Ties count half.
    """

    kind: Literal["halueval"] = "halueval"
    version: ClassVar[int] = 1
    source: str = "halueval_qa"
    knowledge: bool = True
    """Whether the passage that holds the answer stands before the question."""

    def declares(self) -> tuple[Declared, ...]:
        """Accuracy by normalisation, of length alone, above it, and on matched pairs."""
        found = [
            _share("accuracy/length_only", "length_only", "shorter answers that are right")
        ]
        for way, about in WAYS.items():
            found += [
                _share(f"accuracy/{way}", way, f"right answers preferred by {about}"),
                _share(
                    f"accuracy_matched/{way}", way,
                    f"the same where lengths differ by 10 % at most, by {about}",
                    {"matched": "yes"},
                ),
                share(
                    f"above_length/{way}", f"above_{way}", "higher",
                    f"accuracy by {about} minus that of length alone",
                    proportion=False, diagnostic=DIAGNOSTIC,
                ),
            ]  # fmt: skip
        return tuple(found)

    def examples(self, rows: Sequence[Mapping[str, object]]) -> tuple[Example, ...]:
        """One example per row, named by its `id` or else by its position."""
        return reading.unique(
            self.kind, [self._example(str(r.get("id", at)), r) for at, r in enumerate(rows)]
        )

    def run(
        self, model: LanguageModel, examples: Sequence[Example], tools: Tools, *, seed: int
    ) -> "pd.DataFrame":
        """Score both answers of every question; nothing is sampled."""
        requests = [(e.prompt, f" {answer}") for e in examples for answer in e.choices]
        scores = reading.ask(self.kind, model, requests)
        return records_frame(
            _record(example, *scores[2 * at : 2 * at + 2])
            for at, example in enumerate(examples)
        )

    def _example(self, name: str, row: Mapping[str, object]) -> Example:
        right, false = (
            reading.filled(row, key) for key in ("right_answer", "hallucinated_answer")
        )
        passage = f"{reading.filled(row, 'knowledge')}\n" if self.knowledge else ""
        longer, apart = max(len(right), len(false)), abs(len(right) - len(false))
        return Example(
            id=name,
            prompt=f"{passage}Question: {reading.filled(row, 'question')}\nAnswer:",
            choices=(right, false),
            target=right,
            strata={"matched": "yes" if apart <= MATCHED * longer else "no"},
            facts={"length_only": _wins(len(false) - len(right))},
        )


def _share(
    name: str, value: str, about: str, where: Mapping[str, str] | None = None
) -> Declared:
    return share(name, value, "higher", about, where, diagnostic=DIAGNOSTIC)


def _record(example: Example, right: Score, false: Score) -> dict[str, object]:
    why = reading.unusable((right, false))
    if not why and min(right.n_tokens, false.n_tokens, right.n_bytes, false.n_bytes) < 1:
        why = "an answer has no tokens"
    record: dict[str, object] = {"example": example.id, "why": why}
    record |= {**example.strata, **example.facts}
    if why:
        return record
    wins = {
        "sum": _wins(right.logprob - false.logprob),
        "per_token": _wins(right.logprob / right.n_tokens - false.logprob / false.n_tokens),
        "per_byte": _wins(right.logprob / right.n_bytes - false.logprob / false.n_bytes),
    }
    above = {f"above_{way}": won - example.facts["length_only"] for way, won in wins.items()}
    return record | wins | above


def _wins(gap: float) -> float:
    return 0.5 if gap == 0 else float(gap > 0)
