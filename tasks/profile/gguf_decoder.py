"""Greedy decoding with llama.cpp, timed token by token."""

import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tasks.profile.decoder import Times, require_fit


class GgufDecoder:
    """A GGUF file's network, loaded as scoring loads it."""

    def __init__(self, file: Path, settings: Mapping[str, Any]) -> None:
        from tasks.models.gguf_model import load_gguf

        device = None if settings["device"] == "auto" else settings["device"]
        model = load_gguf(
            file, dtype=settings["dtype"], device=device, threads=settings["threads"]
        )
        require_fit(settings, model.max_length)
        self.model, self.network = model, model.network
        self.new_tokens = settings["new_tokens"]
        rng = np.random.default_rng(settings["seed"])
        self.prompt = rng.integers(
            self.network.n_vocab, size=settings["prompt_tokens"]
        ).tolist()

    @property
    def facts(self) -> Mapping[str, object]:
        """Number of parameters, and what they were decoded with."""
        told = (
            "backend",
            "llama_cpp_python",
            "dtype",
            "weights",
            "kv_dtype",
            "device",
            "threads",
        )
        return {
            "parameters": self.model.n_parameters,
            **{name: self.model.conditions[name] for name in told},
        }

    def decode(self) -> Times:
        """Decode once; see `Decoder`."""
        network, tokens, at = self.network, self.prompt, 0
        network.reserve(len(self.prompt) + self.new_tokens)
        times = [time.perf_counter()]
        for _ in range(self.new_tokens):
            token = network.follow(tokens, at).argmax()
            times.append(time.perf_counter())
            at += len(tokens)
            tokens = [int(token)]
        first, *following = [1000 * (b - a) for a, b in pairwise(times)]
        return Times(first, following)
