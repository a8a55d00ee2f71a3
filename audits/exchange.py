"""What would groups look like if their labels said nothing?"""

from dataclasses import dataclass

import numpy as np

from audits.intervals import Floats, Ints
from audits.resample import BATCH, SEED
from audits.spreads import Cells

DRAWS = 999
"""Draws behind a null; the least p-value is one over this and one."""


@dataclass(frozen=True, eq=False)
class Units:
    """What may carry another group's label: the sums of a group within a cluster.

    Rows of one cluster share their luck, and those of one group in it may share some more:
    only all of them together could as well have been another group's. `num`, `den`, `label`
    and `block` are by unit; labels are exchanged within a block: the groups of one cluster,
    where it holds as much of each; and all clusters that hold one group alone.

    Where a cluster holds more of one group than of another, labels would take those sizes
    along. There all departures from the cluster's own rate are turned round or none: `turned`
    holds them by cluster and group, `fixed` by group what all such clusters expect and hold.
    """

    num: Floats
    den: Floats
    label: Ints
    block: Ints
    fixed: tuple[Floats, Floats]
    turned: Floats

    @classmethod
    def of(cls, cells: Cells) -> "Units":
        """From cells of one rate."""
        num, den = cells.num[:, :, 0], cells.den[:, :, 0]
        held = den > 0
        several = held.sum(axis=1) > 1
        most = den.max(axis=1, keepdims=True)
        uneven = several & (held & (np.abs(den - most) > 1e-9 * most)).any(axis=1)
        away = num[uneven], den[uneven]
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = away[0].sum(axis=1, keepdims=True) / away[1].sum(axis=1, keepdims=True)
        expected = rate * away[1]
        cluster, label = np.nonzero(held & ~uneven[:, None])
        return cls(
            num=num[cluster, label],
            den=den[cluster, label],
            label=label,
            block=np.where(several[cluster], cluster + 1, 0),
            fixed=(expected.sum(axis=0), away[1].sum(axis=0)),
            turned=away[0] - expected,
        )

    def shuffled(self, draws: int = DRAWS) -> tuple[Floats, Floats]:
        """Sums (draws, groups, 1) above and below, under labels that say nothing."""
        rng = np.random.default_rng(SEED)
        num, den = (np.tile(s, (draws, 1)) for s in self.fixed)
        if uneven := len(self.turned):
            step = max(1, BATCH // uneven)
            for at in range(0, draws, step):
                some = num[at : at + step]
                some += (2.0 * rng.integers(0, 2, (len(some), uneven)) - 1) @ self.turned
        if len(self.label):
            above, below = self._exchanged(rng, draws)
            num, den = num + above, den + below
        return num[:, :, None], den[:, :, None]

    def _exchanged(self, rng: np.random.Generator, draws: int) -> tuple[Floats, Floats]:
        order = np.argsort(self.block, kind="stable")
        label, block = self.label[order], self.block[order].astype(np.float64)
        sums = self.num[order], self.den[order]
        groups, units = len(self.fixed[0]), len(label)
        free = block[0] == block[-1]
        found: tuple[list[Floats], list[Floats]] = ([], [])
        step = max(1, BATCH // units)
        for at in range(0, draws, step):
            size = min(step, draws - at)
            if free:
                drawn = rng.permuted(np.tile(label, (size, 1)), axis=1)
            else:
                drawn = label[np.argsort(block + rng.random((size, units)), axis=1)]
            cell = (drawn + groups * np.arange(size)[:, None]).ravel()
            for kept, each in zip(found, sums, strict=True):
                total = np.bincount(cell, np.tile(each, size), minlength=groups * size)
                kept.append(total.astype(np.float64).reshape(size, groups))
        return np.concatenate(found[0]), np.concatenate(found[1])


def p_value(seen: float, drawn: Floats) -> float:
    """Share of draws at least as large, the data themselves counted as one of them.

    A draw without a value (a group that it left nothing to divide by) counts as larger.

    >>> p_value(0.3, np.array([0.1, 0.3, 0.2]))
    0.5
    """
    return float((1 + (~(drawn < seen - 1e-12)).sum()) / (1 + len(drawn)))
