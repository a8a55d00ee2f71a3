"""What a run did: every stage with its time and energy, and what the house itself cost."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tasks.artifact import Artifact
from tasks.job import Call


@dataclass(frozen=True, slots=True)
class Entry:
    """One stage of a run. A cached stage keeps the seconds and energy of when it was made.

    `elapsed` is the wall time spent on it in this run, orchestration and hashing included;
    `measuring` the part of a publication that computed measures and recorded nothing.
    """

    name: str
    stage: str
    label: str
    key: str
    digest: str
    seconds: float
    elapsed: float
    cached: bool
    settings: Mapping[str, Any]
    energy: Mapping[str, Any] | None
    measuring: float = 0.0

    @classmethod
    def of(
        cls,
        wanted: Call,
        made: Artifact,
        facts: Mapping[str, Any],
        *,
        cached: bool,
        elapsed: float,
    ) -> "Entry":
        """Enter a call and what its artifact's facts say."""
        return cls(
            name=f"{wanted.stage} {wanted.label}".strip(), stage=wanted.stage,
            label=wanted.label, key=wanted.key, digest=made.digest,
            seconds=float(facts.get("seconds", 0.0)), elapsed=elapsed, cached=cached,
            settings=json.loads(wanted.settings), energy=facts.get("energy"),
            measuring=0.0 if cached else float(facts.get("seconds_measuring", 0.0)),
        )  # fmt: skip


@dataclass
class Ledger:
    """Entries in order, and seconds spent on records (MLflow) and on the gate."""

    began: float = field(default_factory=time.perf_counter)
    entries: list[Entry] = field(default_factory=list)
    spent: dict[str, float] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        """Enter a finished stage."""
        self.entries.append(entry)

    @contextmanager
    def records(self, name: str) -> Iterator[None]:
        """Count the block as time of the house itself."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.spent[name] = self.spent.get(name, 0.0) + time.perf_counter() - began

    @property
    def executed(self) -> tuple[Entry, ...]:
        """What was made in this run."""
        return tuple(e for e in self.entries if not e.cached)

    def overhead(self) -> dict[str, float]:
        """Seconds on orchestration and hashing, on records, and their share of all."""
        wall = time.perf_counter() - self.began
        own = [e for e in self.entries if e.stage != "publish"]
        orchestration = sum(e.elapsed - (0.0 if e.cached else e.seconds) for e in own)
        measuring = sum(e.measuring for e in self.entries)
        records = max(0.0, self.spent.get("publish", 0.0) - measuring)
        share = (orchestration + records) / wall if wall else 0.0
        return {
            "wall_s": round(wall, 2),
            "prefect_and_hashing_s": round(orchestration, 2),
            "mlflow_s": round(records, 2),
            "share": round(share, 4),
        }
