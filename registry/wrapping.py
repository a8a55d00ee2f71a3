"""Is the model that stands in the registry the one in hand, with nothing about it to load?

The digest of a version covers weights, configuration and tokenizer. Beside them stands what
MLflow reads first: which code loads the model, and what to install for it. Whoever publishes
weights first decides that, with a key or without; so it is held against what the next
publication of the same weights would have written.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from registry import layout
from registry import seal as sealing

NOTES = ("compression.json", "recipe.yaml", "training.json", "README.md")
"""Files of a model that tell people how it was made; their words may change with our code."""
CONFIG = "MLmodel"
REQUIREMENTS = ("requirements.txt", "conda.yaml", "python_env.yaml")
MOVING = ("python_version",)
"""Of how a model is loaded, what depends on the machine that wrote it."""
_NAME = re.compile(r"([A-Za-z0-9][\w.-]*(?:\[[\w.,-]*\])?)\s*(?:[<>=!~]=?[\w.*+!,<>=~]*)?")
"""A package with its extras, and which versions of it; no address, option or condition."""


def otherwise(stored: Path, made: Path, data: Path) -> str:
    """What of a model in the registry is not as the one in hand; empty where nothing.

    Args:
        stored: the folder of the model in the registry.
        made: what would be written there beside the weights.
        data: the weights' own folder.
    """
    home = Path(layout.DATA).relative_to(layout.MODEL).as_posix()
    mine = {f"{home}/{path}": data / path for path in sealing.digests(data, skip=())}
    mine |= {path: made / path for path in sealing.digests(made, skip=())}
    theirs = sealing.digests(stored, skip=())
    known = {Path(layout.LOADED).relative_to(layout.MODEL).as_posix()}
    for path in sorted(theirs.keys() - mine.keys() - known):
        return f"{path} is no file of this model"
    return next((said for path in sorted(mine) for said in _unlike(path, stored, mine)), "")


def _unlike(path: str, stored: Path, mine: Mapping[str, Path]) -> Iterator[str]:
    theirs, name = stored / path, Path(path).name
    if name in NOTES:
        return
    if not theirs.is_file():
        yield f"{path} is missing"
    elif path == CONFIG:
        said = _loading(theirs)
        if said is None or said != _loading(mine[path]):
            yield f"{path} says otherwise how the model is loaded"
    elif path in REQUIREMENTS:
        if _installed(theirs) != _installed(mine[path]):
            yield f"{path} asks for other packages"
    elif sealing.digest_of(theirs) != sealing.digest_of(mine[path]):
        yield f"{path} has another content"


def _loading(file: Path) -> object:
    """What of an `MLmodel` decides about what is run; None where it says nothing of it.

    That is which code, and what it is given where a request does not say.
    """
    import yaml

    try:
        said = yaml.safe_load(file.read_text("utf-8"))
        flavors = {
            name: {k: v for k, v in flavor.items() if k not in MOVING}
            for name, flavor in said["flavors"].items()
        }
        asked = {part: _fields(text) for part, text in (said.get("signature") or {}).items()}
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return flavors, asked


def _fields(text: str | None) -> list[list[object]]:
    """Name, type and default of each column or parameter of a signature."""
    named = json.loads(text) if text else []
    return [[field.get(key) for key in ("name", "type", "default")] for field in named]


def _installed(file: Path) -> list[str]:
    """Names of packages without their versions; any other line as it is."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        return ["no text"]
    stripped = (line.strip().removeprefix("- ") for line in lines)
    return [m[1] if (m := _NAME.fullmatch(line)) else line for line in stripped if line]
