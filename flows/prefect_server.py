"""A Prefect server in a process of its own, what it says in a log file."""

import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from audits.errors import StageError
from flows.guarded import guarded

PATIENCE_S = 180.0
"""It takes about 4 s on a quiet machine; a busy one is no reason to fail."""

# The switches with which Prefect starts its own temporary server: no UI, no scheduler.
_TEMPORARY = {
    "PREFECT_UI_ENABLED": "0",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
}


class PrefectServer:
    """Starts at once and is waited for later, so that others can work meanwhile."""

    def __init__(
        self,
        module: list[str],
        url: str,
        log: Path,
        extra: dict[str, str],
        pass_fds: tuple[int, ...] = (),
    ) -> None:
        self.url = url
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as out:
            self._process = guarded(
                module, stdout=out, stderr=out, env={**os.environ, **extra}, pass_fds=pass_fds
            )

    @classmethod
    def temporary(cls, log: Path) -> "PrefectServer":
        """One for a single run. The client's own would import the whole server here, too."""
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            port, handle = held.getsockname()[1], held.fileno()
            return cls(
                ["flows.temporary_server", str(handle)],
                f"http://127.0.0.1:{port}/api",
                log,
                _TEMPORARY,
                pass_fds=(handle,),
            )

    @classmethod
    def lasting(cls, host: str, port: int, log: Path) -> "PrefectServer":
        """One with its UI and its scheduler."""
        command = ["prefect", "server", "start", "--host", host, "--port", str(port)]
        return cls(command, f"http://{host}:{port}/api", log, {})

    def wait(self) -> None:
        """Return when it answers; StageError where it ended or never does."""
        import httpx

        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                said = self._log.read_text("utf-8", "replace").strip() or "it said nothing"
                last = said.splitlines()[-1]
                raise StageError(f"the Prefect server ended at once ({last}); see {self._log}")
            try:
                if httpx.get(f"{self.url}/health", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        self.stop()
        raise StageError(
            f"the Prefect server at {self.url} did not answer within {PATIENCE_S:.0f} s; "
            f"see {self._log}"
        )

    def stop(self) -> None:
        """End it, politely first."""
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
