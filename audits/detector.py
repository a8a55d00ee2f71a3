"""What does a rate of flags say of the truth, once the detector's own errors are known?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

from audits.errors import MeasureError
from audits.estimand import Better, Corrected, Declared, Detects, Estimate, Ratio
from audits.weakest import shared

LEVEL = 0.95
"""At which a detector must tell what it should flag from what it should not."""

WORSE: tuple[Better, Better] = ("higher", "lower")
"""Which way hits and false alarms are better."""
Estimated = Callable[[Declared, float], Estimate]


@dataclass(frozen=True, slots=True)
class Parts:
    """A rate of flags among what was asked, among what is surely so, and what surely is not."""

    rate: Declared
    sensitivity: Declared
    false_alarms: Declared

    @property
    def worth(self) -> tuple[Declared, Declared]:
        """What the detector is worth."""
        return self.sensitivity, self.false_alarms

    @classmethod
    def of(cls, declared: Declared, of: Corrected) -> "Parts":
        """The three shares behind a corrected rate, as measures of their own.

        A labelled text that could not be scored counts as not flagged in both kinds: fewer hits
        and fewer false alarms both make the corrected rate higher, which is worse.
        """
        where = {role: {**declared.where, of.by: role} for role in of.roles}
        share = Ratio(value=of.value, over=of.over)
        asked, positive, negative = of.roles
        plain = {"of": share, "by": ""}
        return cls(
            declared.model_copy(update=plain | {"where": where[asked]}),
            declared.model_copy(update=plain | {"where": where[positive], "better": "higher"}),
            declared.model_copy(update=plain | {"where": where[negative], "better": "higher"}),
        )


def truth(
    declared: Declared,
    of: Corrected,
    estimated: Estimated,
    level: float,
) -> Estimate:
    """The true share, from how its parts are estimated at a level; see `corrected`."""
    parts = Parts.of(declared, of)
    asked = (parts.rate, *parts.worth)
    plain, surer = ([estimated(each, at) for each in asked] for at in (level, shared(level, 3)))
    return corrected(declared, plain, surer)


def corrected(
    declared: Declared,
    found: Sequence[Estimate],
    surer: Sequence[Estimate],
) -> Estimate:
    """The share that truly is so: (rate - false alarms) / (sensitivity - false alarms).

    Rogan and Gladen (1978). The limits are the extremes over the limits of `surer`, the three
    shares at a level at which they hold together (Bonferroni), so that what the detector's own
    test leaves open stays open.

    Args:
        declared: the measure.
        found: rate, sensitivity and share of false alarms.
        surer: the same at the shared level.

    Raises:
        MeasureError: the detector is not surely better than chance.
    """
    rate, hits, alarms = found
    _require_apart(declared, *surer[1:])
    value = _clipped(_solved(rate.value, hits.value, alarms.value))
    ends = product(*((each.low, each.high) for each in surer))
    all_ = [_clipped(_solved(*corner)) for corner in ends]
    return Estimate(
        value=value,
        low=min(value, *all_),
        high=max(value, *all_),
        n=rate.n,
        clusters=rate.clusters,
        method=f"rogan-gladen, {rate.method}",
        se=rate.se / (hits.value - alarms.value),
    )


def corrected_difference(
    declared: Declared, change: Estimate, surer: Sequence[Estimate]
) -> Estimate:
    """Change of the true share where one detector judged both: change / (hits - alarms).

    Args:
        declared: the measure.
        change: of the rate, at the shared level.
        surer: sensitivity and share of false alarms at the shared level.

    Raises:
        MeasureError: the detector is not surely better than chance.
    """
    hits, alarms = surer
    _require_apart(declared, hits, alarms)
    widths = (hits.low - alarms.high, min(1.0, hits.high - alarms.low))
    value = change.value / (hits.value - alarms.value)
    ends = [end / width for end in (change.low, change.high) for width in widths]
    return Estimate(
        value=value,
        low=max(-1.0, min(value, *ends)),
        high=min(1.0, max(value, *ends)),
        n=change.n,
        clusters=change.clusters,
        method=f"rogan-gladen, {change.method}",
        se=change.se / (hits.value - alarms.value),
    )


def _solved(rate: float, hits: float, alarms: float) -> float:
    return (rate - alarms) / (hits - alarms)


def _clipped(share: float) -> float:
    return min(1.0, max(0.0, share))


def require_detects(declared: Declared, given: Detects, estimated: Estimated) -> None:
    """Refuse a measure whose detector does not surely see what it is to see.

    Args:
        declared: the measure, told of in the reason.
        given: in which rows and by which column it shows.
        estimated: estimates a share on the records at a level.

    Raises:
        MeasureError: it flags no more of what it should than of what it should not, surely.
    """
    # Lost texts count as what speaks against it: as not flagged, and as flagged.
    hits, alarms = (
        estimated(
            Declared(
                name=declared.name, better=better, about=declared.about,
                of=Ratio(value=given.value), where={given.by: role},
            ),
            shared(LEVEL, 2),
        )
        for role, better in zip(given.roles, WORSE, strict=True)
    )  # fmt: skip
    _require_apart(declared, hits, alarms)


def _require_apart(declared: Declared, hits: Estimate, alarms: Estimate) -> None:
    if hits.low > alarms.high:
        return
    told = (
        f"{declared.name}: the scorer flags {_of(hits)} labelled texts that it should (at "
        f"least {hits.low:.2f}) and {_of(alarms)} that it should not (at most "
        f"{alarms.high:.2f})"
    )
    why = "it sees nothing here" if hits.value == 0 else "not surely apart, it says nothing"
    raise MeasureError(
        f"{told}: {why}; give a scorer of these texts' language and kind, or labelled texts of "
        "the kind that it is for (rows with text and toxic)"
    )


def _of(share: Estimate) -> str:
    return f"{share.value * share.n:.0f} of {share.n}"
