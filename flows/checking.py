"""What can be said of a run file and a policy before any compute."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audits.errors import SpecError
from audits.estimand import Better
from flows.home import Home
from flows.spec import BASE, RunSpec, load_spec
from registry.policy import lint, load_policy
from tasks.data import sources
from tasks.train import CheckpointSettings

Answer = tuple[dict[str, Any], str]


def check_spec(path: Path, changes: Sequence[str], home: Home) -> Answer:
    """Validate a run file, its policy, and that what it names is on this machine."""
    spec = load_spec(path, changes)
    require_sound(spec, home)
    candidates = [BASE, *(v.name for v in spec.variants)]
    declared = spec.declares()
    document = {
        "spec": spec.identity,
        "name": spec.name,
        "model": spec.registered,
        "policy": spec.policy.identity,
        "candidates": candidates,
        "measures": sorted(declared),
        "rules": len(spec.policy.rules),
    }
    text = (
        f"{path}: sound. {len(candidates)} candidates ({', '.join(candidates)}), "
        f"{len(spec.audits)} audits, {len(declared)} measures, {len(spec.policy.rules)} rules "
        f"in policy {spec.policy.name}; spec {spec.identity[:16]}."
    )
    return document, text


def require_sound(spec: RunSpec, home: Home) -> None:
    """Raise SpecError where the run could only end in a mistake we can see now."""
    problems = lint(spec.policy, directions(spec))
    if problems:
        raise SpecError("; ".join(problems))
    if isinstance(spec.model, CheckpointSettings):
        from tasks.models.folder import check_reference

        check_reference(spec.model.path, spec.model.revision)
    sources(spec.data, home.data_roots)


def lint_policy(path: Path, spec: Path | None) -> Answer:
    """Judge a policy file alone, or against the measures of a run file."""
    policy = load_policy(path)
    problems = lint(policy, directions(load_spec(spec))) if spec else []
    document = {"policy": policy.identity, "problems": problems, "exit": 2 if problems else 0}
    sound = f"{path}: sound. {len(policy.rules)} rules; policy {policy.identity[:16]}."
    return document, "\n".join(problems) or sound


def directions(spec: RunSpec) -> dict[str, Better]:
    """Full name and direction of every measure the run will give."""
    return {name: declared.better for name, declared in spec.declares().items()}
