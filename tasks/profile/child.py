"""The fresh process in which a model is profiled: `python -m tasks.profile.child FOLDER JSON`.

It says one JSON line at each step and waits for a line on stdin before the next, so that
the parent can read its memory and meter its energy exactly between steps. Everything any
library prints goes to stderr.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from audits.errors import AssayError
from tasks.profile.decoder import open_decoder

Say = Callable[..., None]


def main(path: str, asked: str) -> None:
    """Load the model, warm up, and time one greedy decoding per line on stdin."""
    settings = json.loads(asked)
    say = _own_stdout()
    decoder = open_decoder(Path(path), settings)
    say(step="loaded", **decoder.facts)
    for _ in range(settings["warmup"]):
        decoder.decode()
    say(step="warm")
    for _ in range(settings["repeats"]):
        times = decoder.decode()
        say(step="repeat", ttft_ms=times.first_ms, steps_ms=times.next_ms)
    say(step="done", peak_rss_bytes=_high_water_mark())


def _own_stdout() -> Say:
    """Keep the real stdout for our lines; whatever else writes there lands on stderr."""
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(**fields: object) -> None:
        lines.write(json.dumps(fields) + "\n")
        lines.flush()
        if not sys.stdin.readline():
            sys.exit("the process that profiles has gone")

    return say


def _high_water_mark() -> int | None:
    """The kernel's own peak of our resident bytes; None where there is no /proc."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    for line in status.read_text("utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2])
    except AssayError as error:
        sys.exit(str(error))
