"""The profile stage: what a model costs in time, memory, bytes and energy."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.job import Job
from tasks.profile.settings import ProfileSettings

if TYPE_CHECKING:
    from audits.evidence import Part
    from tasks.energy import Card, Meter
    from tasks.profile.process import Child

MB = 1e6
WEIGHTS = ("*.safetensors", "*.gguf")


def profile(settings: ProfileSettings, job: Job) -> None:
    """Profile `job.inputs["model"]` in a fresh process and write the part "profile".

    Time, memory and energy hold for this machine only: the conditions say which it is.
    The energy card of each timed run is kept; the stage's own card, which is their sum,
    is noted as `energy`.

    Raises:
        SpecError: the folder is no model.
        StageError: the process died or took too long; its last words are quoted.
    """
    from registry.parts import write
    from tasks.energy import process_meter, total

    part, cards = measure(settings, job.inputs["model"].folder, job.scratch, process_meter())
    write(part, job.out)
    job.note("energy", total(cards).model_dump(mode="json"))


def measure(
    settings: ProfileSettings, folder: Path, scratch: Path, meter: "Meter"
) -> "tuple[Part, tuple[Card, ...]]":
    """The part, and the energy card of each timed run."""
    from tasks.models.folder import check_folder
    from tasks.profile.process import Child

    check_folder(folder)
    with Child(
        folder, settings.model_dump_json(), threads=settings.threads,
        log=scratch / "profile.stderr", timeout_s=settings.timeout_s,
    ) as child:  # fmt: skip
        return _talk(settings, folder, child, meter)


def _talk(
    settings: ProfileSettings, folder: Path, child: "Child", meter: "Meter"
) -> "tuple[Part, tuple[Card, ...]]":
    from tqdm import tqdm

    facts = child.hear("loaded")
    loaded = child.rss()
    child.go()
    child.hear("warm")
    busy = os.getloadavg()[0]
    runs: list[dict[str, Any]] = []
    cards: list[Card] = []
    for number in tqdm(range(settings.repeats), desc="profile", leave=False, disable=None):
        with meter.measure(f"decode-{number}") as reading:
            child.go()
            said = child.hear("repeat")
        runs.append(said)
        cards.append(reading.card)
    child.go()
    kernel_peak = child.hear("done")["peak_rss_bytes"]
    peak = max(child.peak_rss, kernel_peak if isinstance(kernel_peak, int) else 0)
    memory = {
        "peak_rss_mb": peak,
        "load_rss_mb": loaded,
    }
    model = {
        **sizes(folder),
        "parameters": facts["parameters"],
        **{name: value / MB for name, value in memory.items()},
    }
    part = _part(settings, model, runs, cards, facts, busy)
    return part, tuple(cards)


def sizes(folder: Path) -> dict[str, int]:
    """Bytes on disk: of the weight files, and of every file; a GGUF file is both."""
    every = [f for f in (folder, *folder.rglob("*")) if f.is_file()]
    weights = [f for f in every if any(f.match(pattern) for pattern in WEIGHTS)]
    return {
        "size_bytes": sum(f.stat().st_size for f in weights),
        "size_total_bytes": sum(f.stat().st_size for f in every),
    }


def _part(
    settings: ProfileSettings,
    model: Mapping[str, object],
    runs: list[dict[str, Any]],
    cards: "list[Card]",
    facts: Mapping[str, object],
    busy: float,
) -> "Part":
    from audits.evidence import Part, records_frame
    from tasks.energy import total

    whole = total(cards)
    rows: list[dict[str, object]] = [{"example": "model", "row": "model", **model}]
    for number, (run, card) in enumerate(zip(runs, cards, strict=True)):
        rows.append({"example": f"repeat-{number:02}", "row": "repeat", **_timing(run)})
        rows.append(
            {"example": f"energy-{number:02}", "row": "energy", **_energy(card, settings)}
        )
    return Part(
        name="profile",
        kind=settings.kind,
        declared=settings.declares(),
        expected=settings.expected(),
        records=records_frame(rows),
        basis=settings.basis,
        conditions=_conditions(facts),
        notes={
            "load_average_per_core": busy / (os.cpu_count() or 1),
            "energy": energy_sentence(whole, settings.new_tokens * len(runs)),
            "energy_status": whole.status,
            **_percentiles(runs),
        },
    )


def _timing(run: Mapping[str, Any]) -> dict[str, float]:
    decode_ms = sum(run["steps_ms"])
    return {
        "ttft_ms": run["ttft_ms"],
        "decode_ms": decode_ms,
        "steps": len(run["steps_ms"]),
        "tokens": 1 + len(run["steps_ms"]),
        "seconds": (run["ttft_ms"] + decode_ms) / 1000,
    }


def _energy(card: "Card", settings: ProfileSettings) -> dict[str, object]:
    """A record of measured joules, or the reason that there is none: an estimate is none."""
    if card.status == "measured" and card.energy_j is not None:
        return {"joules": card.energy_j, "tokens": settings.new_tokens}
    if card.status == "none":
        return {"why": card.why}
    return {"why": f"energy is only {card.status} here ({card.cpu_method})"}


def energy_sentence(card: "Card", tokens: int) -> str:
    """Joules per new token, as measured or as the range that an estimate allows."""
    return ", ".join(filter(None, [card.per_token(tokens), card.sentence()]))


def _conditions(facts: Mapping[str, object]) -> dict[str, str | int | float | bool]:
    """Where it ran; no host name, which says nothing about speed and something about people."""
    ran = {k: v for k, v in facts.items() if k not in ("step", "parameters")}
    return {
        **{name: v if isinstance(v, int) else str(v) for name, v in ran.items()},
        "cpu": processor_name(),
        "cores": os.cpu_count() or 1,
        "os": f"{platform.system()} {platform.machine()}",
    }


def processor_name() -> str:
    """Name of the processor as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _percentiles(runs: list[dict[str, Any]]) -> dict[str, float]:
    steps = sorted(ms for run in runs for ms in run["steps_ms"])
    at = {"itl_p50_ms": 0.50, "itl_p95_ms": 0.95, "itl_p99_ms": 0.99}
    return {name: steps[min(len(steps) - 1, int(q * len(steps)))] for name, q in at.items()}
