"""The house's exceptions, and the exit code each one ends a command with.

* AssayError                 everything we raise on purpose              (exit 3)
  - GateRefused              a promotion without an approving decision   (exit 1)
  - SpecError                the run file, policy or command is wrong    (exit 2)
  - StageError               a stage failed                              (exit 3)
    - AuditError             an audit could not be carried out
    - MeasureError           a number that is not a measurement
    - NoRoom                 a disk is full, or may not be written
  - EvidenceError            a registry or evidence that does not verify (exit 4)
    - Renewed                what was judged is not all that is known by now

A message names the place, the value and the remedy, in one sentence.
"""


class AssayError(Exception):
    """Base of every error the platform raises on purpose."""

    exit_code = 3


class GateRefused(AssayError):
    """A promotion was asked for without a decision that allows it."""

    exit_code = 1


class SpecError(AssayError):
    """The run file, the policy or the command does not describe something we can do."""

    exit_code = 2


class StageError(AssayError):
    """A stage of the run failed."""


class AuditError(StageError):
    """An audit could not be carried out on these examples."""


class MeasureError(StageError):
    """A value offered as a measurement is not one (NaN, no samples, bounds crossed)."""


class NoRoom(StageError):
    """Nothing more can be written: every other stage would fail like this one."""


class EvidenceError(AssayError):
    """What the registry holds does not verify: altered, truncated, moved or missing."""

    exit_code = 4


class Renewed(EvidenceError):
    """Evidence was published between a decision and its record: decide again."""
