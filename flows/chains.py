"""Variants as chains of steps: each made once, and after those that teach it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from flows.home import Home
from flows.spec import BASE, RunSpec, is_name
from tasks.artifact import Artifact, fingerprint
from tasks.compress import AnyMethod, Distill
from tasks.compress.teacher import ROLE
from tasks.job import Call
from tasks.stages import call
from tasks.train import CheckpointSettings

Perform = Callable[[Call], Artifact]
"""Carries out a call: Prefect in a run, directly in `reproduce` and in tests."""


class Chains:
    """Makes the variants of a run when they are asked for, by themselves or as teachers."""

    def __init__(
        self, spec: RunSpec, home: Home, base: Artifact, dataset: Artifact, perform: Perform
    ) -> None:
        self._variants = {variant.name: variant for variant in spec.variants}
        self._home, self._base, self._dataset = home, base, dataset
        self._perform = perform
        self._made: dict[str, tuple[Artifact, ...]] = {}
        self._outside: dict[str, Artifact] = {}

    def steps(self, name: str) -> tuple[Artifact, ...]:
        """The models of a variant's steps, in order; made once."""
        if name not in self._made:
            made: list[Artifact] = []
            variant = self._variants[name]
            for number, method in enumerate(variant.steps, 1):
                label = name if len(variant.steps) == 1 else f"{name} step {number}"
                source = made[-1] if made else self._base
                inputs = {"model": source, "dataset": self._dataset}
                taught = [self._model(named) for named in teachers_of(method)]
                wanted = compress_call(method, inputs, taught, self._home, label)
                made.append(self._perform(wanted))
            self._made[name] = tuple(made)
        return self._made[name]

    def _model(self, named: str) -> Artifact:
        """A teacher by its name in the run file: the base, a variant, or a model elsewhere."""
        if named == BASE:
            return self._base
        if is_name(named):
            return self.steps(named)[-1]
        if named not in self._outside:
            model = CheckpointSettings(path=named)
            wanted = checkpoint_call(model, self._home, "teacher")
            self._outside[named] = self._perform(wanted)
        return self._outside[named]


def teachers_of(method: AnyMethod) -> tuple[str, ...]:
    """The further models that a step learns from; the base where a run file names none."""
    if not isinstance(method, Distill):
        return ()
    return tuple(teacher.model for teacher in method.teachers) or (BASE,)


def compress_call(
    method: AnyMethod,
    inputs: Mapping[str, Artifact],
    teachers: Sequence[Artifact],
    home: Home,
    label: str,
) -> Call:
    """The call of one step; its teachers, and what quantizes a GGUF file, are in its key."""
    if isinstance(method, Distill):
        method = method.handed([teacher.digest for teacher in teachers])
    from tasks.models.gguf_file import runner_version

    further = {f"{ROLE}{at}": teacher for at, teacher in enumerate(teachers)}
    sources = {"llama-cpp-python": runner_version()} if method.kind == "gguf" else {}
    return call(
        "compress",
        method,
        {**inputs, **further},
        root=home.artifacts,
        label=label,
        sources=sources,
    )


def checkpoint_call(model: CheckpointSettings, home: Home, label: str = BASE) -> Call:
    """The call that brings an existing checkpoint in; its content is part of the key."""
    folder = Path(model.path).expanduser()
    sources = {model.path: fingerprint(folder)} if folder.is_dir() else {}
    return call("checkpoint", model, {}, root=home.artifacts, label=label, sources=sources)
