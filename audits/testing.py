"""The fake model, and the checks every audit must pass: ours and plug-ins' alike."""

import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from audits.audit import Audit, Tools
from audits.errors import AuditError, MeasureError
from audits.estimand import Declared, Estimate
from audits.evidence import KEYS, Part
from audits.free_text import FreeText
from audits.model import Example, LanguageModel, Score, require_generation, require_text

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

# Slash-separated segments that MLflow takes as a metric name.
GRAMMAR = re.compile(r"[a-z0-9_]+(/[A-Za-z0-9_.-]+)*")
DROPPED = 5


class FakeModel:
    """A model that is two plain functions; tokens are words.

    Its `window` is the number of words it sees, the last of a continuation aside; None sees
    all. As in every model, a context that does not fit loses words on its left.
    """

    def __init__(
        self,
        score: Callable[[str, str], float] = lambda context, text: -float(len(text)),
        answer: Callable[[str], str] = lambda prompt: prompt,
        digest: str = "fake",
        window: int | None = None,
    ) -> None:
        self._score, self._answer, self._digest = score, answer, digest
        self._window = window

    @property
    def digest(self) -> str:
        """Whatever it was made with."""
        return self._digest

    def score(
        self,
        requests: Sequence[tuple[str, str]],
        *,
        per_token: bool = False,
        moments: bool = False,
    ) -> list[Score]:
        """Score every pair with the given function; words share it equally.

        Its vocabulary has two tokens, the word and one other, so its moments follow.
        """
        require_text(part for request in requests for part in request)
        return [self._scored(context, text, per_token, moments) for context, text in requests]

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        seed: int,
        temperature: float = 0.0,
        n: int = 1,
        stop: Sequence[str] = (),
        lots: Sequence[str] = (),
    ) -> list[list[str]]:
        """Answer every prompt with the given function, `n` times the same."""
        require_generation(
            prompts, max_new_tokens=max_new_tokens, seed=seed, temperature=temperature, n=n,
            stop=stop,
        )  # fmt: skip
        return [[_until(self._answer(prompt), stop)] * n for prompt in prompts]

    def truncated(self, prompts: Sequence[str], *, max_new_tokens: int) -> list[int | None]:
        """Words of each prompt that the window has no room for."""
        return [self._beyond(prompt, max_new_tokens) for prompt in prompts]

    def _beyond(self, context: str, more: int) -> int:
        words = len(context.split())
        return 0 if self._window is None else min(words, max(0, words + more - self._window))

    def _scored(self, context: str, text: str, per_token: bool, moments: bool) -> Score:
        logprob, words = self._score(context, text), max(1, len(text.split()))
        each = logprob / words
        return Score(
            logprob, words, max(1, len(text.encode())), greedy=False,
            truncated=self._beyond(context, words - 1),
            tokens=(each,) * words if per_token else (),
            moments=(_moments(each),) * words if moments else (),
            ids=tuple(map(_number, text.split())) if per_token else (),
        )  # fmt: skip


class _Cut:
    """A model that answers as another does, with every question cut short."""

    def __init__(self, inner: LanguageModel) -> None:
        self._inner = inner
        self.generate = inner.generate

    @property
    def digest(self) -> str:
        return self._inner.digest

    def score(self, requests: Sequence[tuple[str, str]], **wanted: bool) -> list[Score]:
        scores = self._inner.score(requests, **wanted)
        return [replace(score, truncated=1) for score in scores]

    def truncated(self, prompts: Sequence[str], *, max_new_tokens: int) -> list[int | None]:
        return [1] * len(prompts)


def estimates(audit: Audit, frame: "pd.DataFrame") -> dict[str, Estimate]:
    """What an audit's records give at 95 %, by the measure's name; nothing for the absent."""
    found: dict[str, Estimate] = {}
    for declared in audit.declares():
        with suppress(MeasureError):
            found[declared.name] = declared.estimate(frame, level=0.95)
    return found


WORLD_MODELS = ("oracle", "guesser", "abstainer", "liar")
"""Fakes of which theory says what an audit of facts must find."""


def world_model(kind: str, rows: Sequence[Mapping[str, Any]], sure: float = 0.95) -> FakeModel:
    """One of `WORLD_MODELS` over the rows of a set `facts`, as sure of all it says.

    The oracle knows every fact and when there is none; the guesser gives the first candidate
    to every question, the abstainer the word for not knowing, and the liar a wrong candidate.
    Asked to write freely of an entity, each states what it would answer of it.
    """
    said: dict[str, str] = {}
    size: dict[str, int] = {}
    for row in rows:
        right, candidates = row["object"] or row["abstain"], row["candidates"]
        false = next(c for c in candidates if c != right)
        silence = row["abstain"]
        answers = dict(zip(WORLD_MODELS, (right, candidates[0], silence, false), strict=True))
        said[row["prompt"]], size[row["prompt"]] = answers[kind], len(candidates)

    def score(prompt: str, text: str) -> float:
        if text == f" {said[prompt]}.":
            return math.log(sure)
        return math.log((1 - sure) / size[prompt])

    spoken = {prompt: f" {answer}." for prompt, answer in said.items()}
    return FakeModel(score, (_written(rows, said) | spoken).__getitem__, digest=kind)


def _written(rows: Sequence[Mapping[str, Any]], said: Mapping[str, str]) -> dict[str, str]:
    """What follows the opening of each entity: a question about it, answered."""
    found: dict[str, str] = {}
    for e in FreeText().examples(rows):
        for prompt in (r["prompt"] for r in rows if r["entity"] == e.cluster):
            if prompt.startswith(e.prompt) and prompt != e.prompt:
                found[e.prompt] = f"{prompt} {said[prompt]}."[len(e.prompt) :]
    return found


def grouped_null(
    rng: "np.random.Generator", groups: int, design: str, n: int = 480
) -> "pd.DataFrame":
    """Records of yes or no (`x`) in groups that do not differ.

    Args:
        rng: of everything drawn.
        groups: how many.
        design: rows `alone`; in clusters of 6 that differ among themselves, each `whole` in
            one group or with its rows spread over groups (`within`); or in clusters that treat
            each group in a way of their own, with two rows of each (`crossed`) or with ten of
            each but the last (`uneven`).
        n: rows.
    """
    import numpy as np
    import pandas as pd

    at = np.arange(n)
    own = design in ("crossed", "uneven")
    each = {"alone": 1, "crossed": 2 * groups, "uneven": 10 * groups - 8}.get(design, 6)
    cluster = at // each
    group = rng.integers(0, groups, n)
    if design in ("alone", "whole"):
        group = rng.permutation(np.arange(cluster[-1] + 1) % groups)[cluster]
    elif own:
        group = np.minimum(at % each // (2 if design == "crossed" else 10), groups - 1)
    shared = cluster * groups + group if own else cluster
    level = 0.3 if design == "alone" else rng.beta(1.5, 3, shared[-1] + 1)[shared]
    columns = {
        "example": [f"e{i:06}" for i in at],
        "cluster": [f"c{i:06}" for i in cluster],
        "group": [f"g{i}" for i in group],
        "why": [""] * n,
    }
    frame = pd.DataFrame({name: pd.array(v, dtype="str") for name, v in columns.items()})
    return frame.assign(x=(rng.random(n) < level).astype(float))


def check_audit(
    audit: Audit,
    model: LanguageModel,
    rows: Sequence[Mapping[str, object]],
    tools: Tools | None = None,
) -> Part:
    """Assert that `audit` keeps the contract of `audits.audit.Audit` on these rows.

    Equal questions give equal records, in whatever order they are asked; every example has
    a record; every declared measure is there or absent for a reason; its name follows the
    grammar; losing a record makes no measure better; and where the model's window cut off
    the beginning of what it was asked, no record is valid.

    Returns:
        The part, for further looks.
    """
    tools = tools or Tools()
    examples = audit.examples(rows)
    declared = audit.declares()
    _check_declarations(declared)
    assert examples == audit.examples(rows), "same rows, different examples"
    frame = audit.run(model, examples, tools, seed=0)
    assert frame.equals(audit.run(model, examples, tools, seed=0)), "not deterministic"
    assert tuple(frame.columns[: len(KEYS)]) == KEYS, f"records begin with {KEYS}"
    assert set(frame["example"]) == {e.id for e in examples}, "a record for every example"
    part = _part(audit, examples, frame)
    measures, absent = part.measures()
    assert measures, f"nothing could be measured: {absent}"
    assert len(measures) + len(absent) == len(declared), "every measure is there or absent"
    assert all(absent.values()), "absence has a reason"
    turned = _part(audit, examples, audit.run(model, examples[::-1], tools, seed=0))
    assert turned.measures() == part.measures(), "the order of examples changes a measure"
    _check_losses(part)
    with suppress(AuditError):  # an audit may refuse where nothing is left to measure
        cut = audit.run(_Cut(model), examples, tools, seed=0)
        # what has neither prompt nor choices asks the model nothing
        asked = {e.id for e in examples if e.prompt or e.choices}
        whys = cut.loc[cut["example"].isin(asked), "why"]
        assert (whys != "").all(), "without its beginning a question is another one"
    return part


def _check_declarations(declared: Sequence[Declared]) -> None:
    names = [d.name for d in declared]
    assert names, "an audit that declares nothing"
    assert len(set(names)) == len(names), "a measure is declared twice"
    assert all(GRAMMAR.fullmatch(name) for name in names), "a name that MLflow refuses"
    assert all(d.about and d.unit for d in declared), "a measure that says not what it is"
    for each in declared:
        assert Declared.model_validate_json(each.model_dump_json()) == each, "not data"


def _check_losses(part: Part) -> None:
    """Where a record is lost, each measure is absent or no better than before."""
    better = {part.full_name(d): d.better for d in part.declared}
    before = {m.name: m.value for m in part.measures()[0]}
    step = max(1, len(part.records) // DROPPED)
    for at in range(0, len(part.records), step):
        kept = part.records.drop(index=part.records.index[at])
        for after in _replace(part, kept).measures()[0]:
            if after.name not in before:
                continue
            gain = after.value - before[after.name]
            gain = gain if better[after.name] == "higher" else -gain
            assert gain <= 1e-9, f"losing record {at} improves {after.name} by {gain}"


def _part(audit: Audit, examples: Sequence[Example], frame: "pd.DataFrame") -> Part:
    return Part(
        name=audit.kind,
        kind=audit.kind,
        declared=audit.declares(),
        expected=tuple(e.id for e in examples),
        records=frame,
        basis="test",
    )


def _replace(part: Part, records: "pd.DataFrame") -> Part:
    return Part(part.name, part.kind, part.declared, part.expected, records, part.basis)


def _number(word: str) -> int:
    """The same number for the same word, in every process."""
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest())


def _moments(logprob: float) -> tuple[float, float]:
    """Mean and deviation of log p where there are two tokens, one of this log p."""
    p = min(max(math.exp(min(logprob, 0.0)), 1e-300), 1 - 1e-15)
    one, other = math.log(p), math.log1p(-p)
    return p * one + (1 - p) * other, math.sqrt(p * (1 - p)) * abs(one - other)


def _until(text: str, stop: Sequence[str]) -> str:
    ends = [at for s in stop if (at := text.find(s)) >= 0]
    return text[: min(ends, default=len(text))]
