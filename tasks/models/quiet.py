"""Libraries that talk are hushed: progress bars and log lines are ours alone."""

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_TALKERS = (
    "transformers",
    "datasets",
    "lm_eval",
    "lm-eval",
    "huggingface_hub",
    "compressed_tensors",
    "torch.fx",
)

PATIENCE_S = 10.0
"""A bar of a library that lasts longer says something a person wants to know."""


@contextmanager
def quiet() -> Iterator[None]:
    """Hush transformers, datasets and lm-eval inside the block; errors still pass."""
    from transformers.utils import logging as hf_logging

    bars = hf_logging.is_progress_bar_enabled()
    loggers = [logging.getLogger(name) for name in _TALKERS]
    levels = [logger.level for logger in loggers]
    hf_logging.disable_progress_bar()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if bars:
            hf_logging.enable_progress_bar()


@contextmanager
def patient_bars(seconds: float = PATIENCE_S) -> Iterator[None]:
    """Show a bar begun inside the block only if it lasts, and leave no trace of it.

    For calls into libraries that draw a bar for each step and have no switch for it
    (compressed-tensors, llmcompressor). Bars of ours do not belong inside.
    """
    from tqdm import tqdm

    begin, show = tqdm.__init__, tqdm.refresh

    def patiently(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - tqdm's own
        kwargs["delay"] = max(seconds, kwargs.get("delay", 0))
        kwargs["leave"] = False
        begin(self, *args, **kwargs)

    def when_due(self: Any, *args: Any, **kwargs: Any) -> object:  # noqa: ANN401 - tqdm's own
        """As a bar that is told something to show would otherwise show itself at once."""
        if self.disable or time.time() < getattr(self, "start_t", 0) + self.delay:
            return None
        return show(self, *args, **kwargs)

    tqdm.__init__ = patiently  # type: ignore[method-assign]  # the one place all bars pass
    tqdm.refresh = when_due  # type: ignore[method-assign,assignment]  # and the other
    try:
        yield
    finally:
        tqdm.__init__ = begin  # type: ignore[method-assign]  # as it was
        tqdm.refresh = show  # type: ignore[method-assign]  # as it was
