"""A model that computes no answer twice: not for another task or audit, nor another day.

Several audits put the same requests to one model (every answer to every fact, for recall
and again for calibration), and a task's questions come again whenever it is evaluated with
another limit or compared with another model. What is remembered is known by the model's
digest, how it computes, and the whole request; an answer of one model is never another's.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib import metadata
from operator import attrgetter
from pathlib import Path
from typing import Any, Generic, TypeVar

from audits.model import LanguageModel, Score, require_generation
from tasks.artifact import fingerprint
from tasks.models.asked import Loaded, ScoresText
from tasks.models.borrowing import STATED
from tasks.models.folder import weights_digest
from tasks.models.load import load
from tasks.models.scorecache import ScoreCache, opened
from tasks.models.selfcheck import Rechecks

ASKED_AT_ONCE = 32_768
"""Requests computed before they are kept: so many a killed process has to compute again."""
LIBRARIES = ("torch", "transformers", "tokenizers", "compressed-tensors", "llama-cpp-python")
"""Whose versions change what a model answers."""
FREE = frozenset({"batch", "host", "threads"})
"""Conditions under which the same answers are computed, to within the engine's tolerance."""

Request = TypeVar("Request", bound=tuple[str, ...])
Answer = TypeVar("Answer")

_last: tuple[tuple[str, str], Loaded] | None = None


class Remembering:
    """A `LanguageModel` that answers from a cache what was asked before.

    `inner` is the model itself: whoever wants to see what is really computed looks there.
    What is neither scoring nor generating (`tokenizer`, `conditions`, `max_length`) is the
    inner model's own.

    Without a cache, or where a model's content is not known (what answers behind an address
    may be another model tomorrow), only requests repeated within one call are saved.
    """

    def __init__(self, inner: LanguageModel, cache: ScoreCache | None = None) -> None:
        self.inner = inner
        self.counts = {"asked": 0, "computed": 0}
        """Distinct requests of each call, and how many of them had to be computed."""
        self._cache = cache if _is_known(inner) else None
        self._policy = policy(inner)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the inner model has
        if name == "inner":  # not yet there, as in copying
            raise AttributeError(name)
        return getattr(self.inner, name)

    @property
    def digest(self) -> str:
        """The inner model's."""
        return self.inner.digest

    @property
    def conditions(self) -> dict[str, str | int | float | bool]:
        """The inner model's; none where it says nothing."""
        return dict(getattr(self.inner, "conditions", {}))

    def recheck(self) -> float | None:
        """See `Rechecks`: only what was really computed is computed again."""
        return self.inner.recheck() if isinstance(self.inner, Rechecks) else None

    def score(self, requests: Sequence[tuple[str, str]], **wanted: bool) -> list[Score]:
        """Score each pair; see `LanguageModel.score`, also for what else may be `wanted`."""
        wants = sorted(name for name, on in wanted.items() if on)

        def compute(new: list[tuple[str, str]]) -> list[Score]:
            return self.inner.score(new, **wanted)

        return self._recall(["score", *wants], requests, compute, SCORES)

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
        """Continue each prompt; only greedy continuations are remembered.

        A sample's luck hangs on the place of its prompt among the others of the call, so it
        is no answer to the prompt alone.
        """
        require_generation(
            prompts, max_new_tokens=max_new_tokens, seed=seed, temperature=temperature, n=n,
            stop=stop,
        )  # fmt: skip
        if temperature != 0:
            return self.inner.generate(
                prompts, max_new_tokens=max_new_tokens, seed=seed, temperature=temperature,
                n=n, stop=stop, lots=lots,
            )  # fmt: skip

        def compute(new: list[tuple[str]]) -> list[str]:
            found = self.inner.generate(
                [prompt for (prompt,) in new], max_new_tokens=max_new_tokens, seed=seed,
                stop=stop,
            )  # fmt: skip
            return [text for (text,) in found]

        what = ["generate", str(max_new_tokens), *stop]
        texts = self._recall(what, [(prompt,) for prompt in prompts], compute, TEXTS)
        return [[text] * n for text in texts]

    def truncated(self, prompts: Sequence[str], *, max_new_tokens: int) -> list[int | None]:
        """The inner model's; counted anew, for it costs little."""
        return self.inner.truncated(prompts, max_new_tokens=max_new_tokens)

    def _recall(
        self,
        what: Sequence[str],
        requests: Sequence[Request],
        compute: Callable[[list[Request]], list[Answer]],
        form: "Form[Answer]",
    ) -> list[Answer]:
        """The answer to each request, computing those that are new."""
        asked = list(dict.fromkeys(requests))
        keys = dict(zip(asked, _keys(self._policy, what, asked), strict=True))
        known = self._known(keys, form)
        new = [request for request in asked if request not in known]
        self.counts["asked"] += len(asked)
        self.counts["computed"] += len(new)
        for start in range(0, len(new), ASKED_AT_ONCE):
            some = new[start : start + ASKED_AT_ONCE]
            found = dict(zip(some, compute(some), strict=True))
            known |= found
            if self._cache:
                self._cache.put({keys[r]: form.write(a) for r, a in found.items()})
        return [known[request] for request in requests]

    def _known(
        self, keys: Mapping[Request, bytes], form: "Form[Answer]"
    ) -> dict[Request, Answer]:
        if not self._cache:
            return {}
        found = self._cache.get(list(keys.values()))
        answers = dict(zip(found, form.read(found.values()), strict=True))
        return {request: answers[key] for request, key in keys.items() if key in answers}


class RememberingTexts(Remembering):
    """The same over a model that scores whole texts: not every model does."""

    def score_text(self, texts: Sequence[str], *, add_special: bool = False) -> list[Score]:
        """Score whole texts in windows, as the inner model does."""

        def compute(new: list[tuple[str]]) -> list[Score]:
            asked = [text for (text,) in new]
            found: list[Score] = self.inner.score_text(asked, add_special=add_special)  # type: ignore[attr-defined]  # `remembering` has looked
            return found

        what = ["score_text", str(add_special)]
        return self._recall(what, [(text,) for text in texts], compute, SCORES)


def _is_known(model: LanguageModel) -> bool:
    """Whether a model is known by its content and not by what somebody called it."""
    conditions: Mapping[str, object] = getattr(model, "conditions", {})
    return bool(model.digest) and conditions.get("identity") != STATED


def remembering(inner: LanguageModel, cache: ScoreCache | None = None) -> Remembering:
    """A model with a cache, that can do what the model can do."""
    kind = RememberingTexts if isinstance(inner, ScoresText) else Remembering
    return kind(inner, cache)


def remembered(
    folder: Path, *, dtype: str = "float32", cache: Path | None = None
) -> Remembering:
    """The model in a folder, with the answers that `cache` (a folder) holds.

    The last model loaded is kept, known by its content, for the stages that ask it next.
    """
    global _last  # one model stays in memory, and only here
    wanted = (weights_digest(folder), dtype)
    if _last is None or _last[0] != wanted:
        _last = None
        _last = (wanted, load(folder, dtype=dtype))
    return remembering(_last[1], opened(cache) if cache else None)


def policy(model: LanguageModel) -> str:
    """All that decides a model's answer to a request, as text: what keys begin with."""
    conditions: Mapping[str, object] = getattr(model, "conditions", {})
    decides = {
        "model": model.digest,
        "conditions": {k: v for k, v in conditions.items() if k not in FREE},
        "max_length": getattr(model, "max_length", None),
        "code": _code(),
        "answer": [field.name for field in fields(Score)],
    }
    return json.dumps(decides, sort_keys=True)


@cache
def _code() -> Mapping[str, str]:
    """The engine's own source and the libraries below it.

    A digest of the source rather than a number to raise by hand: a forgotten number would
    give the answers of yesterday's mistake.
    """
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    code = {"source": hashlib.sha256("".join(map(fingerprint, sources)).encode()).hexdigest()}
    for name in LIBRARIES:
        try:
            code[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return code


def _keys(policy: str, what: Sequence[str], requests: Iterable[tuple[str, ...]]) -> list[bytes]:
    """Twenty bytes for each request; those of one model begin alike.

    So they lie together in the index, where a batch then touches few pages.
    """
    model = hashlib.blake2b(policy.encode(), digest_size=4).digest()
    base = hashlib.blake2b(json.dumps([policy, *what]).encode(), digest_size=16)
    keys = []
    for parts in requests:
        one = base.copy()
        # The length of the first first: no two requests of one or two parts are one string.
        one.update(f"{len(parts[0])}:{''.join(parts)}".encode("utf-8", "surrogatepass"))
        keys.append(model + one.digest())
    return keys


_encode = json.JSONEncoder(separators=(",", ":")).encode
_fields = attrgetter(*(field.name for field in fields(Score)))


@dataclass(frozen=True, slots=True)
class Form(Generic[Answer]):
    """How answers of one kind stand in the cache: as JSON, read many at once."""

    plain: Callable[[Answer], object]
    made: Callable[[Any], Answer]

    def write(self, answer: Answer) -> bytes:
        """One answer as JSON; floats keep every bit."""
        return _encode(self.plain(answer)).encode()

    def read(self, values: Iterable[bytes]) -> list[Answer]:
        """Answers in the order of their JSON."""
        return list(map(self.made, json.loads(b"[" + b",".join(values) + b"]")))


def _plain(score: Score) -> list[object]:
    """Fields in order, without the trailing ones that hold nothing."""
    row = list(_fields(score))
    while row[-1] == ():
        row.pop()
    return row


def _score(row: list[Any]) -> Score:
    return Score(*map(_frozen, row)) if isinstance(row[-1], list) else Score(*row)


def _frozen(value: Any) -> Any:  # noqa: ANN401 - a field of a score
    """JSON knows no tuples."""
    if not isinstance(value, list):
        return value
    return tuple(map(tuple, value)) if value and isinstance(value[0], list) else tuple(value)


SCORES: Form[Score] = Form(_plain, _score)
TEXTS: Form[str] = Form(str, str)
