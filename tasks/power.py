"""By what means did CodeCarbon arrive at its number? Nothing in its answer says so.

Reads private parts of its tracker (3.3), because the means decide whether the number is a
measurement. `Any` stands for its untyped objects.
"""

import logging
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

CpuMethod = Literal["rapl", "sensor", "cpu_load", "constant", "none"]
GpuMethod = Literal["nvml_energy", "nvml_power", "sensor", "none"]
TdpSource = Literal["user", "match", "threads*4", "85", "none"]

IDLE_SHARE = 0.1
"""Floor of the load model: an idle machine is said to draw a tenth of its TDP."""


def has_counters() -> bool:
    """Whether this machine's processor energy can be measured rather than modelled."""
    try:
        from codecarbon.core.cpu import is_rapl_available
    except ImportError:
        return False
    quiet()
    return bool(is_rapl_available())


def quiet() -> None:
    """CodeCarbon logs at INFO from its import on, before its own setting can be given."""
    logging.getLogger("codecarbon").setLevel(logging.CRITICAL)


def possible_range(
    tdp_w: float, seconds: float, *, floor: float = IDLE_SHARE
) -> tuple[float, float]:
    """Joules between which the load model's answer must lie, idle to fully busy.

    CodeCarbon 3.3 takes P = TDP (0.1 + 0.9 load^3) for a machine, TDP * load for a process.
    """
    return floor * tdp_w * seconds, tdp_w * seconds


def cpu_of(tracker: Any) -> tuple[CpuMethod, float | None]:  # noqa: ANN401
    """How the processor is read, and the rated power in watts that is assumed of it."""
    for part in tracker._hardware:
        name = type(part).__name__
        if name == "CPU":
            modes: dict[str, CpuMethod] = {
                "intel_rapl": "rapl", "cpu_load": "cpu_load", "constant": "constant",
            }  # fmt: skip
            return modes.get(part._mode, "sensor"), part._tdp
        if name in ("AppleSiliconChip", "Raspberry") and part.chip_part == "CPU":
            return "sensor", None
    return "none", None


def gpu_of(tracker: Any) -> GpuMethod:  # noqa: ANN401
    """How accelerators are read: by their energy counter, or by sampling their power."""
    for part in tracker._hardware:
        if type(part).__name__ == "GPU" and part.devices.devices:
            devices = part.devices.devices
            if not all(type(device).__name__ == "NvidiaGPUDevice" for device in devices):
                return "sensor"
            sampled = any(device._use_power_fallback for device in devices)
            return "nvml_power" if sampled else "nvml_energy"
    return "none"


def tdp_source(tracker: Any) -> TdpSource:  # noqa: ANN401
    """Where the rated power comes from: a person, a table, or a rule of thumb."""
    if tracker._force_cpu_power is not None:
        return "user"
    cpu = next(part for part in tracker._hardware if type(part).__name__ == "CPU")
    if cpu._is_generic_tdp:
        return "85"
    from codecarbon.core import cpu as cpus
    from codecarbon.core.hardware_cache import get_cached_tdp

    table = get_cached_tdp(cpus)
    return "match" if table._get_cpu_power_from_registry(table.model) else "threads*4"


@dataclass(frozen=True, slots=True)
class Load:
    """Busy shares of the machine's processor time: by everyone, by us and our children."""

    host: float | None
    own: float | None


class Clock:
    """Wall, machine and own processor time, in seconds, at one moment."""

    def __init__(self) -> None:
        import psutil

        whole = psutil.cpu_times()
        idle = whole.idle + getattr(whole, "iowait", 0.0)
        guests = getattr(whole, "guest", 0.0) + getattr(whole, "guest_nice", 0.0)
        own = os.times()
        self.total: float = sum(whole) - guests
        self.busy: float = self.total - idle
        self.own = own.user + own.system + own.children_user + own.children_system
        # The system adds a child's time to ours only once it has ended.
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                used = child.cpu_times()
                self.own += used.user + used.system
        self.wall = time.perf_counter()

    def load(self, after: "Clock") -> Load:
        """Load between this moment and a later one; absent where it is too short to tell."""
        total = after.total - self.total
        if total <= 0:
            return Load(None, None)
        return Load(_share(after.busy - self.busy, total), _share(after.own - self.own, total))


def _share(part: float, whole: float) -> float:
    return min(max(part / whole, 0.0), 1.0)
