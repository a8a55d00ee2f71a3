"""A loaded model that remembers what it has been asked, for as long as the process lives.

Several audits put the same requests to one model (every answer to every fact, for recall
and again for calibration), and every stage would load it anew. Nothing is shared between
two models: what is remembered hangs on the model, which is known by its digest.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from audits.model import Score
from tasks.models.folder import weights_digest
from tasks.models.load import load

if TYPE_CHECKING:
    from tasks.models.gguf_model import GgufModel
    from tasks.models.torch_model import TorchModel

MOST = 2_000_000
"""Answers kept at the most (a few hundred bytes each); then the model forgets them all."""

_last: "tuple[tuple[str, str], Remembering] | None" = None


class Remembering:
    """A `LanguageModel` that answers a repeated request from memory."""

    def __init__(self, model: "TorchModel | GgufModel") -> None:
        self._model = model
        self._known: dict[tuple[str, str], Score] = {}
        self.digest = model.digest
        self.conditions = model.conditions

    def score(
        self, requests: Sequence[tuple[str, str]], *, per_token: bool = False
    ) -> list[Score]:
        """Score each pair, asking the model only for those it has not been asked before."""
        if per_token:
            return self._model.score(requests, per_token=True)
        new = list(dict.fromkeys(r for r in requests if r not in self._known))
        if len(self._known) + len(new) > MOST:
            self._known.clear()
            new = list(dict.fromkeys(requests))
        self._known.update(zip(new, self._model.score(new), strict=True))
        return [self._known[r] for r in requests]

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        seed: int,
        temperature: float = 0.0,
        n: int = 1,
        stop: Sequence[str] = (),
    ) -> list[list[str]]:
        """Continue each prompt; nothing of this is remembered."""
        return self._model.generate(
            prompts, max_new_tokens=max_new_tokens, seed=seed, temperature=temperature,
            n=n, stop=stop,
        )  # fmt: skip


def remembered(folder: Path, *, dtype: str = "float32") -> Remembering:
    """The model in a folder; the last one loaded is kept, known by its content."""
    global _last  # one model stays in memory, and only here
    wanted = (weights_digest(folder), dtype)
    if _last is None or _last[0] != wanted:
        _last = None
        _last = (wanted, Remembering(load(folder, dtype=dtype)))
    return _last[1]
