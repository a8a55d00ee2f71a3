"""The fresh process in which a model is profiled: `python -m tasks.profile.child FOLDER JSON`.

It says one JSON line at each step and waits for a line on stdin before the next, so that
the parent can read its memory and meter its energy exactly between steps. Everything any
library prints goes to stderr.
"""

import inspect
import json
import os
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from audits.errors import AssayError

UNUSED = ("sklearn", "scipy")
"""transformers imports these where they are installed, for assisted decoding and losses
that decoding does not use: a third of the start and 140 MB that the model does not need."""

Say = Callable[..., None]


def main(folder: str, asked: str) -> None:
    """Load the model, warm up, and time one greedy decoding per line on stdin."""
    settings = json.loads(asked)
    say = _own_stdout()
    for library in UNUSED:
        sys.modules[library] = None  # type: ignore[assignment]  # None makes an import fail
    import torch

    from tasks.models.load import load

    torch.set_num_threads(settings["threads"])
    device = None if settings["device"] == "auto" else settings["device"]
    model = load(folder, dtype=settings["dtype"], device=device)
    prompt = _prompt(torch, model.hf, settings)
    say(
        step="loaded",
        parameters=sum(p.numel() for p in model.hf.parameters()),
        dtype=str(model.hf.dtype).removeprefix("torch."),
        device=_device_name(torch, model.hf.device),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )
    decode = _decoder(torch, model.hf, prompt, settings["new_tokens"])
    for _ in range(settings["warmup"]):
        decode()
    say(step="warm")
    for _ in range(settings["repeats"]):
        ttft_ms, steps_ms = decode()
        say(step="repeat", ttft_ms=ttft_ms, steps_ms=steps_ms)
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


def _prompt(torch: Any, hf: Any, settings: dict[str, Any]) -> Any:  # noqa: ANN401 (untyped)
    """Random token ids of shape (1, prompt_tokens), the same for models of one vocabulary."""
    room = getattr(hf.config, "max_position_embeddings", None)
    wanted = settings["prompt_tokens"] + settings["new_tokens"]
    if room is not None and wanted > room:
        sys.exit(
            f"prompt_tokens + new_tokens = {wanted} do not fit the model's {room} positions; "
            "ask for fewer in profile"
        )
    generator = torch.Generator().manual_seed(settings["seed"])
    size = (1, settings["prompt_tokens"])
    return torch.randint(hf.config.vocab_size, size, generator=generator).to(hf.device)


def _decoder(
    torch: Any,  # noqa: ANN401 (an untyped module)
    hf: Any,  # noqa: ANN401 (an untyped network)
    prompt: Any,  # noqa: ANN401 (an untyped tensor)
    new_tokens: int,
) -> Callable[[], tuple[float, list[float]]]:
    """A function that decodes once and returns milliseconds: first token, each next one.

    An end-of-text token does not end it: every run does the same work. Taking the token
    out of the tensor waits for the device, so no other synchronisation is needed.
    """
    last_only = "logits_to_keep" in inspect.signature(hf.forward).parameters
    keep = {"logits_to_keep": 1} if last_only else {}

    def decode() -> tuple[float, list[float]]:
        times = [time.perf_counter()]
        ids, cache = prompt, None
        with torch.inference_mode():
            for _ in range(new_tokens):
                said = hf(input_ids=ids, past_key_values=cache, use_cache=True, **keep)
                token = int(said.logits[0, -1].argmax())
                times.append(time.perf_counter())
                cache = said.past_key_values
                ids = torch.tensor([[token]], device=prompt.device)
        gaps = [1000 * (b - a) for a, b in pairwise(times)]
        return gaps[0], gaps[1:]

    return decode


def _device_name(torch: Any, device: Any) -> str:  # noqa: ANN401 (untyped)
    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else "cpu"


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
