"""Can the model's wrong answers be told without knowing the truth?"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from audits import candidates, consistency
from audits import rows as reading
from audits.audit import Entailment, Tools
from audits.errors import AuditError
from audits.estimand import Auroc, Declared, Ratio, RiskCoverage
from audits.evidence import records_frame
from audits.model import Example, LanguageModel, Score
from audits.settings import AuditSettings, Beside, Wanted

if TYPE_CHECKING:
    import pandas as pd

DETECTORS = {
    "semantic_entropy": "entropy of the meanings of samples",
    "semantic_entropy_rao": "entropy of meanings weighed by likelihood",
    "selfcheck": "mean surprise of the answer's words among samples (SelfCheck, 1-gram)",
    "p_true": "1 minus the probability the model gives to its answer being true",
}
LENGTH = "length"
BINS = {"1-4": 4, "5-8": 8, "9-up": None}
"""Characters of the answer by the name of their bin, with its last count."""
PTRUE = "{question}{answer}.\nIs this:\n(A) {a}\n(B) {b}\nThe answer is: ("


class Uncertainty(AuditSettings):
    """Detectors of wrong answers that look at the model alone, beside length as the baseline.

    Each question is answered greedily, then `samples` times at `temperature`; an answer ends at
    a full stop or a line. It is right where it is the object by exact normalised match, or the
    word for not knowing where nothing is known. Detectors: discrete semantic entropy and its
    likelihood-weighted form (Farquhar et al. 2024), SelfCheck's n-gram surprise
    (arXiv:2303.08896), and P(True) over the letters of both orders of true and false (Kadavath
    et al., arXiv:2207.05221). Each is measured as AUROC and AUGRC for wrong answers, and
    against the answer's length alone: lengths sway judges and detectors alike (Santilli et al.
    2025). So AUROC is also given among answers of like length, where length knows little.

    P(True) is meaningless for models that cannot do the task at all, as those that answer by
    the option's position: where its AUROC is not surely above one half it is absent.

    Two samples mean the same by exact normalised match; or, with `nli`, where a model of
    inference in that folder (safetensors) finds that each entails the other.
    """

    kind: Literal["uncertainty"] = "uncertainty"
    version: ClassVar[int] = 4
    source: str = "facts"
    samples: Annotated[int, Field(ge=2, le=100)] = 10
    temperature: Annotated[float, Field(gt=0, le=2)] = 1.0
    max_new_tokens: Annotated[int, Field(ge=1, le=256)] = 12
    limit: Annotated[int, Field(ge=10)] = 400
    """Questions at most, spread evenly over the test split."""
    nli: str = ""
    """Folder of a model for natural language inference; empty: exact match."""
    nli_digest: str = ""
    """Content hash of that model, so that equal settings ask the same one."""

    @property
    def wanted(self) -> Wanted:
        """The model of inference, where the settings name one."""
        return Wanted(entailment=Beside(self.nli, self.nli_digest) if self.nli else None)

    def declares(self) -> tuple[Declared, ...]:
        """Accuracy, and each detector's AUROC and AUGRC, alone and against length."""
        found = [
            Declared(
                name="accuracy", better="higher", about="greedy answers that are right",
                of=Ratio(value="right"),
            )
        ]  # fmt: skip
        for name in (*DETECTORS, LENGTH):
            about = DETECTORS.get(name, "characters of the answer, which knows nothing")
            found += _detector(name, about, against="")
            if name != LENGTH:
                found += _detector(name, about, against=LENGTH)
                found += _of_like_length(name, about)
        return tuple(found)

    def examples(self, rows: Sequence[Mapping[str, object]]) -> tuple[Example, ...]:
        """One example per question of the test split in the form `seen`."""
        asked = [
            e
            for e in candidates.examples(self.kind, rows)
            if (e.strata["split"], e.strata["form"]) == ("test", "seen")
        ]
        return reading.unique(self.kind, self._spread(asked))

    def strata(self, examples: Sequence[Example]) -> tuple[Mapping[str, str], ...]:
        """Stratum of each question."""
        return tuple({"stratum": e.strata["stratum"], "group": e.group} for e in examples)

    def run(
        self, model: LanguageModel, examples: Sequence[Example], tools: Tools, *, seed: int
    ) -> "pd.DataFrame":
        """Answer, sample, and ask the model of its answers; drawn by `seed` and prompt."""
        reading.unique(self.kind, examples)
        prompts = [e.prompt for e in examples]
        said = [texts[0] for texts in self._answers(model, prompts, seed)]
        drawn = self._answers(model, prompts, seed, self.temperature, self.samples)
        asked = [
            (prompt, _spoken(text))
            for prompt, texts in zip(prompts, drawn, strict=True)
            for text in texts
        ]
        scores = reading.ask(self.kind, model, asked)
        means = np.array([s.logprob / max(1, s.n_tokens) for s in scores])
        likely = means.reshape(len(prompts), self.samples)
        letters = _letters(self.kind, model, prompts, said)
        same = self._same(prompts, drawn, tools.entailment)
        cut = reading.overlong(model, prompts, self.max_new_tokens)
        own = [scores[at : at + self.samples] for at in range(0, len(scores), self.samples)]
        whole = [
            why or (reading.TRUNCATED if any(s.truncated for s in (*mine, *four)) else "")
            for why, mine, four in zip(cut, own, letters, strict=True)
        ]
        true = [_p_true(*four) for four in letters]
        together = zip(examples, whole, said, drawn, likely, true, same, strict=True)
        return records_frame(_record(*each) for each in together)

    def _same(
        self,
        prompts: Sequence[str],
        drawn: Sequence[Sequence[str]],
        model: Entailment | None,
    ) -> list[consistency.Same]:
        """What counts as the same answer to each question."""
        if not self.nli:
            return [consistency.exactly] * len(prompts)
        if model is None:
            raise AuditError(f"{self.kind}: no model of inference was given for {self.nli!r}")
        stated = [
            {text: f"{prompt}{text}." for text in texts}
            for prompt, texts in zip(prompts, drawn, strict=True)
        ]
        pairs = [(a, b) for each in stated for a in each.values() for b in each.values()]
        yes = dict(zip(pairs, model.entails(pairs), strict=True))
        return [_entailed(each, yes) for each in stated]

    def _answers(
        self,
        model: LanguageModel,
        prompts: Sequence[str],
        seed: int,
        temperature: float = 0.0,
        n: int = 1,
    ) -> list[list[str]]:
        return model.generate(
            prompts, max_new_tokens=self.max_new_tokens, seed=seed, temperature=temperature,
            n=n, stop=(".", "\n"),
        )  # fmt: skip

    def _spread(self, asked: Sequence[Example]) -> list[Example]:
        """At most `limit` of them, evenly over their order."""
        if len(asked) <= self.limit:
            return list(asked)
        at = np.linspace(0, len(asked) - 1, self.limit).round().astype(int)
        return [asked[i] for i in at]


def _entailed(
    stated: Mapping[str, str], yes: Mapping[tuple[str, str], bool]
) -> consistency.Same:
    """Whether the statement of one answer entails that of another."""
    return lambda one, other: yes[stated[one], stated[other]]


def _detector(name: str, about: str, *, against: str) -> Iterator[Declared]:
    """AUROC of the uncertainty for wrong answers, AUGRC of its negative as a confidence."""
    tail = f"{name}/above_{against}" if against else name
    more = f", minus that of {against} alone" if against else ""
    given = Auroc(score=name, label="wrong") if name == "p_true" else None
    yield Declared(
        name=f"auroc/{tail}", better="higher", about=f"wrong answers told by {about}{more}",
        of=Auroc(score=name, label="wrong", against=against), given=given,
    )  # fmt: skip
    yield Declared(
        name=f"augrc/{tail}", better="lower", unit="score",
        about=f"undetected wrong answers by {about}{more}",
        of=RiskCoverage(
            confidence=f"sure_{name}", correct="right",
            against=f"sure_{against}" if against else "",
        ),
        given=given,
    )  # fmt: skip


def _of_like_length(name: str, about: str) -> Iterator[Declared]:
    """AUROC among the answers of each bin of length."""
    of = Auroc(score=name, label="wrong")
    for size in BINS:
        yield Declared(
            name=f"auroc/{name}/length_{size}", better="higher", of=of,
            about=f"wrong answers of {size} characters told by {about}",
            where={"length_bin": size}, given=of if name == "p_true" else None,
        )  # fmt: skip


def bin_of(text: str) -> str:
    """Name of the bin that an answer's length falls in.

    >>> bin_of("cat"), bin_of("banana"), bin_of("in the house")
    ('1-4', '5-8', '9-up')
    """
    return next(name for name, end in BINS.items() if end is None or len(text) <= end)


def _spoken(text: str) -> str:
    """A continuation that is never empty."""
    return text if text.strip() else " ."


def _letters(
    kind: str, model: LanguageModel, prompts: Sequence[str], said: Sequence[str]
) -> list[list[Score]]:
    """For each answer: A and B where A is true, then A and B where B is."""
    requests = [
        (PTRUE.format(question=p, answer=text, a=a, b=b), letter)
        for p, text in zip(prompts, said, strict=True)
        for a, b in (("True", "False"), ("False", "True"))
        for letter in ("A", "B")
    ]
    scores = iter(reading.ask(kind, model, requests))
    return [[next(scores) for _ in range(4)] for _ in said]


def _p_true(a: Score, b: Score, c: Score, d: Score) -> float:
    """Probability of "true" over both letters, averaged over both orders of the choices."""
    straight, turned = a.logprob - b.logprob, d.logprob - c.logprob
    return (_logistic(straight) + _logistic(turned)) / 2


def _logistic(x: float) -> float:
    return float(np.exp(-np.logaddexp(0.0, -x))) if np.isfinite(x) else float("nan")


def _record(
    e: Example,
    why: str,
    said: str,
    drawn: Sequence[str],
    likely: "np.ndarray",
    true: float,
    same: consistency.Same,
) -> dict[str, object]:
    record: dict[str, object] = {
        "example": e.id, "cluster": e.cluster, "group": e.group, "why": why,
        "stratum": e.strata["stratum"], "said": said.strip(),
    }  # fmt: skip
    if why:
        return record
    if not (np.isfinite(likely).all() and np.isfinite(true)):
        return record | {"why": "a log-probability is not finite"}
    meaning = consistency.clusters(drawn, same)
    right = bool(e.target) and consistency.exactly(said, e.target)
    silent = not e.target and consistency.exactly(said, e.choices[-1])
    words = consistency.normalised(said).split() or [""]
    others = [[consistency.normalised(text).split() or [""]] for text in drawn]
    values = {
        "semantic_entropy": consistency.discrete_entropy(meaning),
        "semantic_entropy_rao": consistency.rao_entropy(meaning, likely.tolist()),
        "selfcheck": consistency.ngram_surprise([words], others)[0][0],
        "p_true": 1 - true,
        LENGTH: float(len(said.strip())),
    }
    good = float(right or silent)
    record["length_bin"] = bin_of(said.strip())
    return record | values | {f"sure_{k}": -v for k, v in values.items()} | {
        "right": good, "wrong": 1 - good,
    }  # fmt: skip
