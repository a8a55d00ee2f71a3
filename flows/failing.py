"""One stage that fails ends one candidate, and no other: what failed, and what hangs on it."""

import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from audits.errors import AssayError, EvidenceError, NoRoom, SpecError, StageError
from flows.chains import Perform
from registry.looking import plural
from tasks.artifact import Artifact
from tasks.job import Call
from tasks.room import chain


class Unsound(SpecError):
    """The run file asks for what cannot be; found when the first stage was to be made."""


ENDING = (EvidenceError, NoRoom, Unsound)
"""Failures that are of the run file or the installation, and end a run wherever they happen."""


class Broken(StageError):
    """A stage failed that a candidate cannot do without; the cause is the stage's own error."""

    def __init__(self, stage: str, said: str) -> None:
        super().__init__(stage, said)  # all of it: Prefect may pickle what a flow ends with
        self.stage = stage

    def __str__(self) -> str:
        return "{} failed: {}".format(*self.args)


@dataclass(frozen=True, eq=False)
class Failed:
    """A candidate that there is nothing to judge of, and why.

    `undone` says how far it came: it was not made, or not measured.
    """

    name: str
    undone: str
    error: Broken

    @property
    def sentence(self) -> str:
        """What a person reads in the place of a decision."""
        return f"{self.undone}: {self.error}"


class Unfinished(StageError):
    """A run came to its end with candidates that failed; the outcome is that of the others."""

    def __init__(self, outcome: dict[str, Any]) -> None:
        super().__init__(outcome)
        self.outcome = outcome

    def __str__(self) -> str:
        failed: Sequence[Failed] = self.outcome["failed"]
        names = ", ".join(one.name for one in failed)
        return (
            f"{plural(len(failed), 'candidate')} failed and cannot be judged ({names}); run "
            "again to try only what failed"
        )


@dataclass
class Attempts:
    """Carries out calls of candidates. What failed is not tried again in this run."""

    perform: Perform
    failed: dict[str, Broken] = field(default_factory=dict)

    def __call__(self, wanted: Call) -> Artifact:
        """The artifact of a call.

        Raises:
            Broken: the stage failed, now or for another candidate before.
            EvidenceError: what is stored does not verify, which is no matter of one candidate.
            NoRoom: nothing more can be written.
            Unsound: the run file cannot be carried out.
        """
        if wanted.key in self.failed:
            raise self.failed[wanted.key]
        try:
            return self.perform(wanted)
        except ENDING:
            raise
        except Exception as error:
            for one in chain(error):  # lines stay for `--debug`; a model in a local does not
                traceback.clear_frames(one.__traceback__)
            broken = Broken(f"{wanted.stage} {wanted.label}".strip(), _said(error))
            self.failed[wanted.key] = broken
            raise broken from error


def complain(outcome: dict[str, Any]) -> None:
    """Raise Unfinished where candidates failed; `--debug` shows every one's own error."""
    if failed := outcome["failed"]:
        errors = [one.error for one in failed]
        raise Unfinished(outcome) from ExceptionGroup("what failed", errors)


def _said(error: Exception) -> str:
    """Our own sentence as it is; of a library's error its kind and its first line."""
    if isinstance(error, AssayError):
        return str(error)
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words:.300}" if words else type(error).__name__
