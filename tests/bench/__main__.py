"""`make bench`: wall time, memory and overhead of what the budgets speak of, as JSON.

Each figure is the median of repeated runs in one session on this machine, with the spread
beside it; what can be compared is run side by side, A B A B.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "infra/runs/quickstart.yaml"
ASSAY = Path(sys.executable).with_name("assay")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--skip-quickstart", action="store_true")
    options = parser.parse_args()
    report: dict[str, object] = {"machine": machine(), "check": check(options.repeats)}
    report["decision"] = alone("tests.bench.decision")
    report["history"] = alone("tests.bench.history")
    report["scoring"] = alone("tests.bench.scoring")
    report["scorecache"] = alone("tests.bench.scorecache")
    report["facts"] = alone("tests.bench.facts")
    report["groups"] = alone("tests.bench.groups")
    report["bias"] = alone("tests.bench.bias")
    report["lean"] = alone("tests.bench.lean")
    report["gguf"] = alone("tests.bench.gguf")
    report["quantizing"] = alone("tests.bench.quantizing")
    report["gguf_decode"] = alone("tests.bench.gguf_decode")
    if not options.skip_quickstart:
        report["quickstart"] = quickstart(options.repeats)
    print(json.dumps(report, indent=1))
    return 0


def machine() -> dict[str, object]:
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_1min_before": round(os.getloadavg()[0], 2),
    }


def alone(module: str) -> object:
    """What a benchmark prints in a process of its own, whose memory is then its own too."""
    said = subprocess.run(
        [sys.executable, "-m", module], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return json.loads(said.stdout)


def check(repeats: int) -> dict[str, object]:
    """`assay check` beside an empty Python, A B A B: seconds, and the share that is ours."""
    ours, bare = [], []
    for _ in range(max(3, repeats)):
        ours.append(timed([str(ASSAY), "check", str(QUICKSTART)])["seconds"])
        bare.append(timed([sys.executable, "-c", "pass"])["seconds"])
    return {"assay_check_s": summary(ours), "empty_python_s": summary(bare)}


def quickstart(repeats: int) -> dict[str, object]:
    """First run, then unchanged runs, over one fresh home."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "ASSAY_HOME": home}
        command = [str(ASSAY), "run", str(QUICKSTART), "--json"]
        first = timed(command, environment)
        again = [timed(command, environment) for _ in range(repeats)]
    answer = json.loads(first.pop("stdout"))
    stages = [s for s in json.loads(again[-1]["stdout"])["stages"] if not s["cached"]]
    return {
        "first_run": first,
        "overhead": answer["overhead"],
        "stages": {s["name"]: round(s["seconds"], 2) for s in answer["stages"]},
        "unchanged_run_s": summary([a["seconds"] for a in again]),
        "unchanged_exit_codes": [a["exit"] for a in again],
        "stages_executed_again": [s["name"] for s in stages],
    }


def timed(command: list[str], environment: dict[str, str] | None = None) -> dict[str, object]:
    """Wall seconds, exit code, stdout, and the peak of the process tree's resident memory."""
    began = time.perf_counter()
    process = psutil.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    peak = 0
    out: list[bytes] = []
    while process.poll() is None:
        peak = max(peak, _resident(process))
        try:
            out.append(process.communicate(timeout=0.1)[0])
        except subprocess.TimeoutExpired:
            continue
    return {
        "seconds": round(time.perf_counter() - began, 2),
        "exit": process.returncode,
        "peak_mib": round(peak / 2**20),
        "stdout": b"".join(out).decode(),
    }


def _resident(process: psutil.Popen) -> int:
    total = 0
    try:
        for one in [process, *process.children(recursive=True)]:
            total += one.memory_info().rss
    except psutil.Error:
        return total
    return total


def summary(values: list[float]) -> dict[str, object]:
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
        "runs": len(values),
    }


if __name__ == "__main__":
    sys.exit(main())
