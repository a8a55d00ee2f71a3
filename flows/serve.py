"""A real Prefect server that runs run files by themselves, on their schedules."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import available_timezones

from pydantic import Field, field_validator, model_validator

from audits.errors import SpecError
from audits.settings import Settings
from flows.home import Home, talk
from flows.machine import require_port
from flows.prefect_server import PrefectServer
from registry.documents import read_yaml, validate

ENTRYPOINT = "flows.pipeline.pipeline"


class Schedule(Settings):
    """When a deployment runs: a cron line, or an interval in seconds."""

    cron: str | None = None
    interval: Annotated[float, Field(gt=0)] | None = None
    timezone: str = "UTC"

    @field_validator("cron")
    @classmethod
    def _cron_is_one(cls, cron: str | None) -> str | None:
        from prefect.client.schemas.schedules import CronSchedule

        try:
            return cron if cron is None else CronSchedule(cron=cron).cron
        except ValueError as error:
            raise ValueError(
                f"{cron!r} is no cron line; write one like '0 2 * * *' (every night at two)"
            ) from error

    @field_validator("timezone")
    @classmethod
    def _timezone_exists(cls, timezone: str) -> str:
        if timezone not in available_timezones():
            raise ValueError(f"{timezone!r} is no time zone; write one like Europe/Berlin")
        return timezone

    @model_validator(mode="after")
    def _one_rhythm(self) -> Self:
        if (self.cron is None) == (self.interval is None):
            raise ValueError("give either cron or interval, and not both")
        return self


class Deployment(Settings):
    """One run file and its schedules."""

    name: str
    description: str = ""
    entrypoint: Literal["flows.pipeline.pipeline"] = "flows.pipeline.pipeline"
    parameters: Mapping[str, Any] = {}
    schedules: Annotated[tuple[Schedule, ...], Field(min_length=1)]


class Deployments(Settings):
    """The part of Prefect's deployment file that we use."""

    name: str = "assay"
    deployments: Annotated[tuple[Deployment, ...], Field(min_length=1)]


def load_deployments(path: Path) -> Deployments:
    """Read a deployment file; every run file it names must exist."""
    found = validate(Deployments, read_yaml(path), str(path))
    for deployment in found.deployments:
        run_file = deployment.parameters.get("run_file")
        if not isinstance(run_file, str) or not Path(run_file).is_file():
            raise SpecError(
                f"{path}: deployment {deployment.name!r} names the run file {run_file!r}, "
                "which is not there; give a path from where `assay serve` is started"
            )
    return found


def serve(path: Path, home: Home, *, host: str, port: int) -> None:
    """Start a Prefect server on host:port and run the schedules of `path` until interrupted."""
    # Set before anything imports Prefect, which reads it then.
    os.environ["PREFECT_API_URL"] = f"http://{host}:{port}/api"
    wanted = load_deployments(path)
    require_port(host, port)
    server = PrefectServer.lasting(host, port, home.root / "logs" / "prefect-server.log")
    try:
        with _ctrl_c_stays_itself():
            server.wait()
            talk(f"Prefect server and UI at http://{host}:{port}; stop with Ctrl-C.")
            for deployment in wanted.deployments:
                talk(f"  {deployment.name}: {deployment.parameters['run_file']}")
            _serve_all(wanted)
    finally:
        server.stop()


@contextmanager
def _ctrl_c_stays_itself() -> Iterator[None]:
    """Raise KeyboardInterrupt also where pydantic has made it a serialization error.

    Of an interrupt amid serialization pydantic keeps the name alone, so that is looked for.
    A signal handler of our own would keep asyncio from ending its tasks in order.
    """
    try:
        yield
    except Exception as error:
        if KeyboardInterrupt.__name__ in str(error):
            raise KeyboardInterrupt from None
        raise


def _serve_all(wanted: Deployments) -> None:
    from prefect import serve as prefect_serve
    from prefect.client.schemas.schedules import construct_schedule
    from prefect.types.entrypoint import EntrypointType

    from flows.pipeline import pipeline

    made: list[Any] = [
        pipeline.to_deployment(
            name=deployment.name,
            description=deployment.description,
            parameters=dict(deployment.parameters),
            schedules=[
                construct_schedule(cron=s.cron, interval=s.interval, timezone=s.timezone)
                for s in deployment.schedules
            ],
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        for deployment in wanted.deployments
    ]
    # Metered stages run one at a time, and so do runs.
    prefect_serve(*made, pause_on_shutdown=True, limit=1)
