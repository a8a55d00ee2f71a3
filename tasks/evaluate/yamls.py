"""What does a task file say? Read as lm-eval reads it, but none of its code is run."""

from pathlib import Path
from typing import Any

import yaml


def read_yaml(file: Path) -> dict[str, Any]:
    """A task's YAML over what it includes; empty where lm-eval would skip it.

    `!function` gives the name of the function, never the function.
    """
    try:
        found = yaml.load(file.read_text("utf-8"), Loader=_Lenient)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    if not isinstance(found, dict):
        return {}
    below = found.pop("include", None) or []
    merged: dict[str, Any] = {}
    for name in below if isinstance(below, list) else [below]:
        merged |= read_yaml(file.parent / str(name))
    return merged | found


class _Lenient(yaml.SafeLoader):
    """Reads what lm-eval reads."""


def _as_text(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> str:
    return str(node.value) if isinstance(node, yaml.ScalarNode) else suffix


_Lenient.add_multi_constructor("!", _as_text)
