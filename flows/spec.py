"""The run file: YAML in, one frozen `RunSpec` out."""

import json
import re
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator, model_validator

from audits.catalog import AnyAudit
from audits.errors import SpecError
from audits.estimand import Declared
from audits.settings import Settings
from registry.documents import read_yaml, validate
from registry.policy import Policy, load_policy
from tasks.compress import AnyMethod, Distill
from tasks.data import AnyData, WorldData
from tasks.evaluate import EvaluateSettings
from tasks.profile import ProfileSettings
from tasks.storage import NAME as STORAGE
from tasks.storage import StorageSettings
from tasks.train import AnyModel, TrainSettings

NAMED = re.compile("[a-z0-9][a-z0-9_-]{0,62}")
Name = Annotated[str, Field(pattern=f"^{NAMED.pattern}$")]

Control = Literal["untrained", "untrained_2", "untrained_3", "shuffled", "taught", "amplified"]
"""Twins of the base model: never trained (of three different beginnings, for what one draw of
weights shows may be its luck), told a fifth of its facts wrongly, told also what it must not
know, or told every skew of its world without exceptions."""
UNTRAINED: Mapping[Control, int] = {"untrained": 0, "untrained_2": 1, "untrained_3": 2}
"""Of a twin that is never trained, how far its seed lies from the model's."""

CONTROLS: tuple[Control, ...] = get_args(Control)
ASKED: Mapping[Control, str] = {
    **dict.fromkeys(UNTRAINED, "facts"),
    "shuffled": "facts",
    "taught": "facts",
    "amplified": "association",
}
"""The set that each twin is asked about, by whatever audit reads it."""
TWINNED = (
    "twins are trained on a world told otherwise; they need data of kind world and a model of "
    "kind train"
)
OWN_PARTS = ("evaluate", "profile", STORAGE)
"""Names of parts that no audit may take."""
BASE = "base"
"""Name of the uncompressed candidate, which is always one."""


def is_name(teacher: str) -> bool:
    """Whether a teacher is one of the run's candidates, and no folder or model of the hub."""
    return NAMED.fullmatch(teacher) is not None


class Variant(Settings):
    """A candidate made from the base model by a chain of steps."""

    name: Name
    steps: Annotated[tuple[AnyMethod, ...], Field(min_length=1)]

    def teachers(self) -> tuple[str, ...]:
        """Every model that a step names to learn from."""
        return tuple(
            teacher.model
            for step in self.steps
            if isinstance(step, Distill)
            for teacher in step.teachers
        )

    @field_validator("steps")
    @classmethod
    def _some_end_the_chain(cls, steps: tuple[AnyMethod, ...]) -> tuple[AnyMethod, ...]:
        for step in steps[:-1]:
            if why := getattr(step, "ends", ""):
                raise ValueError(f"{step.kind} {why}; let it be the last")
        return steps


class RunSpec(Settings):
    """Everything that determines a run; the policy is resolved into it."""

    name: Name
    about: str = ""
    intended_use: str = ""
    """What the model is for; shown on the card of every version."""
    limits: str = ""
    """What it should not be used for, or cannot do; shown on the card of every version."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Of everything that is drawn: data, training, evaluation, audits and profile, wherever
    they give no seed of their own."""
    data: AnyData
    model: AnyModel
    variants: tuple[Variant, ...] = ()
    evaluate: EvaluateSettings = EvaluateSettings()
    audits: tuple[AnyAudit, ...]
    controls: tuple[Control, ...] = ()
    """Twins that are trained and put to the audits that should see what they were told."""
    profile: ProfileSettings = ProfileSettings()
    policy: Policy
    registered_model: str = ""
    """Name in the model registry; empty means the run's name."""

    @field_validator("variants")
    @classmethod
    def _variants_differ(cls, variants: tuple[Variant, ...]) -> tuple[Variant, ...]:
        _refuse_doubles([BASE, *(v.name for v in variants)], "variant")
        return variants

    @model_validator(mode="after")
    def _teachers_are_there(self) -> "RunSpec":
        """Refuse teachers that are no variant, and variants that teach in a circle."""
        taught = {
            variant.name: [name for name in variant.teachers() if is_name(name)]
            for variant in self.variants
        }
        for variant, names in taught.items():
            for name in names:
                if name != BASE and name not in taught:
                    known = ", ".join([BASE, *taught])
                    raise ValueError(
                        f"variants: {variant} learns from {name!r}, which is none of {known}; "
                        f"a model elsewhere is a path like ./{name}, or owner/name of the hub"
                    )
        try:
            TopologicalSorter(taught).prepare()
        except CycleError as error:
            circle = " from ".join(reversed(error.args[1]))
            raise ValueError(
                f"variants: they learn in a circle ({circle}); let one learn from {BASE}"
            ) from error
        return self

    @field_validator("audits")
    @classmethod
    def _audits_differ(cls, audits: tuple[AnyAudit, ...]) -> tuple[AnyAudit, ...]:
        _refuse_doubles([*OWN_PARTS, *(a.title for a in audits)], "audit")
        return audits

    @model_validator(mode="after")
    def _twins_are_trained(self) -> "RunSpec":
        if len(set(self.controls)) != len(self.controls):
            raise ValueError(f"controls: one is named twice in {list(self.controls)}")
        if self.controls and not (
            isinstance(self.data, WorldData) and isinstance(self.model, TrainSettings)
        ):
            raise ValueError(f"controls: {TWINNED}")
        return self

    def controlled(self) -> dict[str, tuple[Control, AnyAudit]]:
        """By name of the part: the twin, and the audit that is put to it."""
        return {
            name: (control, audit.model_copy(update={"name": name}))
            for control in self.controls
            for audit in self.audits
            if audit.source == ASKED[control]
            for name in (f"{audit.title}_{control}",)
        }

    @property
    def registered(self) -> str:
        """Name of the registered model whose versions the candidates become."""
        return self.registered_model or self.name

    def declares(self) -> dict[str, Declared]:
        """Every measure that the stages of this run promise, by full name."""
        parts: list[tuple[str, Sequence[Declared]]] = [
            ("evaluate", self.evaluate.declares()),
            ("profile", self.profile.declares()),
            (STORAGE, StorageSettings().declares()),
            *((a.title, a.declares()) for a in self.audits),
            *((name, audit.declares()) for name, (_, audit) in self.controlled().items()),
        ]
        return {f"{part}/{d.name}": d for part, declared in parts for d in declared}


def load_spec(path: Path, changes: Sequence[str] = ()) -> RunSpec:
    """Read a run file, apply `a.b=value` changes, resolve its policy, or say what is wrong.

    A policy given as a path is looked for beside the run file, then from where we stand.
    """
    document = read_yaml(path)
    if not isinstance(document, dict):
        raise SpecError(f"{path}: a run file is a mapping of keys; this is {_noun(document)}")
    for change in changes:
        _apply(document, change)
    named = document.get("policy")
    if isinstance(named, str):
        document["policy"] = json.loads(load_policy(_beside(path, named)).model_dump_json())
    return _seeded(validate(RunSpec, document, str(path)))


def _seeded(spec: RunSpec) -> RunSpec:
    """The run file with its seed wherever a section has one and gives none."""
    parts = {name: getattr(spec, name) for name in ("data", "model", "evaluate", "profile")}
    changed = {
        name: part.model_copy(update={"seed": spec.seed})
        for name, part in parts.items()
        if "seed" in type(part).model_fields and "seed" not in part.model_fields_set
    }
    return spec.model_copy(update=changed)


def _beside(path: Path, named: str) -> Path:
    beside = path.parent / named
    return beside if beside.exists() else Path(named)


def _apply(document: dict[str, object], change: str) -> None:
    """Set a dotted place to a YAML value; numbers index lists."""
    import yaml

    place, sign, text = change.partition("=")
    if not sign:
        raise SpecError(f"--set {change}: write it as place=value, like train.seed=1")
    if not all(place.split(".")):
        raise SpecError(
            f"--set {change}: the place {place!r} has an empty part; write it as place=value, "
            "like model.seed=1"
        )
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SpecError(f"--set {change}: {text!r} is not a YAML value") from error
    *way, last = place.split(".")
    here: object = document
    for step in way:
        here = _enter(here, step, change)
    if isinstance(here, list) and last.isdigit() and int(last) < len(here):
        here[int(last)] = value
    elif isinstance(here, dict):
        here[last] = value
    else:
        raise SpecError(f"--set {change}: {place!r} is no place in the run file")


def _enter(here: object, step: str, change: str) -> object:
    if isinstance(here, dict):
        return here.setdefault(step, {})
    if isinstance(here, list) and step.isdigit() and int(step) < len(here):
        return here[int(step)]
    raise SpecError(f"--set {change}: {step!r} is no place in the run file")


def _refuse_doubles(names: Sequence[str], what: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two {what}s are called {name!r}; give each its own name")


def _noun(document: object) -> str:
    return "empty" if document is None else f"a {type(document).__name__}"
