"""The seam between timing a model's greedy decoding and what decodes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from audits.errors import SpecError


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds of one decoding: to the first token, and to each next one."""

    first_ms: float
    next_ms: list[float]


class Decoder(Protocol):
    """A loaded model that decodes one prompt greedily, again and again."""

    @property
    def facts(self) -> Mapping[str, object]:
        """Number of `parameters`, and conditions: backend, versions, dtype, device, threads."""
        ...

    def decode(self) -> Times:
        """Read the prompt and decode; an end-of-text token does not end it.

        So every decoding does the same work.
        """
        ...


def open_decoder(path: Path, settings: Mapping[str, Any]) -> Decoder:
    """Load the model of a folder or GGUF file; one imports torch, the other llama.cpp.

    Args:
        path: the model.
        settings: `ProfileSettings` as JSON gives them.

    Raises:
        SpecError: it is no model, or prompt and new tokens do not fit it.
    """
    from tasks.models.folder import gguf_file

    if (file := gguf_file(path)) is not None:
        from tasks.profile.gguf_decoder import GgufDecoder

        return GgufDecoder(file, settings)
    from tasks.profile.torch_decoder import TorchDecoder

    return TorchDecoder(path, settings)


def require_fit(settings: Mapping[str, Any], room: int | None) -> None:
    """Raise SpecError where prompt and new tokens exceed the model's positions."""
    wanted = settings["prompt_tokens"] + settings["new_tokens"]
    if room is not None and wanted > room:
        raise SpecError(
            f"prompt_tokens + new_tokens = {wanted} do not fit the model's {room} positions; "
            "ask for fewer in profile"
        )
