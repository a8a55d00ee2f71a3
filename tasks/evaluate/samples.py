"""How are lm-eval's logged samples kept, so that a person can read each question again?"""

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write_samples(samples: Mapping[str, Sequence[Mapping[str, Any]]], file: Path) -> None:
    """Write each logged sample as one line of gzipped JSON; equal samples, equal bytes.

    Fields are lm-eval's own, with the task's name first.
    """
    from lm_eval.utils import handle_non_serializable

    if not samples:
        return
    with file.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as stream:
        for task, logged in samples.items():
            for sample in logged:
                line = json.dumps(
                    {"task": task, **sample},
                    ensure_ascii=False,
                    default=handle_non_serializable,
                )
                stream.write(line.encode() + b"\n")
