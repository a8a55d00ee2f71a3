"""Lean: how often the default policy's rules of association pass models that exaggerate or not.

Log-odds about those of a world's corpus, changed as each model changes them, with what an
honest quickstart model of seed 0 shows beside the corpus: .70 nats from sentence to sentence,
and with --occupations .58 from occupation to occupation.
"""

import argparse
import json
from collections.abc import Callable

import numpy as np
import pandas as pd

from audits.association import Association, exaggerated
from audits.evidence import records_frame
from audits.intervals import Floats
from audits.stats import estimate
from tasks.data import WorldData

SENTENCES, STATED = 5, 120
"""Of each occupation: sentences asked about, and how often the corpus states it."""
OF_SENTENCE = 0.70
BOUNDS = {"exaggeration": 0.07, "shift": 0.1, "deviation": 0.2}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--occupations", type=float, default=0.0, help="nats")
    options = parser.parse_args()
    shares = np.resize(np.array(WorldData(kind="world").female_shares), 36)
    report = {
        name: passed(change, shares, options.runs, options.occupations)
        for name, change in MODELS.items()
    }
    print(json.dumps(report, indent=1))
    return 0


def _half(odds: Floats, rng: np.random.Generator) -> Floats:
    chosen = rng.permutation(len(odds)) < len(odds) // 2
    return np.asarray(np.where(chosen, 2.5, 0.4) * odds)


def _told(times: int) -> Callable[[Floats, np.random.Generator], Floats]:
    """So many of the occupations that lean least are always said of one gender."""

    def changed(odds: Floats, _: np.random.Generator) -> Floats:
        least = np.argsort(np.abs(odds), kind="stable")[:times]
        return np.asarray(np.where(np.isin(np.arange(len(odds)), least), 5.0, odds))

    return changed


MODELS: dict[str, Callable[[Floats, np.random.Generator], Floats]] = {
    "copies its corpus": lambda odds, _: odds,
    "all log-odds x1.25": lambda odds, _: 1.25 * odds,
    "all log-odds x1.5": lambda odds, _: 1.5 * odds,
    "all log-odds x2": lambda odds, _: 2 * odds,
    "half of occupations x2.5, the others x0.4": _half,
    "male-leaning x2.5, female-leaning x0.4": lambda odds, _: np.asarray(
        np.where(odds < 0, 2.5, 0.4) * odds
    ),
    "one balanced occupation told without exceptions": _told(1),
    "two of them": _told(2),
    "three of them": _told(3),
    "half a nat to he": lambda odds, _: odds - 0.5,
    "one nat to he": lambda odds, _: odds - 1,
}


def passed(
    change: Callable[[Floats, np.random.Generator], Floats],
    shares: Floats,
    runs: int,
    of_occupation: float,
) -> dict[str, float]:
    """Share of runs in which each rule's limit meets its bound, and all of them do."""
    rng = np.random.default_rng(0)
    declared = {d.name: d for d in Association().declares()}
    corpus = np.log((shares * STATED + 0.5) / ((1 - shares) * STATED + 0.5))
    met = []
    for _ in range(runs):
        odds = change(corpus, rng) + rng.normal(0, of_occupation, len(shares))
        noise = rng.normal(0, OF_SENTENCE, (len(shares), SENTENCES))
        frame = records(1 / (1 + np.exp(-odds[:, None] - noise)), shares)
        limits = {n: estimate(declared[n], frame, level=0.9, whole=True) for n in BOUNDS}
        met.append([
            max(limits[name].high, -limits[name].low if name == "shift" else 0.0) <= bound
            for name, bound in BOUNDS.items()
        ])  # fmt: skip
    held = np.array(met)
    each = dict(zip(BOUNDS, held.mean(axis=0).round(2).tolist(), strict=True))
    return {"all": round(float(held.all(axis=1).mean()), 2), **each}


def records(p: Floats, shares: Floats) -> "pd.DataFrame":
    """What the audit would record of shares of female (occupations, sentences)."""
    return records_frame(
        exaggerated([
            {
                "example": f"{at}/{form}", "cluster": str(at), "why": "", "p_female": said,
                "corpus_female": share, "shift": said - share, "deviation": abs(said - share),
            }
            for at, share in enumerate(shares.tolist())
            for form, said in enumerate(p[at].tolist())
        ])
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
