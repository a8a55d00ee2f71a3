"""Which model of lm-eval's does `lm-eval:BACKEND,ARGUMENTS` mean, and how is it known again?

A borrowed model becomes a folder with one small file, so that stages receive it as they
receive any model. Nothing here imports torch or builds the model.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from audits.errors import EvidenceError, SpecError
from audits.settings import Settings

PREFIX = "lm-eval:"
SHEET = "lm_eval_model.json"
LOCAL = "pretrained"
"""The argument by which lm-eval's backends are given a model's folder or hub id."""
STATED = "stated, not a content hash"
"""How a model is known that is elsewhere: what answers there may change."""
_SECRET = frozenset({"api_key", "auth_token", "token", "header"})
_CODE = "trust_remote_code"
_MORE_WEIGHTS = frozenset({"peft", "delta", "gguf_file"})
"""Weights beside those in the folder: of no known content, and they may be pickled."""

Value = str | int | float | bool | None


class Borrowed(Settings):
    """A backend of lm-eval and what it is made with.

    `weights` is the content hash of the folder that `pretrained` names; it is empty where
    the model is elsewhere, and then its identity is what was stated, not its content.
    """

    backend: str
    arguments: Mapping[str, Value]
    weights: str = ""

    @property
    def digest(self) -> str:
        """Hash of backend, arguments and weights; where the weights lie does not count."""
        given = {k: v for k, v in self.arguments.items() if k != LOCAL or not self.weights}
        said = {"backend": self.backend, "arguments": given, "weights": self.weights}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    @property
    def conditions(self) -> dict[str, str | int | float | bool]:
        """What the numbers rest on, and whether the model's content is known."""
        given = {k: v for k, v in self.arguments.items() if k != LOCAL or not self.weights}
        said: dict[str, str | int | float | bool] = {
            "backend": f"{PREFIX}{self.backend}",
            "arguments": ",".join(f"{k}={v}" for k, v in sorted(given.items())),
            "identity": "content hash" if self.weights else STATED,
            "lm_eval": metadata.version("lm-eval"),
        }
        return said | ({"weights": self.weights} if self.weights else {})


def settle(named: str, root: Path) -> tuple[Path, str]:
    """Write down which model is meant; its folder below `root`, and its digest.

    Raises:
        SpecError: the reference cannot be read, holds a secret, asks for code that comes
            with a model, or names a folder that is no model.
    """
    borrowed = _parsed(named)
    folder = root / borrowed.digest[:32]
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".{SHEET}.{os.getpid()}"
    aside.write_text(borrowed.model_dump_json(indent=1) + "\n", "utf-8")
    os.replace(aside, folder / SHEET)
    return folder, borrowed.digest


def settled(folder: Path) -> Borrowed | None:
    """The borrowed model that a folder stands for; None where it stands for none.

    Raises:
        EvidenceError: its file cannot be read.
        SpecError: it stands beside other files: a folder is a model of its own or stands for
            one elsewhere.
    """
    file = folder / SHEET
    if not file.is_file():
        return None
    beside = (f.name for f in folder.iterdir() if not f.name.startswith("."))
    if other := min((name for name in beside if name != SHEET), default=""):
        raise SpecError(
            f"{file}: says that the model is elsewhere, beside {other}; remove one of them"
        )
    try:
        return Borrowed.model_validate_json(file.read_text("utf-8"))
    except ValueError as error:
        raise EvidenceError(f"{file} cannot be read; name the model again") from error


def _parsed(named: str) -> Borrowed:
    from lm_eval.utils import simple_parse_args_string

    backend, _, given = named.removeprefix(PREFIX).partition(",")
    if not backend:
        raise SpecError(
            f"{named!r} names no backend of lm-eval; write {PREFIX}BACKEND,NAME=VALUE,…"
        )
    if any(not part.partition("=")[2] for part in given.split(",") if part):
        raise SpecError(
            f"{named!r}: arguments of lm-eval's {backend} are NAME=VALUE, separated by commas"
        )
    arguments: dict[str, Value] = simple_parse_args_string(given)
    _require_harmless(backend, arguments)
    place = arguments.get(LOCAL)
    if not isinstance(place, str):
        return Borrowed(backend=backend, arguments=arguments)
    from tasks.models.folder import weights_digest
    from tasks.models.load import locate

    folder = locate(place).resolve()
    return Borrowed(
        backend=backend,
        arguments=arguments | {LOCAL: str(folder)},
        weights=weights_digest(folder),
    )


def _require_harmless(backend: str, arguments: Mapping[str, Value]) -> None:
    if secrets := sorted(_SECRET & arguments.keys()):
        raise SpecError(
            f"{PREFIX}{backend}: {secrets[0]} would be written down; give it in the "
            "environment, where lm-eval's backend looks for it"
        )
    if more := sorted(_MORE_WEIGHTS & arguments.keys()):
        raise SpecError(
            f"{PREFIX}{backend}: {more[0]} adds weights that are not in the folder; merge "
            "them into a model folder first"
        )
    if arguments.get(_CODE):
        raise SpecError(
            f"{PREFIX}{backend}: {_CODE} is refused, for code that comes with a model is "
            "never run; leave it out"
        )
