"""What this machine has: its data, its servers, what it can and cannot do."""

import os
import platform
import shutil
import signal
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from audits.errors import EvidenceError, SpecError
from flows.guarded import guarded
from flows.home import Home, talk

Answer = tuple[dict[str, Any], str]

LIBRARIES = (
    "torch", "transformers", "llmcompressor", "compressed-tensors", "lm-eval", "prefect",
    "mlflow", "codecarbon", "fairlearn", "great-expectations", "fastapi", "sqlalchemy",
)  # fmt: skip


def list_data(home: Home) -> Answer:
    """The catalog, and where each set lies on this machine."""
    from tasks.data.catalog import entries

    rows = [
        {
            "name": e.name, "rows": e.rows, "licence": e.licence,
            "licence_verified": e.licence_verified, "source": e.repo,
            "revision": e.revision, "sha256": e.sha256, "about": e.about, "note": e.note,
            "fetchable": e.fetchable,
        } | _here(e.name, home)
        for e in entries()
    ]  # fmt: skip
    lines = [f"{'name':<34}{'licence':<18}{'here':<9}source @ revision"]
    lines += [
        f"{r['name']:<34}{r['licence']:<18}{r['here']:<9}"
        f"{r['source']} @ {str(r['revision'])[:12]}"
        for r in rows
    ]
    return {"sets": rows}, "\n".join(lines)


def _here(name: str, home: Home) -> dict[str, str]:
    """Whether a set is on this machine, and whether it is the one that the catalog means."""
    from tasks.data.catalog import entry, find

    try:
        found = find(name, home.data_roots)
    except EvidenceError:
        file = entry(name).file
        there = next(root / file for root in home.data_roots if (root / file).is_file())
        return {"here": "differs", "path": str(there)}
    return {"here": "yes" if found else "no", "path": str(found or "")}


def fetch_data(name: str, home: Home) -> Answer:
    """Say where a set is, fetching it into the cache where it is nowhere yet.

    Raises:
        SpecError: unknown name, or the set is not a single file to download.
        StageError: the download failed.
        EvidenceError: the file found or downloaded is not the one the catalog means.
    """
    from tasks.data.catalog import fetch, find

    path = find(name, home.data_roots) or fetch(name, home.cache)
    return {"name": name, "path": str(path)}, f"{name}: {path}"


def mlflow_ui(home: Home, host: str, port: int) -> int:
    """Run MLflow's own UI over the registry until interrupted."""
    if home.tracking_uri.startswith("http"):
        talk(f"The registry is a server: open {home.tracking_uri}")
        return 0
    require_port(host, port)
    talk(f"MLflow UI at http://{host}:{port} over {home.tracking_uri}; stop with Ctrl-C.")
    command = [
        "mlflow", "server", "--host", host, "--port", str(port),
        "--backend-store-uri", home.tracking_uri,
        "--default-artifact-root", str(home.root / "mlflow-artifacts"), "--workers", "1",
    ]  # fmt: skip
    # In a group of its own: Ctrl-C is ours, and the server ends without a traceback.
    process = guarded(command)
    try:
        return process.wait()
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        return 0


def examine(home: Home) -> Answer:
    """Facts about this machine and what follows from them."""
    import psutil
    import torch

    cuda = torch.cuda.is_available()
    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "free_disk_gib": round(shutil.disk_usage(home.root).free / 2**30, 1),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "bf16": bool(cuda and torch.cuda.is_bf16_supported()) or _cpu_has_bf16(),
        "energy": "rapl" if _rapl_readable() else "estimated",
        "gguf": _installed("llama-cpp-python") is not None,
        "chromium": shutil.which("chromium") or shutil.which("chromium-browser"),
        "home": str(home.root),
        "tracking_uri": home.tracking_uri,
        "data_roots": [str(p) for p in home.data_roots],
        "libraries": {name: _installed(name) for name in LIBRARIES},
    }
    notes = list(_consequences(facts))
    text = "\n".join([*(f"{k:<15}{v}" for k, v in facts.items()), "", *notes])
    return facts | {"notes": notes}, text


def _consequences(facts: dict[str, Any]) -> Iterator[str]:
    missing = [name for name, version in facts["libraries"].items() if version is None]
    if missing:
        yield f"missing: {', '.join(missing)}; install again with `pip install -e .`"
    if facts["energy"] != "rapl" and not facts["gpus"]:
        yield "energy: no RAPL and no GPU here, so energy is an estimate and gates nothing"
    if not facts["gpus"]:
        yield "no GPU: models train and run on the CPU; a million parameters take a minute"
    if not facts["gguf"]:
        yield "GGUF files: install the extra with `pip install -e '.[gguf]'`"
    if facts["free_disk_gib"] < 2:
        yield "less than 2 GiB of disk are free: a run keeps every artifact"


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpu_has_bf16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _rapl_readable() -> bool:
    return any(
        os.access(p, os.R_OK) for p in Path("/sys/class/powercap").glob("intel-rapl*/energy_uj")
    )


def require_port(host: str, port: int) -> None:
    """SpecError where something already listens there."""
    import socket

    with socket.socket() as probe:
        if probe.connect_ex((host, port)) == 0:
            raise SpecError(f"{host}:{port} is in use; choose another with --port")
