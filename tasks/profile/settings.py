"""What a profile asks, and the measures it promises."""

import hashlib
import json
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from audits.estimand import Better, Declared, Exact, Ratio
from audits.settings import Settings

Count = Annotated[int, Field(ge=1)]


class ProfileSettings(Settings):
    """Greedy decoding of one sequence with a key-value cache, in a fresh process.

    One thread by default: two on two cores run ten times slower as soon as another process
    is busy, and a number that depends on the neighbours is of no use.
    """

    kind: ClassVar[str] = "profile"
    version: ClassVar[int] = 1

    enabled: bool = True
    prompt_tokens: Count = 64
    new_tokens: Annotated[int, Field(ge=2)] = 32
    repeats: Annotated[int, Field(ge=2)] = 12
    """Timed runs; ten or more are needed before an interval may decide anything."""
    warmup: Annotated[int, Field(ge=0)] = 3
    threads: Count = 1
    dtype: Literal["float32", "bfloat16"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 0
    timeout_s: Annotated[float, Field(gt=0)] = 1800.0

    @property
    def basis(self) -> str:
        """Fingerprint of the question: only profiles of equal basis compare."""
        asked = self.model_dump(mode="json", exclude={"enabled", "timeout_s"})
        text = json.dumps([self.kind, self.version, asked], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def expected(self) -> tuple[str, ...]:
        """Ids of the records, fixed before anything runs."""
        runs = [f"repeat-{k:02}" for k in range(self.repeats)]
        return ("model", *runs, *(run.replace("repeat", "energy") for run in runs))

    def declares(self) -> tuple[Declared, ...]:
        """The measures a profile gives; nothing where it is switched off."""
        if not self.enabled:
            return ()
        return (
            _exact("size_bytes", "bytes", "weight files on disk"),
            _exact("size_total_bytes", "bytes", "all files of the model on disk"),
            _exact("parameters", "parameters", "tied weights once, packed ones as stored"),
            _exact("peak_rss_mb", "MB", "largest resident memory, libraries included"),
            _exact("load_rss_mb", "MB", "resident memory once the model is loaded"),
            _rate("ttft_ms", "ms", "lower", "ttft_ms", "", "prompt in to first token out"),
            _rate("itl_ms", "ms", "lower", "decode_ms", "steps", "from one token to the next"),
            _rate("tokens_per_second", "tokens/s", "higher", "tokens", "seconds",
                  "new tokens per second, the prompt's processing included"),
            _rate("joules_per_token", "J/token", "lower", "joules", "tokens",
                  "measured energy per new token; absent where it can only be estimated",
                  row="energy"),
        )  # fmt: skip


def _exact(name: str, unit: str, about: str) -> Declared:
    return Declared(
        name=name, better="lower", about=about, unit=unit, of=Exact(value=name),
        where={"row": "model"},
    )  # fmt: skip


def _rate(
    name: str, unit: str, better: Better, value: str, over: str, about: str, row: str = "repeat"
) -> Declared:
    return Declared(
        name=name, better=better, about=about, unit=unit, where={"row": row},
        of=Ratio(value=value, over=over, proportion=False),
    )  # fmt: skip
