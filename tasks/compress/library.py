"""llmcompressor, imported without its talk: it logs to stdout, which is ours for results."""

import contextlib
import io
from typing import Any


def library() -> Any:  # noqa: ANN401 - untyped library
    """The package, with the parts of it that we use."""
    with contextlib.redirect_stdout(io.StringIO()):
        import llmcompressor
        import llmcompressor.core
        import llmcompressor.modeling.moe.linearize
        import llmcompressor.modifiers.gptq
        import llmcompressor.modifiers.quantization
        import llmcompressor.modifiers.transform.awq
        import llmcompressor.modifiers.transform.smoothquant
        from llmcompressor.logger import LoggerConfig, configure_logger

        configure_logger(LoggerConfig(console_log_level=None))
    return llmcompressor
