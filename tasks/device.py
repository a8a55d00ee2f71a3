"""Where do models run on this machine: on a GPU or on the CPU?"""

import sys
from functools import cache
from pathlib import Path
from typing import Literal

_GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Where Linux shows NVIDIA's and AMD's GPUs, and Windows its own under WSL."""


@cache
def device_class() -> Literal["cpu", "cuda"]:
    """`cuda` where torch would take a GPU.

    Importing torch takes seconds, so it is asked only where there may be one.
    """
    if sys.platform == "linux" and not any(Path(p).exists() for p in _GPUS):
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
