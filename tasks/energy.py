"""How much energy did a stage take, and is that a measurement or a model's guess?

CodeCarbon answers with one number either way. The card keeps what it leaves out: how the
number was obtained, on what assumption, and between which bounds an estimate can lie.
"""

import math
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from audits.errors import StageError
from audits.settings import Settings
from tasks.energy_card import Card, Status, total
from tasks.power import (
    IDLE_SHARE,
    Clock,
    CpuMethod,
    Load,
    cpu_of,
    gpu_of,
    has_counters,
    possible_range,
    quiet,
    tdp_source,
)

if TYPE_CHECKING:
    from codecarbon import OfflineEmissionsTracker

__all__ = ["Card", "EnergySettings", "Meter", "Reading", "process_meter", "total"]

JOULES_PER_KWH = 3.6e6


class EnergySettings(Settings):
    """How stages are metered."""

    enabled: bool = True
    country: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USA"
    """ISO code CodeCarbon insists on; it changes only grams of CO2, which we do not report."""
    tracking: Literal["machine", "process"] = "machine"
    """`machine` counts every tenant of the host; `process` only us, without an idle floor."""
    pue: Annotated[float, Field(ge=1)] = 1.0
    tdp_w: Annotated[float, Field(gt=0)] | None = None
    """The processor's rated power, used only where no energy counter can be read."""


class Reading:
    """What `Meter.measure` yields; the card is there once the block has ended."""

    def __init__(self) -> None:
        self._card: Card | None = None

    @property
    def card(self) -> Card:
        """The finished card; StageError inside the block."""
        if self._card is None:
            raise StageError("the energy card is read before its stage has ended")
        return self._card

    def as_json(self) -> dict[str, object]:
        """The finished card as JSON values."""
        return self.card.model_dump(mode="json")


class Meter:
    """One CodeCarbon tracker for the whole process; metered stages run one at a time.

    Nothing is started, imported or looked up before the first stage is metered.
    """

    def __init__(self, settings: EnergySettings | None = None) -> None:
        self._settings = settings or EnergySettings()
        self._turn = threading.Lock()
        self._holder: int | None = None
        self._tracker: OfflineEmissionsTracker | None = None
        self._broken = "" if self._settings.enabled else "metering is switched off"
        self._tasks = 0

    @contextmanager
    def measure(self, name: str) -> Iterator[Reading]:
        """Meter the block; stages in other threads wait, a stage within a stage is refused.

        A meter that cannot start never stops the work: the card then has the status "none".

        Raises:
            StageError: this thread is already metering a stage.
        """
        if self._holder == threading.get_ident():
            raise StageError(
                f"{name} is metered inside another metered stage; meter one of them"
            )
        with self._turn:
            self._holder = threading.get_ident()
            reading = Reading()
            try:
                task = self._begin(name)
                before = Clock()
                try:
                    yield reading
                finally:
                    reading._card = self._end(task, before)
            finally:
                self._holder = None

    def _begin(self, name: str) -> str:
        """Start a task under a name never used before: a reused one reads the old start."""
        self._tasks += 1
        task = f"{self._tasks}-{name}"
        if self._broken:
            return task
        try:
            if self._tracker is None:
                self._tracker = _start_tracker(self._settings)
            self._tracker.start_task(task)
            # A task pauses the periodic reading. It goes on here because a RAPL counter
            # wraps within the hour, and only one wrap between two readings is noticed.
            self._tracker._scheduler.start()
        except Exception as error:  # noqa: BLE001 (a meter must not stop what it meters)
            self._broken = f"CodeCarbon did not start ({type(error).__name__}: {error})"
        return task

    def _end(self, task: str, before: Clock) -> Card:
        after = Clock()
        load = before.load(after)
        seconds = after.wall - before.wall
        if self._broken or self._tracker is None:
            return Card(
                status="none",
                duration_s=seconds,
                why=self._broken,
                host_load=load.host,
                own_load=load.own,
            )
        try:
            self._tracker._scheduler.stop()
            data = self._tracker.stop_task(task)
            if data is None:
                raise RuntimeError("it lost the task")
            return _card(self._settings, self._tracker, data, load)
        except Exception as error:  # noqa: BLE001 (a meter must not stop what it meters)
            self._broken = f"CodeCarbon failed ({type(error).__name__}: {error})"
            return Card(
                status="none",
                duration_s=seconds,
                why=self._broken,
                host_load=load.host,
                own_load=load.own,
            )


def _start_tracker(settings: EnergySettings) -> "OfflineEmissionsTracker":
    """A tracker that writes no file and opens no connection, whatever its own config says."""
    import codecarbon

    quiet()
    # A forced power switches RAPL off, so it is a fallback only.
    tdp = settings.tdp_w if settings.tdp_w and not has_counters() else None
    return codecarbon.OfflineEmissionsTracker(
        country_iso_code=settings.country,
        tracking_mode=settings.tracking,
        pue=settings.pue,
        output_methods=[],
        output_dir=tempfile.gettempdir(),
        emissions_endpoint="",
        electricitymaps_api_token="",
        force_mode_cpu_load=False,
        measure_power_secs=60,
        allow_multiple_runs=True,
        log_level="critical",
        **({} if tdp is None else {"force_cpu_power": tdp}),
    )


def _card(
    settings: EnergySettings,
    tracker: Any,  # noqa: ANN401 (untyped library object)
    data: Any,  # noqa: ANN401 (untyped library object)
    load: Load,
) -> Card:
    """Read what was measured and, from the tracker's hardware, how."""
    cpu_method, tdp = cpu_of(tracker)
    gpu_method = gpu_of(tracker)
    cpu_j, gpu_j = data.cpu_energy * JOULES_PER_KWH, data.gpu_energy * JOULES_PER_KWH
    why = _doubt(cpu_method, cpu_j, data.duration)
    if why:
        return Card(
            status="none",
            duration_s=data.duration,
            why=why,
            host_load=load.host,
            own_load=load.own,
        )
    cpu_measured = cpu_method in ("rapl", "sensor")
    low = high = cpu_j
    if not cpu_measured and tdp:
        floor = IDLE_SHARE if settings.tracking == "machine" else 0.0
        low, high = possible_range(tdp * settings.pue, data.duration, floor=floor)
        # The tracker's clock starts a moment before the task's.
        low, high = min(low, cpu_j), max(high, cpu_j)
    modelled: Status = "estimated" if gpu_method == "none" else "mixed"
    return Card(
        status="measured" if cpu_measured else modelled,
        duration_s=data.duration,
        energy_j=cpu_j + gpu_j,
        low_j=low + gpu_j,
        high_j=high + gpu_j,
        cpu_j=cpu_j,
        gpu_j=None if gpu_method == "none" else gpu_j,
        ram_j=data.ram_energy * JOULES_PER_KWH,
        cpu_method=cpu_method,
        gpu_method=gpu_method,
        tdp_w=None if cpu_measured else tdp,
        tdp_source="none" if cpu_measured else tdp_source(tracker),
        tracking_mode=settings.tracking,
        pue=settings.pue,
        host_load=load.host,
        own_load=load.own,
    )


def _doubt(method: CpuMethod, joules: float, seconds: float) -> str:
    """Why a processor reading is none; empty where it is one."""
    if method == "none":
        return "CodeCarbon found no way to read or model this processor"
    if not (math.isfinite(joules) and joules >= 0):
        return f"the processor's energy reads {joules} J"
    if joules == 0 and seconds > 0.1:
        return f"the energy counter did not move in {seconds:.1f} s"
    return ""


@cache
def process_meter(settings: EnergySettings | None = None) -> Meter:
    """The meter of this process, for these settings; two would count the same joules twice."""
    return Meter(settings)
