"""Can a step be done to a model, and what shapes will it leave? Asked before any compute."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from audits.errors import AssayError, SpecError
from tasks.compress.calibration import Calibrated
from tasks.compress.folder import Source
from tasks.compress.gguf_export import FILE, Gguf
from tasks.compress.method import Method
from tasks.compress.sparsity import remainder
from tasks.models.outline import outline, write_outline

if TYPE_CHECKING:
    from transformers import PreTrainedModel


SHOWN = 2
"""Layers that a note names."""


class Rehearsal:
    """Steps on outlines, which all read one text; what a step finds amiss is a SpecError.

    Each step's model is a folder like any other whose file of weights is a header and a hole
    (`tasks.models.outline`), so the next step and whoever learns from it read it as theirs.
    """

    def __init__(self, texts: Sequence[str], *, bytewise: bool) -> None:
        """Rehearse over calibration texts; `bytewise` where tokens are bytes so far."""
        self._texts, self._bytewise = texts, bytewise
        self._enough: set[tuple[int, int, int | None]] = set()
        self._outlines: dict[Path, PreTrainedModel] = {}

    def step(
        self, method: Method, model: Path, teachers: Sequence[Path], out: Path
    ) -> str | None:
        """Rehearse one step from the folder `model` to the new folder `out`.

        Returns:
            What is no mistake and yet should be known ("" mostly). None where it could not be
            told: there is no `out` then, and what comes of the step shows when it is made.

        Raises:
            SpecError: It cannot be done.
        """
        try:
            return self._step(method, Source(model, self._texts, out, teachers))
        except AssayError:
            raise
        except Exception:  # noqa: BLE001 - a library's: torch has no outline of some operation
            shutil.rmtree(out, ignore_errors=True)
            return None

    def _step(self, method: Method, source: Source) -> str:
        source.require_plain()
        self._require_text(method, source)
        before = self._outline(source.model)
        made = method.outline(source, before)
        source.out.mkdir(parents=True)
        if isinstance(method, Gguf):
            (source.out / FILE).touch()
        else:
            write_outline(made, source.out)
            source.copy_rest()
        return remainder(before, getattr(method, "pattern", "unstructured"), SHOWN)

    def _outline(self, folder: Path) -> "PreTrainedModel":
        if folder not in self._outlines:
            self._outlines[folder] = outline(folder)
        return self._outlines[folder]

    def _require_text(self, method: Method, source: Source) -> None:
        """Refuse too little text; a chain has one tokenizer, so each amount is cut once."""
        if not isinstance(method, Calibrated) or not method.reads_text:
            return
        asked = (method.samples, method.sequence_length, source.positions)
        if asked in self._enough:
            return
        try:
            method.documents(source)
        except SpecError as error:
            if not self._bytewise or not self._texts:
                raise
            raise SpecError(
                f"{error} (each byte counts as a token: the tokenizer is yet to be learned)"
            ) from error
        self._enough.add(asked)
