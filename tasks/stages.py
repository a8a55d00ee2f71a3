"""The one module that turns stages into Prefect tasks: read the table as the policy.

A stage is a plain function `(settings, job)`. Here it gets its identity (what makes a second
run skip it), its lock (two runs that need the same artifact do not make it twice), its
energy card, its retries and its timeout.
"""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from audits.errors import StageError
from audits.settings import Settings
from tasks.artifact import Artifact, Kind, Vault
from tasks.device import device_class
from tasks.job import Call, Job
from tasks.room import writing

if TYPE_CHECKING:
    from prefect import Task
    from prefect.client.schemas.objects import State

Note = Callable[[str, object], None]


@dataclass(frozen=True, slots=True)
class Row:
    """How one stage is run: where its code is, what its output is, how patient we are."""

    makes: Kind
    run: str
    """`module:function`, imported when the stage runs."""
    settings: str
    """`module:name` of the settings type."""
    version: int
    libraries: tuple[str, ...] = ()
    retries: int = 0
    timeout_s: int = 3600
    metered: bool = True
    on_device: bool = False
    """Whether it runs a network where torch finds a GPU, which changes its result."""


TRAINING = ("torch", "transformers", "tokenizers")
SCORING = ("torch", "transformers", "compressed-tensors")

TABLE: Mapping[str, Row] = {
    "data": Row(
        "dataset",
        "tasks.data:make_data",
        "tasks.data:AnyData",
        1,
        ("great-expectations",),
        retries=1,
        timeout_s=1800,
    ),
    "tokenizer": Row(
        "tokenizer",
        "tasks.train:make_tokenizer",
        "tasks.train:TokenizerSettings",
        1,
        ("tokenizers",),
        timeout_s=1800,
    ),
    "train": Row(
        "model",
        "tasks.train:make_model",
        "tasks.train:TrainSettings",
        1,
        TRAINING,
        timeout_s=86_400,
    ),
    "checkpoint": Row(
        "model",
        "tasks.train:import_model",
        "tasks.train:CheckpointSettings",
        1,
        retries=2,
        timeout_s=7200,
    ),
    "compress": Row(
        "model",
        "tasks.compress:compress",
        "tasks.compress:AnyMethod",
        2,
        ("torch", "transformers", "llmcompressor", "compressed-tensors"),
        timeout_s=21_600,
        on_device=True,
    ),
    "evaluate": Row(
        "part",
        "tasks.evaluate:evaluate",
        "tasks.evaluate:EvaluateSettings",
        2,
        (*SCORING, "lm-eval"),
        timeout_s=21_600,
        on_device=True,
    ),
    "audit": Row(
        "part",
        "tasks.audit:audit",
        "tasks.audit:AuditRun",
        2,
        SCORING,
        timeout_s=21_600,
        on_device=True,
    ),
    "profile": Row(
        "part",
        "tasks.profile:profile",
        "tasks.profile:ProfileSettings",
        1,
        SCORING,
        retries=1,
        timeout_s=3600,
        metered=False,
    ),
    "storage": Row(
        "part",
        "tasks.storage:storage",
        "tasks.storage:StorageSettings",
        1,
        timeout_s=1800,
        metered=False,
    ),
    "publish": Row(
        "receipt",
        "tasks.publish:publish",
        "tasks.publish:PublishSettings",
        3,
        ("mlflow",),
        retries=2,
        timeout_s=1800,
        metered=False,
    ),
}


def call(
    stage: str,
    settings: Settings,
    inputs: Mapping[str, Artifact],
    *,
    root: Path,
    label: str = "",
    sources: Mapping[str, str] | None = None,
    context: Mapping[str, str] | None = None,
    device: str | None = None,
) -> Call:
    """Describe one execution of a stage; its key decides whether it has been done before.

    `device` is where networks run, the class of this machine's if not given.
    """
    row = TABLE[stage]
    device = device or device_class()
    code = f"{row.version}.{getattr(settings, 'version', 0)}"
    if row.on_device and device != "cpu":
        code += f"+{device}"
    return Call(
        stage=stage,
        label=label,
        settings=settings.model_dump_json(),
        inputs=dict(inputs),
        sources=dict(sources or {}),
        code=code,
        libraries={name: metadata.version(name) for name in row.libraries},
        root=str(root),
        context=dict(context or {}),
    )


def perform(wanted: Call) -> Artifact:
    """Carry out a call, or return the sealed artifact another run has finished meanwhile."""
    from filelock import FileLock

    vault, key = Vault(Path(wanted.root)), wanted.key
    found = vault.find(wanted.stage, key)
    if found is not None:
        return found
    with FileLock(vault.work(wanted.stage, key).with_suffix(".lock")):
        found = vault.find(wanted.stage, key)
        if found is not None:
            return found
        return _make(vault, wanted, key, vault.work(wanted.stage, key))


def _make(vault: Vault, wanted: Call, key: str, work: Path) -> Artifact:
    row = TABLE[wanted.stage]
    out = work / "content"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    scratch = work / "scratch"
    scratch.mkdir(exist_ok=True)
    facts: dict[str, object] = {
        "settings": wanted.settings,
        "libraries": dict(wanted.libraries),
    }
    job = Job(out, scratch, wanted.inputs, facts.__setitem__, wanted.context)
    settings: Any = TypeAdapter(_load(row.settings)).validate_json(wanted.settings)
    try:
        with writing(vault.root):  # asked while what was written is still there
            _carry_out(wanted, settings, job, facts)
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)  # the scratch stays: it may hold checkpoints
        raise
    sealed = vault.seal(
        row.makes,
        out,
        stage=wanted.stage,
        key=key,
        parents=tuple(a.digest for _, a in sorted(wanted.inputs.items())),
        facts=facts,
    )
    shutil.rmtree(work, ignore_errors=True)
    return sealed


def _carry_out(wanted: Call, settings: Any, job: Job, facts: dict[str, object]) -> None:  # noqa: ANN401 - the type is the table's
    row = TABLE[wanted.stage]
    began = time.perf_counter()
    if row.metered:
        from tasks.energy import process_meter

        name = f"{wanted.stage} {wanted.label} {wanted.key[:8]}"
        with process_meter().measure(name) as reading:
            _load(row.run)(settings, job)
        facts["energy"] = reading.as_json()
    else:
        _load(row.run)(settings, job)
    facts["seconds"] = time.perf_counter() - began
    if not any(job.out.iterdir()):
        raise StageError(
            f"{wanted.stage} {wanted.label}: the stage finished but wrote nothing; mend it"
        )


def _load(where: str) -> Any:  # noqa: ANN401 - the table names functions and types
    module, _, name = where.partition(":")
    return getattr(import_module(module), name)


@cache
def prefect_task(stage: str) -> "Task[[Call], Artifact]":
    """The Prefect task of a stage: cached by key, results as JSON, never pickles."""
    from prefect import task

    row = TABLE[stage]
    made: Task[[Call], Artifact] = task(
        name=stage,
        task_run_name="{wanted.stage} {wanted.label}",
        cache_key_fn=_cache_key,
        persist_result=True,
        result_serializer="json",
        retries=row.retries,
        retry_delay_seconds=5,
        retry_condition_fn=_worth_retrying,
        timeout_seconds=row.timeout_s,
        log_prints=False,
    )(perform)
    return made


def _cache_key(_context: object, arguments: Mapping[str, Any]) -> str:
    # Prefect looks for a result under this key alone, so a storage key of its own would
    # hide every result from the run that looks for it.
    wanted: Call = arguments["wanted"]
    return f"{wanted.stage}-{wanted.key}"


def _worth_retrying(_task: object, _run: object, state: "State[Any]") -> bool:
    """A person's mistake and a failed audit stay what they are; a lost connection may not."""
    failure = state.result(raise_on_failure=False)
    return isinstance(failure, OSError | TimeoutError)
