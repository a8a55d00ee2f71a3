"""A server in a process of its own that ends when we do, however that came about."""

import subprocess
import sys
from typing import Any

# Runs a module as `python -m` does, in a process group of its own, so that Ctrl-C reaches
# only the command: its client has a last word for the server. The pipe that is its stdin
# closes when the command is gone, however that came about, and ends the group.
_GUARDED = """
import os, runpy, signal, sys, threading
def watch():
    sys.stdin.buffer.read()
    os.killpg(0, signal.SIGTERM)
threading.Thread(target=watch, daemon=True).start()
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


def guarded(module: list[str], **how: Any) -> "subprocess.Popen[bytes]":  # noqa: ANN401 - Popen's own
    """Start a module with its arguments, as leader of its own process group.

    Args:
        module: name of the module and what follows it on the command line.
        how: further arguments of `subprocess.Popen` (where its output goes, its environment).
    """
    return subprocess.Popen(
        [sys.executable, "-c", _GUARDED, *module],
        stdin=subprocess.PIPE,
        process_group=0,
        **how,
    )
