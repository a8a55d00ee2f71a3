"""Look at a version again: its report, and whether it can be made a second time."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audits.errors import EvidenceError, SpecError
from audits.evidence import Evidence, Measure
from flows.checking import noise_file
from flows.home import Home, open_registry, talk
from flows.judging import Judged
from flows.ledger import Ledger
from flows.outcome import report_run, save
from flows.plan import find_candidate, make
from flows.spec import BASE, RunSpec
from registry.documents import validate
from registry.store import Store, Version
from tasks.job import Call
from tasks.stages import perform
from tasks.train import TrainSettings

Answer = tuple[dict[str, Any], str]


def report(named: str, out: Path, home: Home) -> Answer:
    """One self-contained HTML file about a version and the last decision on it."""
    from tasks.report import render

    store = open_registry(home)
    version = store.sound(find_version(store, named))
    spec = stored_spec(store, version)
    decision = store.decision(version)
    if decision is None:
        raise EvidenceError(f"{named}: no decision is stored; `assay run` judges it")
    evidence = store.evidence(version.name, version.number)
    title = str(evidence.about.get("title", version.number))
    judged = Judged(title, version, evidence, decision, "champion" in version.aliases)
    lineage = {"dataset": str(evidence.about.get("data", "")), "weights": version.weights}
    save(out, render(report_run(spec, (judged,), Ledger(), lineage, ())))
    return {"version": named, "report": str(out)}, f"report    {out}"


def reproduce(named: str, home: Home, seed: int | None = None) -> Answer:
    """Make a version again from its stored run file, in an empty artifact root.

    With a `seed` the model is trained with another one: what then differs is what chance
    alone does to each measure. Either way the differences are put on record as the noise
    floor that `check` and `policy lint` hold margins against.
    """
    store = open_registry(home)
    version = store.sound(find_version(store, named))
    spec = stored_spec(store, version)
    if seed is not None:
        spec = _reseeded(named, spec, seed)
    old = store.evidence(version.name, version.number)
    title = str(old.about["title"])
    alone = spec.model_copy(
        update={"variants": tuple(v for v in spec.variants if v.name == title)}
    )
    if title != BASE and not alone.variants:
        raise EvidenceError(f"{named}: its run file makes no candidate called {title!r}")
    with tempfile.TemporaryDirectory(prefix="reproduce-", dir=home.root) as folder:
        again = Home(Path(folder), home.data_roots, home.tracking_uri)
        made = make(_only(alone, title), again, _loudly)
        candidate = find_candidate(made, title)
        new = _evidence(candidate.model.folder, candidate.parts)
    origin = f"{named} made again" + ("" if seed is None else f" with seed {seed}")
    _keep_noise(noise_file(version.name, home), old, new, origin)
    return _compare(named, old, new, seed)


def _reseeded(named: str, spec: RunSpec, seed: int) -> RunSpec:
    if not isinstance(spec.model, TrainSettings):
        raise SpecError(f"{named}: its model was not trained here, so it has no seed to change")
    if spec.model.seed == seed:
        raise SpecError(f"{named}: it was trained with seed {seed}; give another --seed")
    return spec.model_copy(update={"model": spec.model.model_copy(update={"seed": seed})})


def _keep_noise(file: Path, old: Evidence, new: Evidence, origin: str) -> None:
    """Put on record how far each measure moved; the farthest stays."""
    held = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    after = new.measures()
    for name, was in old.measures().items():
        now = after.get(name)
        if now is None or now.basis != was.basis:
            continue
        moved = abs(now.value - was.value)
        if name not in held or moved > held[name]["value"]:
            held[name] = {"value": moved, "origin": origin, "at": was.value}
    save(file, json.dumps(held, indent=1, sort_keys=True) + "\n")


def _only(spec: RunSpec, title: str) -> RunSpec:
    # Timing differs from run to run by nature; what it says is kept, not asked again.
    return spec.model_copy(
        update={"profile": spec.profile.model_copy(update={"enabled": False})}
    )


def _loudly(wanted: Call) -> Any:  # noqa: ANN401 - an Artifact
    talk(f"  {wanted.stage} {wanted.label} …")
    return perform(wanted)


def _evidence(folder: Path, parts_: Mapping[str, Any]) -> Evidence:
    from registry import parts
    from tasks.models.folder import weights_digest

    return Evidence.gather(
        weights_digest(folder), [parts.read(p.folder) for p in parts_.values()]
    )


def _compare(named: str, old: Evidence, new: Evidence, seed: int | None) -> Answer:
    """Identical, within noise (each value inside the other's interval), or differs.

    Another seed's model may differ: that is what was asked, and no failure.
    """
    before, after = old.measures(), new.measures()
    rows = []
    for name, was in sorted(before.items()):
        part = name.partition("/")[0]
        # Not asked again: timing, and what another run file once measured of these weights.
        if part == "profile" or part not in new.parts:
            continue
        rows.append({"measure": name, **_likeness(was, after.get(name))})
    same_weights = old.subject == new.subject
    worst = {str(r["is"]) for r in rows}
    if "differs" in worst:
        verdict = "differs"
    elif same_weights and worst <= {"identical"}:
        verdict = "identical"
    else:
        verdict = "within noise"
    document = {
        "version": named, "verdict": verdict, "weights_identical": same_weights,
        "measures": rows, "exit": 4 if verdict == "differs" and seed is None else 0,
    }  # fmt: skip
    weights = "the same weights" if same_weights else "other weights"
    odd = [r for r in rows if r["is"] != "identical"]
    lines = [f"{named}: {verdict} ({weights}, {len(rows)} measures compared)"]
    lines += [f"  {r['measure']}: {r['is']}, {r['was']} then, {r['now']} now" for r in odd]
    return document, "\n".join(lines)


def _likeness(was: Measure, now: Measure | None) -> dict[str, object]:
    values = {"was": was.value, "now": now.value if now else None}
    if now is None or now.basis != was.basis:
        return {"is": "differs", **values}
    if now.value == was.value:
        return {"is": "identical", **values}
    near = was.low <= now.value <= was.high and now.low <= was.value <= now.high
    return {"is": "within noise" if near else "differs", **values}


def find_version(store: Store, named: str) -> Version:
    """A version by `NAME/NUMBER` or `NAME@alias`."""
    name, at, alias = named.partition("@")
    if at:
        found = store.resolve(name, alias)
        if found is None:
            raise SpecError(f"{named}: no version of {name!r} has that alias")
        return found
    name, slash, number = named.partition("/")
    if not slash or not number:
        raise SpecError(f"{named!r}: write it as NAME/VERSION, like quickstart/1")
    return store.version(name, number)


def stored_spec(store: Store, version: Version) -> RunSpec:
    """The run file a version was made by."""
    document = json.loads(store.attachment(version, "run/spec.json").read_text("utf-8"))
    return validate(RunSpec, document, f"{version.name}/{version.number} run/spec.json")
