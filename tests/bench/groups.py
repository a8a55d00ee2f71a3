"""Groups: seconds for a frame of 100,000 records; how often nulls are called differences,
limits of spreads miss, and groups are said to suffer most."""

import argparse
import json
import math
import resource
import time

import numpy as np

from audits import exchange, spreads
from audits.estimand import Declared, Odds, Ratio, Spread
from audits.gaps import gaps
from audits.groups import table
from audits.subgroups import change
from audits.testing import grouped_null

RIGHT = Declared(name="right", better="higher", about="", of=Ratio(value="x"))
DESIGNS = ("alone", "whole", "within", "crossed", "uneven")
ROWS = {"crossed": 960, "uneven": 2160}
"""Rows of a null where clusters are large; 480 elsewhere."""


PARTS = ("seconds", "nulls", "cells", "limits", "losses")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--nulls", type=int, default=100, help="samples of each setting")
    parser.add_argument("--members", type=int, default=200, help="of a group that loses")
    parser.add_argument("--designs", nargs="+", choices=DESIGNS, default=DESIGNS)
    options = parser.parse_args()
    times = options.nulls
    made = {
        "seconds": lambda: seconds(options.records, options.resamples),
        "nulls": lambda: {
            f"{design}, {groups} groups": errors(times, groups, design)
            for design in options.designs
            for groups in (2, 4, 8)
        },
        "cells": lambda: {
            f"{design}, {groups} groups, shift {shift:g}": told(times, groups, design, shift)
            for design, groups, shift in LAYOUTS
        },
        "limits": lambda: {
            f"{sizes} at {rates}, clusters of {m}": limits(times, sizes, rates, m)
            for sizes, rates, m in UNLIKE
        },
        "losses": lambda: {
            f"{groups} groups, clusters of {m}, {more:g} more": losses(
                times, groups, options.members, m, more
            )
            for m in (1, 5)
            for groups in (2, 4, 8)
            for more in (0.0, 0.1)
        },
    }
    report = {part: made[part]() for part in options.parts}
    report["peak_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(json.dumps(report, indent=1))
    return 0


def seconds(records: int, resamples: int) -> dict[str, float]:
    """Of a whole table by kind of records; and of fairlearn's own 20 resamples of rows."""
    rng = np.random.default_rng(0)
    group = rng.integers(0, 8, records).astype(str)
    yes, mean = (rng.random(records) < 0.3).astype(float), rng.normal(size=records)
    each = np.arange(records)
    mean_of = RIGHT.model_copy(update={"of": Ratio(value="x", proportion=False)})
    found = {}
    for name, declared, value, cluster in (
        ("decisions, each alone", RIGHT, yes, each),
        ("decisions, clusters of 10", RIGHT, yes, each // 10),
        ("means, each alone", mean_of, mean, each),
        ("means, clusters of 10", mean_of, mean, each // 10),
    ):
        frame = records_of(value, group, cluster)
        began = time.perf_counter()
        table(declared, frame, resamples=resamples)
        found[name] = round(time.perf_counter() - began, 2)
    from fairlearn.metrics import MetricFrame, mean_prediction

    began = time.perf_counter()
    MetricFrame(
        metrics=mean_prediction, y_true=yes, y_pred=yes, sensitive_features=group,
        n_boot=20, ci_quantiles=[0.025, 0.975], random_state=0,
    )  # fmt: skip
    found["fairlearn, 20 resamples of rows"] = round(time.perf_counter() - began, 2)
    return found


LAYOUTS = (
    ("crossed", 2, 0.0), ("crossed", 4, 0.0), ("crossed", 8, 0.0),
    ("winogender", 3, 0.0),
    ("uneven", 2, 0.0), ("uneven", 4, 0.0), ("uneven and crossed", 2, 0.0),
    ("uneven and rare", 2, 0.0), ("by lot", 2, 0.0), ("by lot", 4, 0.0), ("by lot", 8, 0.0),
    ("one mixed", 2, 0.0), ("one mixed", 4, 0.0), ("one mixed", 2, 2.0), ("one mixed", 4, 2.0),
    ("half mixed", 2, 0.0), ("half mixed", 4, 0.0), ("half mixed", 2, 1.5),
)  # fmt: skip
"""Where the groups of a cluster may lie, and by how many logits the first is better."""
UNLIKE = (
    ((1000, 40), (0.02, 0.02), 1), ((1000, 1000, 1000, 40), (0.02,) * 4, 1),
    ((1000,) * 7 + (40,), (0.02,) * 8, 1), ((1000, 30), (0.05, 0.05), 1),
    ((300, 300, 300, 30), (0.05,) * 4, 1), ((500, 500, 3), (0.1,) * 3, 1),
    ((150, 12), (0.05, 0.05), 5), ((150,) * 3 + (12,), (0.05,) * 4, 5),
    ((150,) * 7 + (12,), (0.05,) * 8, 5),
    ((240, 240), (0.3, 0.3), 1), ((120,) * 4, (0.3,) * 4, 1), ((60,) * 8, (0.3,) * 8, 1),
    ((2000, 2000), (0.3, 0.3), 1), ((500,) * 8, (0.3,) * 8, 1),
    ((1000, 40), (0.02, 0.10), 1), ((1000, 30), (0.02, 0.08), 1),
    ((1000, 100), (0.01, 0.04), 1), ((480, 480), (0.3, 0.4), 1),
    ((300,) * 4, (0.2, 0.2, 0.2, 0.3), 1), ((60, 12), (0.02, 0.10), 5),
    ((60, 20), (0.02, 0.10), 5), ((60, 60), (0.02, 0.06), 5), ((20, 20), (0.3, 0.5), 5),
)  # fmt: skip
"""Clusters of each group, the share of each that is 1 as a whole, and rows of a cluster."""


def told(times: int, groups: int, design: str, shift: float) -> dict[str, float]:
    """Shares of samples in which groups are said to differ, and in which one is named."""
    rng = np.random.default_rng(groups)
    differ = named = 0
    for _ in range(times):
        cells = laid_out(rng, groups, design, shift)
        shuffled = exchange.Units.of(cells).shuffled(399)
        p = exchange.p_value(cells.spread(), spreads.spread_of(*shuffled))
        differ += p <= 0.05
        named += p <= 0.05 and min(gap.p for gap in gaps(cells, shuffled)) <= 0.05
    return {"differ": round(differ / times, 3), "named": round(named / times, 3)}


def laid_out(rng, groups: int, design: str, shift: float) -> spreads.Cells:
    """Yes or no, with logits of a cluster and, in some designs, of a cluster's group."""
    counts = {
        "crossed": [2] * groups,
        "winogender": [4] * groups,
        "by lot": [6],
        "one mixed": [6],
        "half mixed": [6],
    }.get(design, [20] * (groups - 1) + [3])
    clusters = 24 * groups if "mixed" in design else 80 if design == "by lot" else 60
    group = np.tile(np.repeat(np.arange(len(counts)), counts), clusters)
    cluster = np.repeat(np.arange(clusters), sum(counts))
    if design == "by lot":
        group = rng.integers(0, groups, len(group))
    elif "mixed" in design:
        group = cluster // 24
        lot = cluster % 2 == 0 if design == "half mixed" else np.arange(len(group)) < 3
        group[lot] = rng.integers(0, groups, lot.sum()) if design == "half mixed" else 1
    own = {"crossed": 1.5, "winogender": 1.5, "uneven and crossed": 1.5, "half mixed": 1.0}
    logit = rng.normal(-3.0 if "rare" in design else 0.0, 1.0, clusters)[cluster]
    if design == "winogender":  # four sentences in three genders, easy or hard in each
        logit += rng.normal(0, 1, (clusters, 4))[cluster, np.arange(len(group)) % 4]
    logit += rng.normal(0, own.get(design, 0.0), (clusters, groups))[cluster, group]
    logit += shift * (group == 0)
    value = (rng.random(len(group)) < 1 / (1 + np.exp(-logit)))[:, None] * 1.0
    return spreads.Cells.of(value, np.ones_like(value), group, cluster)


def limits(times: int, sizes, rates, m: int) -> dict[str, float]:
    """Shares of samples whose 95 % interval lies above the true spread, or whose one-sided
    95 % upper limit lies below it; and the mean width of the former."""
    rng = np.random.default_rng(0)
    group, truth = np.repeat(np.arange(len(sizes)), sizes), max(rates) - min(rates)
    above = below = 0
    width = []
    for _ in range(times):
        value = np.repeat(rng.random(len(group)) < np.array(rates)[group], m)[:, None] * 1.0
        cluster = np.arange(len(group)).repeat(m)
        cells = spreads.Cells.of(value, np.ones_like(value), group.repeat(m), cluster)
        found = spreads.interval(cells, 0.95)
        above += found.low > truth
        below += spreads.interval(cells, 0.9).high < truth
        width.append(found.high - max(0.0, found.low))
    return {
        "above": round(above / times, 3),
        "below": round(below / times, 3),
        "width": round(float(np.mean(width)), 4),
    }


def losses(times: int, groups: int, n: int, m: int, more: float) -> dict[str, float]:
    """Shares of samples in which a group is said to suffer most, and in which it is the first.

    Every group is right in four fifths and loses a quarter of that; the first loses `more`
    points besides. Losses come in clusters of `m` that differ.
    """
    rng = np.random.default_rng(groups)
    group, cluster = np.repeat(np.arange(groups), n), np.arange(groups * n) // m
    level = np.where(group == 0, 0.25 + more / 0.8, 0.25)
    named = first = 0
    for _ in range(times):
        rate = level if m == 1 else rng.beta(3 * level, 3 - 3 * level)[cluster * m]
        old = rng.random(len(group)) < 0.8
        new = old & (rng.random(len(group)) >= rate)
        said = change(
            RIGHT, *(records_of(x * 1.0, group.astype(str), cluster) for x in (new, old))
        ).suffers
        named += said != ""
        first += said == "0"
    return {"named": round(named / times, 3), "the first": round(first / times, 3)}


def records_of(value, group, cluster):
    import pandas as pd

    n = len(value)
    return pd.DataFrame(
        {
            "example": pd.array([f"e{at:06}" for at in range(n)], dtype="str"),
            "cluster": pd.array([f"c{at:06}" for at in cluster], dtype="str"),
            "group": pd.array(group, dtype="str"),
            "why": pd.array([""] * n, dtype="str"),
            "x": value,
        }
    )


def errors(times: int, groups: int, design: str) -> dict[str, float]:
    """Shares of nulls in which groups are said to differ, one is named, or a spread's limit
    lies above 0; with the share that 5 % would exceed by chance once in twenty."""
    rng = np.random.default_rng(groups)
    spread = Declared(name="s", better="lower", about="", of=Spread(value="x"))
    odds = spread.model_copy(update={"of": Odds(selected="x", truth="y")})
    counts = dict.fromkeys(("differ", "named", "spread_above_0", "odds_above_0"), 0)
    for _ in range(times):
        frame = grouped_null(rng, groups, design, ROWS.get(design, 480))
        found = table(RIGHT, frame, least=20, enough=20, resamples=199, draws=399)
        counts["differ"] += found.apart.p <= 0.05
        counts["named"] += found.named != ""
        counts["spread_above_0"] += spread.estimate(frame, level=0.95).low > 0
        frame = frame.assign(y=(rng.random(len(frame)) < 0.5).astype(float))
        counts["odds_above_0"] += odds.estimate(frame, level=0.95).low > 0
    shares = {name: round(count / times, 3) for name, count in counts.items()}
    return shares | {"by_chance_up_to": round(0.05 + 1.645 * math.sqrt(0.05 * 0.95 / times), 3)}


if __name__ == "__main__":
    raise SystemExit(main())
