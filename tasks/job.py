"""What a stage is asked to do, what it is handed, and how its identity is computed."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from audits.settings import Settings
from tasks.artifact import Artifact

SCORES = "scores"
"""What the context calls the folder of the score cache."""


@dataclass(frozen=True, slots=True)
class Job:
    """One execution of one stage.

    `out` is empty and becomes the sealed content; `scratch` survives a kill and is where
    checkpoints belong; `note(name, value)` records a JSON fact beside the content, never
    inside its digest. `context` holds what must not change the result (the id of a run to
    log under, folders to look in).
    """

    out: Path
    scratch: Path
    inputs: Mapping[str, Artifact]
    note: Callable[[str, object], None]
    context: Mapping[str, str] = field(default_factory=dict)

    @property
    def score_cache(self) -> Path | None:
        """Folder of what models answered before, where the stage may use it."""
        return Path(self.context[SCORES]) if SCORES in self.context else None


class Call(Settings):
    """A stage with its settings and inputs: all that crosses a task boundary.

    `settings` is JSON; `sources` are digests of what the stage reads from outside the
    artifact root; `code` and `libraries` are versions that change the result; `context`
    and `label` are not part of the identity.
    """

    stage: str
    label: str
    settings: str
    inputs: Mapping[str, Artifact]
    sources: Mapping[str, str] = {}
    code: str
    libraries: Mapping[str, str] = {}
    root: str
    context: Mapping[str, str] = {}

    @property
    def key(self) -> str:
        """Digest of everything that decides what the stage will produce."""
        decides = {
            "stage": self.stage,
            "settings": json.loads(self.settings),
            "inputs": {role: a.digest for role, a in sorted(self.inputs.items())},
            "sources": dict(sorted(self.sources.items())),
            "code": self.code,
            "libraries": dict(sorted(self.libraries.items())),
        }
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
