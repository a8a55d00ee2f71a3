"""Stage: make a tokenizer and a model, or start from a model that exists.

Importing this loads no torch: each function does when it is called.
"""

from tasks.train.checkpoint import import_model
from tasks.train.settings import (
    AnyModel,
    CheckpointSettings,
    Llama,
    TokenizerSettings,
    TrainSettings,
)
from tasks.train.stage import make_model
from tasks.train.tokenizer import make_tokenizer

__all__ = [
    "AnyModel",
    "CheckpointSettings",
    "Llama",
    "TokenizerSettings",
    "TrainSettings",
    "import_model",
    "make_model",
    "make_tokenizer",
]
