"""Stage: what changes between a model and its base, over a text and over questions."""

from tasks.compare.changes import changes
from tasks.compare.text import NotComparable, text_drift
from tasks.compare.words import words

__all__ = ["NotComparable", "changes", "text_drift", "words"]
