"""How long does a decision over a million paired records take, and how much memory?"""

import importlib
import json
import resource
import time

import numpy as np

from audits.estimand import Declared, Ratio
from audits.evidence import Evidence, Part
from registry.finding import Case
from registry.gate import decide
from registry.policy import Policy
from registry.rules import AtLeast, AtMost, NoWorse

CLUSTER = 10
"""Records in each cluster."""
GROUPS = ("a", "b", "c", "d")


def decision(records: int = 1_000_000, rules: int = 40) -> dict[str, object]:
    """Seconds of `decide` on fresh parts of a candidate and its parent, and peak MiB.

    Half of the rules are absolute, half relative; a quarter of them ask for one stratum.
    What a decision imports from scipy is loaded first, and timed apart. The first decision
    numbers the names; the second finds that done. The peak is of the whole process, the
    making of the records included.
    """
    measures = tuple(_declared(at) for at in range(rules))
    candidate, parent = (
        Evidence.gather(f"model{seed}", [_part(seed, records, measures)]) for seed in (0, 1)
    )
    policy = Policy(name="bench", rules=tuple(_rule(at, d) for at, d in enumerate(measures)))
    before = _peak()
    began = time.perf_counter()
    importlib.import_module("scipy.optimize")
    loading = time.perf_counter() - began
    began, busy = time.perf_counter(), time.process_time()
    found = decide(policy, Case(candidate, parent))
    first, busy = time.perf_counter() - began, time.process_time() - busy
    began = time.perf_counter()
    again = decide(policy, Case(candidate, parent))
    second = time.perf_counter() - began
    assert found == again
    return {
        "records": records,
        "rules": rules,
        "verdict": found.verdict.value,
        "loading_s": round(loading, 2),
        "seconds": round(first, 2),
        "cpu_seconds": round(busy, 2),
        "seconds_again": round(second, 2),
        "peak_mib": round(_peak()),
        "peak_mib_before": round(before),
    }


def _declared(at: int) -> Declared:
    """Each rule has a measure of its own: nothing is shared but the records."""
    where = {"group": GROUPS[at // 2 % 4]} if at % 8 > 5 else {}
    better = "higher" if at % 4 < 2 else "lower"
    return Declared(
        name=f"m{at}",
        better=better,
        about="",
        of=Ratio(value="right" if better == "higher" else "wrong"),
        where=where,
    )


def _rule(at: int, declared: Declared) -> AtLeast | AtMost | NoWorse:
    name = f"bench/{declared.name}"
    if at % 2:
        return NoWorse(measure=name, than="parent", margin=0.01)
    if declared.better == "higher":
        return AtLeast(measure=name, bound=0.6)
    return AtMost(measure=name, bound=0.4)


def _part(seed: int, records: int, measures: tuple[Declared, ...]) -> Part:
    import pandas as pd

    rng = np.random.default_rng(seed)
    right = (rng.random(records) < 0.7).astype(np.float64)
    examples = [f"bench-{at:07d}" for at in range(records)]
    frame = pd.DataFrame(
        {
            "example": pd.Series(examples, dtype="str"),
            "cluster": pd.Series(
                [f"c{at // CLUSTER:06d}" for at in range(records)], dtype="str"
            ),
            "group": pd.Series([GROUPS[at % 4] for at in range(records)], dtype="str"),
            "why": pd.Series([""] * records, dtype="str"),
            "right": right,
            "wrong": 1 - right,
        }
    )
    return Part("bench", "audit", measures, tuple(examples), frame, "same basis")


def _peak() -> float:
    """Largest resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    print(json.dumps(decision(), indent=1))
