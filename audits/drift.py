"""How far does a model's next word drift from its base's, over a text?

The statistics of llama.cpp's `--kl-divergence`, base first, over every token of a text; but
their intervals are those of documents, for the tokens of one document are not independent.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from audits.errors import MeasureError
from audits.estimand import Better, Declared, Ratio
from audits.evidence import records_frame
from audits.intervals import Floats

if TYPE_CHECKING:
    import pandas as pd

KL_QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)
DELTA_QUANTILES = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
MOST_KEPT = 4_000_000
"""Tokens whose values are kept for quantiles; of more, a uniform sample of so many."""
_CELLS = 2**20
"""Probabilities held in double precision at once."""


@dataclass(frozen=True, eq=False)
class Positions:
    """What two models say at the positions of a piece of text; arrays of shape (T,).

    `kl` is KL(base‖variant) in nats, `same_top` whether both find the same token most
    probable, `base` and `variant` the log-probability of the token that stands there.
    """

    kl: Floats
    same_top: npt.NDArray[np.bool_]
    base: Floats
    variant: Floats

    @property
    def delta_p(self) -> Floats:
        """Probability of the token that stands there: the variant's minus the base's."""
        return np.asarray(np.exp(self.variant) - np.exp(self.base), dtype=np.float64)


def positions(
    base: npt.NDArray[np.floating],
    variant: npt.NDArray[np.floating],
    tokens: npt.NDArray[np.integer],
) -> Positions:
    """Compare two models' predictions of the same tokens.

    Both are normalized again in double precision, so that KL is never negative and rounding
    of the inputs is no divergence; sum_v p_f ln(p_f / p_g), f the base.

    Args:
        base: log-probabilities in nats of shape (T, V).
        variant: of the same shape.
        tokens: the tokens that stand there, of shape (T,).

    Raises:
        MeasureError: shapes differ, or a divergence is not finite.
    """
    if base.shape != variant.shape or len(tokens) != len(base):
        raise MeasureError(
            f"predictions of shapes {base.shape} and {variant.shape} for {len(tokens)} tokens "
            "cannot be compared; give two models with one vocabulary"
        )
    step = max(1, _CELLS // base.shape[1])
    parts = [
        _block(base[at : at + step], variant[at : at + step], tokens[at : at + step])
        for at in range(0, len(tokens), step)
    ]
    whole = Positions(
        *(
            np.concatenate([getattr(part, name) for part in parts] or [np.empty(0)])
            for name in ("kl", "same_top", "base", "variant")
        )
    )
    if not all(np.isfinite(x).all() for x in (whole.kl, whole.base, whole.variant)):
        raise MeasureError(
            "the divergence is not finite: a model gave NaN, or no chance at all to what the "
            "base expects; its weights are damaged or its arithmetic overflowed"
        )
    return whole


def _block(
    base: npt.NDArray[np.floating],
    variant: npt.NDArray[np.floating],
    tokens: npt.NDArray[np.integer],
) -> Positions:
    at = np.arange(len(tokens))
    log_f, log_g = _normalized(base), _normalized(variant)
    told = Positions(
        kl=np.empty(0),
        same_top=np.asarray(base.argmax(1) == variant.argmax(1)),
        base=log_f[at, tokens],
        variant=log_g[at, tokens],
    )
    with np.errstate(invalid="ignore"):
        np.subtract(log_f, log_g, out=log_g)
    p = np.exp(log_f, out=log_f)
    log_g[p == 0] = 0.0  # 0 ln 0 is 0, also where the variant says 0 as well
    kl = np.einsum("tv,tv->t", p, log_g)
    return replace(told, kl=np.maximum(kl, 0.0))


def _normalized(logprobs: npt.NDArray[np.floating]) -> Floats:
    found = logprobs.astype(np.float64)
    found -= found.max(1, keepdims=True)
    found -= np.log(np.exp(found).sum(1, keepdims=True))
    return found


class Kept:
    """Values for their quantiles: all of them, or of very many a uniform sample."""

    def __init__(self, most: int = MOST_KEPT, seed: int = 0) -> None:
        self.n = 0
        self._most = most
        self._low, self._high = math.inf, -math.inf
        self._held: list[npt.NDArray[np.float32]] = []
        self._sample = np.empty(0, np.float32)
        self._rng = np.random.default_rng(seed)

    @property
    def exact(self) -> bool:
        """Whether every value is held."""
        return self.n <= self._most

    def add(self, values: Floats) -> None:
        """Take in more values; where the room is full, each has its chance to stay."""
        if not len(values):
            return
        self._low = min(self._low, float(values.min()))
        self._high = max(self._high, float(values.max()))
        room = max(0, self._most - self.n)
        self._held.append(values[:room].astype(np.float32))
        self._replace(values[room:], self.n + room)
        self.n += len(values)

    def _replace(self, values: Floats, first: int) -> None:
        """Vitter's algorithm R: value number i stays with chance `most` / (i + 1)."""
        if not len(values):
            return
        held = self._all()
        place = self._rng.integers(0, np.arange(first, first + len(values)) + 1)
        stays = place < self._most
        held[place[stays]] = values[stays]

    def _all(self) -> npt.NDArray[np.float32]:
        if self._held:
            self._sample = np.concatenate([self._sample, *self._held])
            self._held = []
        return self._sample

    def quantiles(self, levels: Sequence[float]) -> dict[str, float]:
        """Values below which such shares lie (interpolated), and `min` and `max`, exact."""
        held = np.quantile(self._all().astype(np.float64), levels).tolist()
        inner = {f"{level:g}": q for level, q in zip(levels, held, strict=True)}
        return {"min": self._low} | inner | {"max": self._high}


class TextDrift:
    """Adds up what two models say of documents, piece by piece; size follows documents."""

    def __init__(self, most_kept: int = MOST_KEPT) -> None:
        self.kl, self.delta_p = Kept(most_kept), Kept(most_kept)
        self._sums: dict[str, Floats] = {}

    def add(self, document: str, at: Positions) -> None:
        """Take in a piece of a document."""
        change = at.delta_p
        self.kl.add(at.kl)
        self.delta_p.add(change)
        sums = (
            len(at.kl), at.kl.sum(), at.same_top.sum(), change.sum(), np.square(change).sum(),
            -at.base.sum(), -at.variant.sum(),
        )  # fmt: skip
        self._sums[document] = self._sums.get(document, np.zeros(len(sums))) + np.array(sums)

    def records(self) -> "pd.DataFrame":
        """A row for each document that has tokens: sums over them."""
        names = ("tokens", "kl", "same_top", "delta_p", "delta_p_squared", "base", "variant")
        return records_frame(
            {"example": document, "cluster": document}
            | dict(zip(names, sums.tolist(), strict=True))
            | {"more": float(sums[6] - sums[5])}
            for document, sums in self._sums.items()
            if sums[0]
        )

    def figures(self, *, level: float = 0.95) -> tuple["Figure", ...]:
        """Each statistic over all tokens, with the interval of documents.

        Raises:
            MeasureError: no document has a token.
        """
        frame = self.records()
        if frame.empty:
            raise MeasureError("the text has no tokens to compare models on; give a longer one")
        return tuple(figure(of.declared, frame, level=level, say=of.say) for of in MEASURES)


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its interval; `low` and `high` are None where `method` says why."""

    name: str
    value: float
    low: float | None
    high: float | None
    n: int
    clusters: int
    better: Better
    unit: str
    method: str
    about: str


def figure(
    declared: Declared,
    frame: "pd.DataFrame",
    *,
    level: float,
    say: Callable[[float], float] = float,
) -> Figure:
    """Estimate a ratio of sums, and say it on another, rising scale.

    Where there is no interval (one document, nothing varied), the number alone.

    Raises:
        MeasureError: there is no number either.
    """
    fixed = (declared.better, declared.unit)
    try:
        e = declared.estimate(frame, level=level)
    except MeasureError as error:
        assert isinstance(declared.of, Ratio)
        valid = frame[frame["why"] == ""]
        if valid.empty or 50 * (len(frame) - len(valid)) > len(frame):
            raise
        over = valid[declared.of.over].sum() if declared.of.over else len(valid)
        value = say(float(valid[declared.of.value].sum() / over))
        n, clusters = len(valid), valid["cluster"].nunique()
        why = f"no interval: {str(error).removeprefix(declared.name + ': ')}"
        return Figure(
            declared.name, value, None, None, n, clusters, *fixed, why, declared.about
        )
    low, value, high = (say(x) for x in (e.low, e.value, e.high))
    return Figure(
        declared.name, value, low, high, e.n, e.clusters, *fixed, e.method, declared.about
    )


@dataclass(frozen=True, slots=True)
class _Of:
    declared: Declared
    say: Callable[[float], float] = float


def _root(square: float) -> float:
    return math.sqrt(max(0.0, square))


def _mean(
    name: str,
    better: Better,
    unit: str,
    value: str,
    about: str,
    say: Callable[[float], float] = float,
) -> _Of:
    ratio = Ratio(value=value, over="tokens", proportion=value == "same_top")
    return _Of(Declared(name=name, better=better, unit=unit, about=about, of=ratio), say)


MEASURES = (
    _mean("kl", "lower", "nats/token", "kl", "mean KL(base‖variant)"),
    _mean("same_top", "higher", "share", "same_top", "same most probable token in both"),
    _mean(
        "delta_p", "higher", "probability", "delta_p",
        "mean of p(variant) - p(base) of the token that stands there",
    ),
    _mean("rms_delta_p", "lower", "probability", "delta_p_squared", "its RMS", _root),
    _mean("ppl_base", "lower", "per token", "base", "perplexity of the base", math.exp),
    _mean("ppl_variant", "lower", "per token", "variant", "that of the variant", math.exp),
    _mean("ln_ppl_ratio", "lower", "nats/token", "more", "ln(PPL(variant) / PPL(base))"),
)  # fmt: skip
"""What is said of a text; the mean of each is over tokens, its interval over documents."""
