"""Where did an interrupted training stop?"""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from audits.errors import StageError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Done:
    """The steps behind us: a loss each, in nats per token, and the seconds they took."""

    losses: tuple[float, ...] = ()
    seconds: float = 0.0


def save_checkpoint(
    scratch: Path,
    identity: str,
    model: "torch.nn.Module",
    optimizers: "Sequence[torch.optim.Optimizer]",
    losses: Sequence[float],
    seconds: float,
) -> None:
    """Keep weights, optimizers and position; a kill while writing leaves the previous one.

    Random numbers need no keeping: the order of the documents follows from seed and epoch,
    and nothing else is random once the weights are made.
    """
    from safetensors.torch import save_file

    final = scratch / f"step-{len(losses):08d}"
    if final.exists():
        return
    aside = scratch / "writing"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    # named_parameters names a tied matrix once, which is what safetensors can hold.
    weights = {name: p.detach() for name, p in model.named_parameters()}
    save_file(weights, aside / "model.safetensors")
    save_file(_moments(optimizers), aside / "optimizer.safetensors")
    facts = {"identity": identity, "losses": list(losses), "seconds": seconds}
    (aside / "state.json").write_text(json.dumps(facts), "utf-8")
    older = _checkpoints(scratch)
    os.replace(aside, final)
    for folder in older:
        shutil.rmtree(folder)


def load_checkpoint(
    scratch: Path,
    identity: str,
    model: "torch.nn.Module",
    optimizers: "Sequence[torch.optim.Optimizer]",
) -> Done:
    """Put model and optimizers where they stopped; say how far that is (maybe nowhere).

    Raises:
        StageError: The checkpoint belongs to other data or settings.
    """
    found = _checkpoints(scratch)
    if not found:
        return Done()
    import torch
    from safetensors.torch import load_file

    facts = json.loads((found[-1] / "state.json").read_text("utf-8"))
    if facts["identity"] != identity:
        raise StageError(
            f"{found[-1]}: this checkpoint is of another training (data or settings differ); "
            "remove it or use another folder"
        )
    weights = load_file(found[-1] / "model.safetensors")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
    stored = load_file(found[-1] / "optimizer.safetensors")
    for at, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in stored.items():
            which, index, part = name.split(".", 2)
            if int(which) == at:
                state.setdefault(int(index), {})[part] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return Done(tuple(facts["losses"]), facts["seconds"])


def _moments(optimizers: "Sequence[torch.optim.Optimizer]") -> "dict[str, torch.Tensor]":
    """The optimizers' states as named tensors, so that no checkpoint is ever a pickle."""
    return {
        f"{at}.{index}.{part}": value
        for at, optimizer in enumerate(optimizers)
        for index, parts in optimizer.state_dict()["state"].items()
        for part, value in parts.items()
    }


def _checkpoints(scratch: Path) -> list[Path]:
    return sorted(scratch.glob("step-*"))
