"""The evaluate stage: lm-eval's benchmarks, and bits per byte of text."""

from tasks.evaluate.settings import EvaluateSettings
from tasks.evaluate.stage import evaluate
from tasks.evaluate.table import table

__all__ = ["EvaluateSettings", "evaluate", "table"]
