"""What can be said of a run file and a policy before any compute."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from audits.errors import SpecError
from audits.estimand import Better
from flows.chains import teachers_of
from flows.home import Home
from flows.rehearsal import require_variants
from flows.sizing import sizes
from flows.spec import BASE, RunSpec, is_name, load_spec
from registry.looking import plural
from registry.planning import Floor, Outlook, plan
from registry.policy import lint, load_policy
from tasks.compress import Calibrated, Gguf
from tasks.data import sources
from tasks.data.catalog import find
from tasks.data.preview import require_documents, set_names
from tasks.evaluate import EvaluateSettings
from tasks.evaluate.ours import reads
from tasks.models.folder import check_reference
from tasks.models.gguf_file import require_runner
from tasks.scorers import unavailable
from tasks.train import CheckpointSettings, TrainSettings

Answer = tuple[dict[str, Any], str]


def check_spec(
    path: Path, changes: Sequence[str], home: Home, *, rehearse: bool = False
) -> Answer:
    """Validate a run file, its policy, and that what it names is on this machine.

    Says which rules cannot decide with the examples there will be, and which audits will
    measure nothing because their scorer cannot be had. A hard rule that no outcome can pass is
    a mistake (exit code 2): the run could only refuse.

    Args:
        path: the run file.
        changes: what to change in it, `a.b=1`.
        home: where data is looked for.
        rehearse: whether to try every step on shapes, which loads torch for some seconds; a
            run does so before its first stage.
    """
    spec = load_spec(path, changes)
    require_sound(spec, home)
    notes = require_variants(spec, home) if rehearse else ()
    candidates = [BASE, *(v.name for v in spec.variants)]
    declared = spec.declares()
    blind = unscored(spec)
    outlook = foresee(spec, home, blind)
    document = {
        "spec": spec.identity,
        "name": spec.name,
        "model": spec.registered,
        "policy": spec.policy.identity,
        "candidates": candidates,
        "measures": sorted(declared),
        "rules": len(spec.policy.rules),
        "outlook": [_plain(one) for one in outlook],
        "absent": blind,
        "notes": list(notes),
        "exit": _exit(outlook),
    }
    names = ", ".join(candidates)
    text = (
        f"{path}: {_soundness(outlook)} {plural(len(candidates), 'candidate')} ({names}), "
        f"{plural(len(spec.audits), 'audit')}, {plural(len(declared), 'measure')}, "
        f"{plural(len(spec.policy.rules), 'rule')} in policy {spec.policy.name}; "
        f"spec {spec.identity[:16]}."
    )
    absent = [f"  {audit} will measure nothing: {why}" for audit, why in blind.items()]
    noted = [f"  {note}" for note in notes]
    return document, "\n".join([text, *noted, *absent, *_lines(outlook)])


def foresee(spec: RunSpec, home: Home, blind: Collection[str]) -> tuple[Outlook, ...]:
    """Rules of a run that cannot decide as they should, from sizes and recorded noise.

    `blind` are audits that will measure nothing (`unscored`).
    """
    declared = spec.declares()
    absent = {
        name: f"{part} will measure nothing, for its scorer cannot be had"
        for name in declared
        if (part := name.partition("/")[0]) in blind
    }
    return plan(spec.policy, declared, sizes(spec, home), floors(spec.registered, home), absent)


def unscored(spec: RunSpec) -> dict[str, str]:
    """Audits whose scorer of texts cannot be had on this machine, and why."""
    audits = (*spec.audits, *(twin for _, twin in spec.controlled().values()))
    asked = {audit.title: audit.wanted.scorer for audit in audits}
    reasons = {scorer: unavailable(scorer) for scorer in set(asked.values()) if scorer}
    return {t: why for t, scorer in asked.items() if scorer and (why := reasons[scorer])}


def floors(model: str, home: Home) -> Mapping[str, Floor]:
    """The noise floors on record for a model, as `reproduce` left them."""
    file = noise_file(model, home)
    if not file.is_file():
        return {}
    found = json.loads(file.read_text("utf-8"))
    return {
        name: Floor(float(f["value"]), str(f["origin"]), f.get("at"))
        for name, f in found.items()
    }


def noise_file(model: str, home: Home) -> Path:
    """Where a home keeps how much each measure of a model moved by chance alone."""
    return home.root / "noise" / f"{model}.json"


def _plain(one: Outlook) -> dict[str, object]:
    return {"rule": one.rule, "problem": one.problem, "said": one.said, "hard": one.hard}


def _exit(outlook: Sequence[Outlook]) -> int:
    return 2 if any(one.hopeless for one in outlook) else 0


def _soundness(outlook: Sequence[Outlook]) -> str:
    return "it can promote nothing." if _exit(outlook) else "sound."


def _lines(outlook: Sequence[Outlook]) -> list[str]:
    soft = {True: "", False: " (soft)"}
    return [f"  {one.rule}{soft[one.hard]}: {one.said}" for one in outlook]


def require_sound(spec: RunSpec, home: Home) -> None:
    """Raise SpecError where the run could only end in a mistake that files and names show.

    What shapes show is asked apart, for it takes torch: `rehearsal.require_variants`.
    """
    problems = lint(spec.policy, directions(spec))
    if problems:
        raise SpecError("; ".join(problems))
    if isinstance(spec.model, CheckpointSettings):
        check_reference(spec.model.path, spec.model.revision)
    _require_teachers(spec)
    sources(spec.data, home.data_roots)
    _require_sets(spec, home)
    if any(isinstance(variant.steps[-1], Gguf) for variant in spec.variants):
        require_runner()


def _require_teachers(spec: RunSpec) -> None:
    """Raise SpecError where a teacher elsewhere is no model."""
    for step in (step for variant in spec.variants for step in variant.steps):
        for named in teachers_of(step):
            if not is_name(named):
                check_reference(named)


def _require_sets(spec: RunSpec, home: Home) -> None:
    """Raise SpecError where a stage would read a set or a task that there will not be."""
    from tasks.evaluate.names import require_tasks

    for name, asking in _texts(spec).items():
        require_documents(spec.data, name, asking, home.data_roots)
    known = set_names(spec.data)
    for audit in spec.audits:
        if audit.source not in known:
            raise SpecError(
                f"audits: {audit.title} reads the set {audit.source!r}, which the data will "
                f"not have (its sets are: {', '.join(known)}); leave the audit out, or give "
                "data with that set"
            )
    require_tasks(spec.evaluate, known, _catalogued(spec.evaluate, home))


def _catalogued(settings: EvaluateSettings, home: Home) -> list[str]:
    """Sets of the data catalog that our own tasks ask for and that are on this machine."""
    wanted = {
        ours["catalog"]
        for task in settings.tasks
        if (ours := reads(task)) is not None and "catalog" in ours
    }
    return [name for name in sorted(wanted) if find(name, home.data_roots) is not None]


def _texts(spec: RunSpec) -> dict[str, str]:
    """Sets that a stage reads as text, and which place of the run file asks for each."""
    steps = [step for variant in spec.variants for step in variant.steps]
    asked = {name: "evaluate.texts" for name in spec.evaluate.texts}
    if isinstance(spec.model, TrainSettings):
        asked["train"] = "model: training"
    readers = [s.kind for s in steps if isinstance(s, Calibrated) and s.reads_text]
    if readers:
        asked["calibration"] = f"variants: {readers[0]}"
    elif steps and "calibration" in set_names(spec.data):
        asked["calibration"] = "variants"
    return asked


def lint_policy(path: Path, spec: Path | None, home: Home) -> Answer:
    """Judge a policy file alone, or against the measures and sizes of a run file."""
    policy = load_policy(path)
    problems: list[str] = []
    outlook: tuple[Outlook, ...] = ()
    if spec:
        run = load_spec(spec)
        problems = lint(policy, directions(run))
        if not problems:
            judged = run.model_copy(update={"policy": policy})
            outlook = foresee(judged, home, unscored(run))
    document = {
        "policy": policy.identity,
        "problems": problems,
        "outlook": [_plain(one) for one in outlook],
        "exit": 2 if problems else _exit(outlook),
    }
    alone = (
        "" if spec else "; with --spec RUN_FILE it is held against a run's measures and sizes"
    )
    sound = (
        f"{path}: {_soundness(outlook)} {plural(len(policy.rules), 'rule')}; "
        f"policy {policy.identity[:16]}{alone}."
    )
    return document, "\n".join(problems or [sound, *_lines(outlook)])


def directions(spec: RunSpec) -> dict[str, Better]:
    """Full name and direction of every measure the run will give."""
    return {name: declared.better for name, declared in spec.declares().items()}
