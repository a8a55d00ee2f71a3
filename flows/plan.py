"""What a run file makes, in order: calls in, sealed artifacts out. Knows no orchestrator."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from audits.catalog import AnyAudit
from audits.errors import SpecError
from audits.plugin import Plugin
from flows.chains import Chains, Perform, checkpoint_call
from flows.failing import Attempts, Broken, Failed
from flows.home import Home, talk
from flows.spec import BASE, UNTRAINED, RunSpec
from tasks.artifact import Artifact
from tasks.audit import AuditRun
from tasks.data import AnyData, WorldData, sources
from tasks.data.catalog import entry, find
from tasks.dataset import set_names
from tasks.evaluate import EvaluateSettings
from tasks.evaluate.outside import Catalogued, Locate, outside
from tasks.job import Call
from tasks.profile.measure import processor_name
from tasks.scorers import origins
from tasks.stages import call
from tasks.storage import NAME as STORAGE
from tasks.storage import STEP, StorageSettings
from tasks.train import TrainSettings


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that may become champion, and everything measured about it."""

    name: str
    model: Artifact
    parts: Mapping[str, Artifact]
    steps: tuple[Artifact, ...]
    """Every model on the way from the base, the candidate's own last."""


@dataclass(frozen=True, slots=True)
class Made:
    """All that the stages of a run made, before anything is published or judged."""

    dataset: Artifact
    tokenizer: Artifact | None
    base: Artifact
    candidates: tuple[Candidate, ...]
    failed: tuple[Failed, ...] = ()
    """Variants that are no candidates, for a stage failed that they cannot do without."""


def make(spec: RunSpec, home: Home, perform: Perform) -> Made:
    """Data, model, variants, and every measurement of every candidate.

    A variant whose stage fails is left out with the reason, and the others are finished. What
    all depend on ends the run: data, the base model and its measurements, and twins.
    """
    dataset = make_dataset(spec, home, perform)
    tokenizer, base = base_model(spec, home, dataset, perform)
    controls = control_parts(spec, home, dataset, tokenizer, perform)
    candidates = [_measure(spec, home, BASE, base, base, (), dataset, perform)]
    attempts, failed = Attempts(perform), []
    chains = Chains(spec, home, base, dataset, attempts)
    for variant in spec.variants:
        name, undone = variant.name, "not made"
        try:
            steps = chains.steps(name)
            undone = "not measured"
            made = _measure(spec, home, name, steps[-1], base, steps, dataset, attempts)
        except Broken as broken:
            failed.append(Failed(name, undone, broken))
            talk(f"note: {name} is {failed[-1].sentence}")
        else:
            candidates.append(made)
    with_controls = (replace(c, parts={**c.parts, **controls}) for c in candidates)
    return Made(dataset, tokenizer, base, tuple(with_controls), tuple(failed))


def make_dataset(spec: RunSpec, home: Home, perform: Perform) -> Artifact:
    """The dataset of a run."""
    return perform(data_call(spec.data, home))


def data_call(data: AnyData, home: Home) -> Call:
    """The call that makes a dataset; what it reads from outside is part of its key."""
    return call(
        "data",
        data,
        {},
        root=home.artifacts,
        label=data.kind,
        sources=sources(data, home.data_roots),
        context={"roots": "\n".join(map(str, home.data_roots))},
    )


def base_model(
    spec: RunSpec, home: Home, dataset: Artifact, perform: Perform
) -> tuple[Artifact | None, Artifact]:
    """The tokenizer, where one is made here, and the uncompressed model."""
    model = spec.model
    if isinstance(model, TrainSettings):
        tokenizer = make_tokenizer(model, home, dataset, perform)
        inputs = {"dataset": dataset, "tokenizer": tokenizer}
        return tokenizer, perform(call("train", model, inputs, root=home.artifacts, label=BASE))
    return None, perform(checkpoint_call(model, home))


def make_tokenizer(
    model: TrainSettings, home: Home, dataset: Artifact, perform: Perform
) -> Artifact:
    """The tokenizer of a model that is trained here."""
    return perform(
        call("tokenizer", model.tokenizer, {"dataset": dataset}, root=home.artifacts)
    )


def control_parts(
    spec: RunSpec,
    home: Home,
    dataset: Artifact,
    tokenizer: Artifact | None,
    perform: Perform,
) -> dict[str, Artifact]:
    """What audits of facts say of twins, by name of the part.

    A twin is trained as the base model is, with its tokenizer, on the world told otherwise (or
    not at all), and asked about the world as it is.
    """
    twins: dict[str, Artifact] = {}
    for control in spec.controls:
        assert isinstance(spec.data, WorldData)
        assert isinstance(spec.model, TrainSettings)
        assert tokenizer is not None
        model, told = spec.model, dataset
        if control in UNTRAINED:
            seed = (model.seed + UNTRAINED[control]) % 2**32
            model = model.model_copy(update={"max_steps": 0, "seed": seed})
        else:
            told = perform(data_call(spec.data.model_copy(update={"twin": control}), home))
        inputs = {"dataset": told, "tokenizer": tokenizer}
        label = f"{control} twin"
        twins[control] = perform(call("train", model, inputs, root=home.artifacts, label=label))
    found = {}
    for name, (control, audit) in spec.controlled().items():
        twin = twins[control]
        settings = AuditRun(audit=audit, seed=spec.seed, control=control)
        inputs = {"model": twin, "dataset": dataset, "trained": twin}
        label = f"{audit.title} of {control} twin"
        found[name] = perform(audit_call(settings, inputs, home, label))
    return found


def _measure(
    spec: RunSpec,
    home: Home,
    name: str,
    model: Artifact,
    base: Artifact,
    steps: tuple[Artifact, ...],
    dataset: Artifact,
    perform: Perform,
) -> Candidate:
    asked = {"model": model, "dataset": dataset}
    trained = {"trained": base} if base.stage == "train" else {}
    parts: dict[str, Artifact] = {}
    if spec.evaluate.tasks or spec.evaluate.texts:
        parts["evaluate"] = perform(evaluate_call(spec.evaluate, asked, home, name))
    for audit in spec.audits:
        settings = AuditRun(audit=audit, seed=spec.seed)
        label = f"{audit.title} of {name}"
        parts[audit.title] = perform(audit_call(settings, asked | trained, home, label))
    if spec.profile.enabled:
        parts["profile"] = perform(
            call(
                "profile",
                spec.profile,
                {"model": model},
                root=home.artifacts,
                label=name,
                sources={**machine(), **runner(model)},
            )
        )
    on_the_way = {f"{STEP}{number}": step for number, step in enumerate(steps, 1)}
    parts[STORAGE] = perform(
        call(
            "storage",
            StorageSettings(),
            {"model": model} | on_the_way,
            root=home.artifacts,
            label=name,
        )
    )
    return Candidate(name, model, parts, steps or (model,))


def evaluate_call(
    settings: EvaluateSettings, inputs: Mapping[str, Artifact], home: Home, label: str
) -> Call:
    """The call that evaluates a model; all that its tasks read from outside is in the key."""
    data = inputs.get("dataset")
    found = outside(settings, set_names(data.folder) if data else (), catalogue(home))
    return call(
        "evaluate",
        settings,
        inputs,
        root=home.artifacts,
        label=label,
        sources={**found.sources, **runner(inputs["model"])},
        context={**found.context, **home.scoring},
    )


def audit_call(
    settings: AuditRun, inputs: Mapping[str, Artifact], home: Home, label: str
) -> Call:
    """The call that puts one audit to a model; a foreign audit's package is in the key."""
    return call(
        "audit",
        settings,
        inputs,
        root=home.artifacts,
        label=label,
        sources={
            **audit_sources(settings.audit),
            **origins(settings.audit.wanted.scorer),
            **runner(inputs["model"]),
        },
        context=home.scoring,
    )


def runner(model: Artifact) -> dict[str, str]:
    """What runs a GGUF file, whose version changes results as a library's does."""
    from tasks.models.folder import gguf_file

    if gguf_file(model.folder) is None:
        return {}
    from tasks.models.gguf_file import runner_version

    return {"llama-cpp-python": runner_version()}


def catalogue(home: Home) -> Locate:
    """Finds verified files of the data catalog on this machine."""

    def locate(name: str) -> Catalogued | None:
        file = find(name, home.data_roots)
        if file is None:
            return None
        about = entry(name)
        return Catalogued(
            path=str(file), repo=about.repo, revision=about.revision, sha256=about.sha256
        )

    return locate


def audit_sources(audit: AnyAudit) -> dict[str, str]:
    """The installed package behind a foreign audit; our own say their version themselves."""
    return {"package": audit.package()} if isinstance(audit, Plugin) else {}


def machine() -> dict[str, str]:
    """What a profile holds for: artifacts may lie where several machines read them."""
    return {"processor": processor_name(), "cores": str(os.cpu_count())}


def find_candidate(made: Made, name: str) -> Candidate:
    """The candidate called so.

    Raises:
        StageError: a stage failed that it cannot do without.
        SpecError: there is none; with the names there are.
    """
    for failed in made.failed:
        if failed.name == name:
            raise failed.error
    for candidate in made.candidates:
        if candidate.name == name:
            return candidate
    known = ", ".join(c.name for c in made.candidates)
    raise SpecError(f"no candidate is called {name!r}; this run makes: {known}")
