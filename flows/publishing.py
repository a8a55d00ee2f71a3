"""Put a run into the registry: a parent run, its stages, and a version per candidate."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audits.errors import EvidenceError, SpecError
from flows.chains import Perform
from flows.failing import Failed
from flows.home import Home, open_registry
from flows.judging import Judged
from flows.ledger import Entry, Ledger
from flows.plan import Candidate, Made
from flows.spec import RunSpec
from registry.card import PROSE, escape
from registry.store import Dataset
from tasks.artifact import Artifact, Vault
from tasks.job import Call
from tasks.publish import KEY, PART, PublishSettings, read_receipt
from tasks.stages import call


class Publisher:
    """Publishes what is new. A run in which nothing was made leaves no run behind."""

    def __init__(self, spec: RunSpec, home: Home, made: Made, ledger: Ledger) -> None:
        self._spec, self._home, self._made, self._ledger = spec, home, made, ledger
        self._store = open_registry(home)
        self._vault = Vault(home.artifacts)
        self._parent: str | None = None

    def publish_all(self, perform: Perform) -> dict[str, str]:
        """Return the version number of each candidate, by candidate name."""
        return {c.name: self._publish(c, perform) for c in self._made.candidates}

    def _publish(self, candidate: Candidate, perform: Perform) -> str:
        wanted = self._call(candidate, {})
        found = self._vault.find("publish", wanted.key)
        if found is not None and not self._is_registered(found):
            self._vault.discard(found)
            found = None
        if found is None:
            key = self._home.signing_key
            signing = {KEY: str(key)} if key else {}
            wanted = self._call(candidate, {"parent": self._parent_run()} | signing)
        return str(read_receipt(perform(wanted))["number"])

    def _call(self, candidate: Candidate, context: Mapping[str, str]) -> Call:
        spec, made = self._spec, self._made
        settings = PublishSettings(
            tracking_uri=self._home.tracking_uri,
            store=str(self._home.root),
            registered=spec.registered,
            title=candidate.name,
            spec=spec.model_dump_json(),
            policy=spec.policy.identity,
            about={k: v for k in PROSE if (v := getattr(spec, k))},
        )
        inputs: dict[str, Artifact] = {
            "model": candidate.model, "base": made.base, "dataset": made.dataset,
            **{f"{PART}{name}": part for name, part in candidate.parts.items()},
        }  # fmt: skip
        return call(
            "publish",
            settings,
            inputs,
            root=self._home.artifacts,
            label=candidate.name,
            context=context,
        )

    def _is_registered(self, receipt: Artifact) -> bool:
        """Whether the registry still holds what was published: weights and every part.

        Another run over the same weights may have put other records in a part's place, and
        a decision on those would not be one on this run.
        """
        stored = read_receipt(receipt)
        try:
            version = self._store.version(stored["name"], stored["number"])
            held = self._store.records(version)
            self._store.evidence(version.name, version.number)
        except (SpecError, EvidenceError):
            return False
        same = all(held.get(part) == digest for part, digest in stored["parts"].items())
        return same and version.weights == str(stored["weights"])

    def _parent_run(self) -> str:
        if self._parent is None:
            spec, data = self._spec, self._made.dataset
            self._parent = self._store.begin(
                spec.name, spec.name,
                tags={"spec": spec.identity, "policy": spec.policy.identity},
                params={"seed": spec.seed, "candidates": len(self._made.candidates)},
                datasets=(Dataset("dataset", data.digest, str(data.folder)),),
            )  # fmt: skip
        return self._parent

    def close(self, judged: tuple[Judged, ...], report: Path) -> None:
        """Record the executed stages, the data and the report, and finish the parent run."""
        if self._parent is None:
            return
        for entry in self._ledger.executed:
            if entry.stage != "publish":
                self._store.child(
                    self._parent, entry.name, tags={"stage": entry.stage, "key": entry.key},
                    params=_flat(entry.settings), metrics=_numbers(entry),
                )  # fmt: skip
        artifacts = {"report.html": report, "dataset": self._made.dataset.folder}
        if self._made.tokenizer is not None:
            artifacts["tokenizer"] = self._made.tokenizer.folder
        metrics = {f"overhead.{k}": float(v) for k, v in self._ledger.overhead().items()}
        metrics["promoted"] = float(any(j.promoted for j in judged))
        metrics["failed"] = float(len(self._made.failed))
        note = _note(self._spec, judged, self._made.failed)
        self._store.attach(self._parent, artifacts=artifacts, metrics=metrics, note=note)
        for one in judged:
            self._store.attach(one.version.run, artifacts={"report.html": report})
        self._store.finish(self._parent)


def _note(spec: RunSpec, judged: tuple[Judged, ...], failed: tuple[Failed, ...]) -> str:
    """What a reviewer reads first on the page of a run."""
    rows = [
        f"| {escape(one.name)} | {one.version.number} "
        f"| {'promoted' if one.promoted else one.decision.verdict} "
        f"| {escape(one.decision.sentence)} |"
        for one in judged
    ]
    rows += [f"| {escape(one.name)} | | failed | {escape(one.sentence)} |" for one in failed]
    head = [escape(spec.about), "", "| candidate | version | verdict | why |"]
    return "\n".join([*head, "| --- | --- | --- | --- |", *rows])


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = str(value)[:400]
    return found


def _numbers(entry: Entry) -> dict[str, float]:
    numbers = {"seconds": entry.seconds}
    energy = entry.energy or {}
    for key in ("energy_j", "duration_s"):
        if isinstance(energy.get(key), int | float):
            numbers[f"energy.{key}"] = float(energy[key])
    return numbers
