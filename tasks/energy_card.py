"""What is known about the energy of a stage: the number, its means, and its bounds."""

import math
from collections.abc import Sequence
from typing import Literal

from audits.settings import Settings
from tasks.power import CpuMethod, GpuMethod, TdpSource

Status = Literal["measured", "estimated", "mixed", "none"]


class Card(Settings):
    """Report card of one metered stage. Energy in joules, power in watts, time in seconds.

    `energy_j` is processor plus accelerator. Memory (`ram_j`) is a constant times the
    duration whatever the stage does, so it stays out of the headline. An estimate can lie
    anywhere in [low_j, high_j]; for a measurement both equal `energy_j`. With `status`
    "none" there are no numbers, and `why` says so. `host_load` is the busy share of the
    whole machine during the stage, `own_load` the share that this process caused.
    """

    status: Status
    duration_s: float
    energy_j: float | None = None
    low_j: float | None = None
    high_j: float | None = None
    cpu_j: float | None = None
    gpu_j: float | None = None
    ram_j: float | None = None
    cpu_method: CpuMethod = "none"
    gpu_method: GpuMethod = "none"
    ram_method: Literal["model"] = "model"
    tdp_w: float | None = None
    tdp_source: TdpSource = "none"
    tracking_mode: Literal["machine", "process"] = "machine"
    pue: float = 1.0
    host_load: float | None = None
    own_load: float | None = None
    why: str = ""

    def sentence(self) -> str:
        """The card as one honest sentence."""
        if self.energy_j is None or self.low_j is None or self.high_j is None:
            return f"not metered: {self.why}"
        if self.status == "measured":
            return f"{self.energy_j:.3g} J measured ({self._methods()})"
        return (
            f"{_digit(self.energy_j)} J estimated ({self._methods()}); "
            f"anything from {_digit(self.low_j)} to {_digit(self.high_j)} J is possible"
        )

    def per_token(self, tokens: int) -> str:
        """Joules per token; an estimate as its range, with one significant digit."""
        if self.energy_j is None or self.low_j is None or self.high_j is None or tokens < 1:
            return ""
        if self.status == "measured":
            return f"{self.energy_j / tokens:.3g} J/token"
        low, high = self.low_j / tokens, self.high_j / tokens
        return f"{_digit(low)} to {_digit(high)} J/token (estimated)"

    def _methods(self) -> str:
        load = f"CPU-load model, {self.tdp_w:g} W from {self.tdp_source}" if self.tdp_w else ""
        cpu = {
            "rapl": "RAPL", "sensor": "processor sensor", "none": "no processor reading",
            "cpu_load": load, "constant": "half of TDP",
        }[self.cpu_method]  # fmt: skip
        gpu = {
            "none": "",
            "nvml_energy": "NVML",
            "nvml_power": "NVML power",
            "sensor": "sensor",
        }
        return " + ".join(filter(None, [cpu, gpu[self.gpu_method]]))


def _digit(value: float) -> str:
    """One significant digit, for an estimate deserves no more."""
    return f"{float(f'{value:.1g}'):g}"


def total(cards: Sequence[Card]) -> Card:
    """One card for stages metered one after the other; its status is the weakest of theirs."""
    if not cards:
        return Card(status="none", duration_s=0.0, why="nothing was metered")
    seconds = math.fsum(card.duration_s for card in cards)
    lost = next((card for card in cards if card.energy_j is None), None)
    if lost is not None:
        return Card(status="none", duration_s=seconds, why=lost.why)
    found = {card.status for card in cards}
    update: dict[str, object] = {
        name: math.fsum(getattr(card, name) or 0.0 for card in cards)
        for name in ("duration_s", "energy_j", "low_j", "high_j", "cpu_j", "gpu_j", "ram_j")
        if getattr(cards[0], name) is not None
    }
    for name in ("host_load", "own_load"):
        known = [(c.duration_s, v) for c in cards if (v := getattr(c, name)) is not None]
        weight = math.fsum(s for s, _ in known)
        update[name] = math.fsum(s * v for s, v in known) / weight if weight else None
    update["status"] = next(s for s in ("estimated", "mixed", "measured") if s in found)
    return cards[0].model_copy(update=update)
