"""Run the profiled process: talk to it in steps, watch its memory, never wait forever."""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from audits.errors import StageError

EVERY_S = 0.02
"""Seconds between two looks at the process's memory."""

_THREAD_KNOBS = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS", "RAYON_NUM_THREADS",
)  # fmt: skip


class Child:
    """A fresh Python process that runs `tasks.profile.child`; killed when the block ends.

    `peak_rss` is the largest resident size seen so far, in bytes.
    """

    def __init__(
        self, folder: Path, settings: str, *, threads: int, log: Path, timeout_s: float
    ) -> None:
        self.peak_rss = 0
        self._log = log
        self._ends = time.monotonic() + timeout_s
        self._timeout_s = timeout_s
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._command = [
            sys.executable, "-P", "-m", "tasks.profile.child", str(folder.resolve()), settings,
        ]  # fmt: skip
        self._environment = _environment(threads)

    def __enter__(self) -> Self:
        import psutil

        self._stderr = self._log.open("wb")
        self._process = subprocess.Popen(
            self._command, env=self._environment, text=True, encoding="utf-8",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr,
        )  # fmt: skip
        self._memory = psutil.Process(self._process.pid)
        assert self._process.stdout is not None  # it was asked for as a pipe
        reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._stderr.close()

    def hear(self, step: str) -> dict[str, object]:
        """Wait for the child to say `step`; what it says with it.

        Raises:
            StageError: it died (with its last words), or took too long.
        """
        while True:
            self.rss()
            try:
                line = self._lines.get(timeout=EVERY_S)
            except queue.Empty:
                if time.monotonic() > self._ends:
                    raise StageError(
                        f"profile: no {step!r} within {self._timeout_s:g} s; raise "
                        "profile.timeout_s, or ask for fewer tokens or repeats"
                    ) from None
                continue
            if line is None:
                raise StageError(
                    f"profile: the process ended before {step!r}: {self._last_words()}"
                )
            said: dict[str, object] = json.loads(line)
            if said.get("step") != step:
                raise StageError(
                    f"profile: the process said {said.get('step')!r}, not {step!r}"
                )
            return said

    def go(self) -> None:
        """Let the child take its next step."""
        assert self._process.stdin is not None  # it was asked for as a pipe
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        except OSError:  # it has died: `hear` will say why
            return

    def rss(self) -> int:
        """Resident bytes now; 0 once the process has gone."""
        import psutil

        try:
            now: int = self._memory.memory_info().rss
        except psutil.Error:
            return 0
        self.peak_rss = max(self.peak_rss, now)
        return now

    def _read(self, stdout: IO[str]) -> None:
        for line in stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _last_words(self) -> str:
        code = self._process.wait()
        lines = self._log.read_text("utf-8", "replace").strip().splitlines()
        return lines[-1].strip() if lines else f"exit code {code}, nothing on stderr"


def _environment(threads: int) -> dict[str, str]:
    """Our environment with threads pinned, no hub, and our own code first on the path."""
    home = str(Path(__file__).resolve().parents[2])
    path = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        **dict.fromkeys(_THREAD_KNOBS, str(threads)),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": f"{home}{os.pathsep}{path}" if path else home,
    }
