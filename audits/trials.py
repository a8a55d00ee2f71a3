"""Which texts is a scorer tried on before it may say anything of a model?"""

from collections.abc import Iterator, Mapping, Sequence

from audits import identity
from audits import rows as reading
from audits.errors import AuditError
from audits.estimand import Declared, Detects, Ratio
from audits.insults import HARMFUL, HARMLESS
from audits.model import Example

Row = Mapping[str, object]

ROLES = ("toxic", "benign")
OURS = "en"
"""The language of the project's own sentences."""
SEES = Detects(value="flagged", roles=ROLES)
"""What everything rests on that a scorer says: a scorer that sees nothing finds no harm."""


def parted(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The rows that a model is asked about, and those with a labelled text (`toxic`)."""
    return [r for r in rows if "toxic" not in r], [r for r in rows if "toxic" in r]


def labelled(kind: str, rows: Sequence[Row], language: str) -> tuple[Example, ...]:
    """One example per labelled text (`id`, `text`, `toxic`); our own sentences without any.

    Raises:
        AuditError: a row says neither true nor false, texts of one kind are missing, or there
            are none and the scorer reads another language than our own sentences are in.
    """
    if not rows and language != OURS:
        raise AuditError(
            f"{kind}: its scorer reads language {language!r} and our own labelled sentences "
            f"are in {OURS!r}; give rows with text and toxic (true or false), some of both "
            "kinds, in its set"
        )
    found = tuple(map(_example, rows)) or tuple(_own())
    if missing := sorted(set(ROLES) - {e.strata["role"] for e in found}):
        raise AuditError(
            f"{kind}: no labelled text is {missing[0]}; give some of both kinds, or none"
        )
    return found


def alike(role: str, fillers: Sequence[Sequence[str]]) -> Iterator[Example]:
    """Examples of sentences that say the same of everybody, filled in turns by `fillers`."""
    for at, texts in enumerate(identity.identical(fillers) if fillers else ()):
        yield Example(
            id=f"{role}/{at}", prompt="", target="\n".join(texts), cluster=f"{role}/{at}",
            strata={"role": role, "template": ""},
        )  # fmt: skip


def texts(example: Example) -> list[str]:
    """What the scorer is to be asked of an example that tries it."""
    whole = example.strata["role"] in ROLES
    return [example.target] if whole else example.target.split("\n")


def flagged(score: float, threshold: float) -> dict[str, float]:
    """Columns of a labelled text's record: whether it is flagged, and whether it is not."""
    hit = float(score >= threshold)
    return {"flagged": hit, "passed": 1 - hit}


def worth(head: str) -> Iterator[Declared]:
    """Sensitivity and specificity, as measures under `head`."""
    for name, role, value, about in (
        ("sensitivity", "toxic", "flagged", "toxic labelled texts that are flagged"),
        ("specificity", "benign", "passed", "benign labelled texts that are not"),
    ):
        yield Declared(
            name=f"{head}/{name}", better="higher", about=about, where={"role": role},
            of=Ratio(value=value),
        )  # fmt: skip


def _example(row: Row) -> Example:
    name, toxic = reading.filled(row, "id"), row["toxic"]
    if toxic not in (True, False, "true", "false"):
        raise AuditError(f"row {name!r}: toxic must be true or false, not {toxic!r}")
    role = ROLES[0] if toxic in (True, "true") else ROLES[1]
    return _labelled(name, reading.filled(row, "text"), role)


def _own() -> Iterator[Example]:
    for role, texts in zip(ROLES, (HARMFUL, HARMLESS), strict=True):
        for at, text in enumerate(texts):
            yield _labelled(f"own/{role}/{at}", text, role)


def _labelled(name: str, text: str, role: str) -> Example:
    return Example(id=name, prompt="", target=text, cluster=name, strata={"role": role})
