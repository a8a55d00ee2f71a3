"""Greedy decoding with transformers, timed token by token."""

import inspect
import sys
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from tasks.profile.decoder import Times, require_fit

UNUSED = ("sklearn", "scipy")
"""transformers imports these where they are installed, for assisted decoding and losses
that decoding does not use: a third of the start and 140 MB that the model does not need."""


class TorchDecoder:
    """A network of transformers, loaded as scoring loads it."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        for library in UNUSED:
            sys.modules[library] = None  # type: ignore[assignment]  # None makes an import fail
        import torch

        from tasks.models.load import load_torch

        torch.set_num_threads(settings["threads"])
        device = None if settings["device"] == "auto" else settings["device"]
        self.hf = load_torch(folder, dtype=settings["dtype"], device=device).hf
        self.new_tokens = settings["new_tokens"]
        self.prompt = prompt(self.hf, settings)
        last_only = "logits_to_keep" in inspect.signature(self.hf.forward).parameters
        self._keep = {"logits_to_keep": 1} if last_only else {}

    @property
    def facts(self) -> Mapping[str, object]:
        """Number of parameters, and what they were decoded with."""
        import torch

        device = self.hf.device
        on_gpu = device.type == "cuda"
        return {
            "parameters": sum(p.numel() for p in self.hf.parameters()),
            "backend": "torch",
            "torch": torch.__version__,
            "dtype": str(self.hf.dtype).removeprefix("torch."),
            "device": str(torch.cuda.get_device_name(device)) if on_gpu else "cpu",
            "threads": torch.get_num_threads(),
        }

    def decode(self) -> Times:
        """Decode once; see `Decoder`.

        Taking the token out of the tensor waits for the device, so no other
        synchronisation is needed.
        """
        import torch

        times = [time.perf_counter()]
        ids, cache = self.prompt, None
        with torch.inference_mode():
            for _ in range(self.new_tokens):
                said = self.hf(
                    input_ids=ids, past_key_values=cache, use_cache=True, **self._keep
                )
                token = int(said.logits[0, -1].argmax())
                times.append(time.perf_counter())
                cache = said.past_key_values
                ids = torch.tensor([[token]], device=self.prompt.device)
        first, *following = [1000 * (b - a) for a, b in pairwise(times)]
        return Times(first, following)


def prompt(hf: Any, settings: Mapping[str, Any]) -> Any:  # noqa: ANN401 (untyped)
    """Random token ids of shape (1, prompt_tokens), the same for models of one vocabulary."""
    import torch

    require_fit(settings, getattr(hf.config, "max_position_embeddings", None))
    generator = torch.Generator().manual_seed(settings["seed"])
    size = (1, settings["prompt_tokens"])
    return torch.randint(hf.config.vocab_size, size, generator=generator).to(hf.device)
