"""Groups: seconds for a frame of 100,000 records; how often nulls are called differences."""

import argparse
import json
import math
import resource
import time

import numpy as np

from audits.estimand import Declared, Odds, Ratio, Spread
from audits.groups import table
from audits.testing import grouped_null

RIGHT = Declared(name="right", better="higher", about="", of=Ratio(value="x"))
DESIGNS = ("alone", "whole", "within", "crossed", "uneven")
ROWS = {"crossed": 960, "uneven": 2160}
"""Rows of a null where clusters are large; 480 elsewhere."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--nulls", type=int, default=100, help="500 took ten minutes")
    parser.add_argument("--designs", nargs="+", choices=DESIGNS, default=DESIGNS)
    options = parser.parse_args()
    report = {
        "seconds": seconds(options.records, options.resamples),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "nulls": {
            f"{design}, {groups} groups": errors(options.nulls, groups, design)
            for design in options.designs
            for groups in (2, 4, 8)
        },
    }
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
