"""A user's own closed world: facts from a file, put into the rows that audits of facts read."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from audits.errors import SpecError
from tasks.data.read import Row
from tasks.data.settings import Asking

STRATA = ("K", "U_ent", "U_rel", "U_none")
SPLITS = ("calibration", "test")


@dataclass(frozen=True, slots=True)
class _Fact:
    """One line of the file; `object` is empty where there is nothing to know."""

    line: int
    subject: str
    relation: str
    object: str
    stratum: str
    copies: float
    split: str
    type: str


def fact_rows(lines: Sequence[Mapping[str, object]], asking: Asking, file: Path) -> list[Row]:
    """Rows of the set `facts` from lines of subject, relation and object.

    Every line is one fact. An empty `object` asks for what is not known: its `stratum` is
    `U_ent` where the file knows nothing of the subject, else `U_rel`, unless the line says
    another. `exposures` says how often training stated the fact (1 where absent), `type` what
    the subject is, and `split` whether the line sets thresholds (`calibration`) or is judged
    (`test`); without it, a fixed share of the subjects is put aside for thresholds.
    Candidates of a relation are all its objects in the file.

    Raises:
        SpecError: a line lacks something or contradicts another, a relation has no template
            or fewer than two objects, or nothing is known.
    """
    found = [_read(line, at, file) for at, line in enumerate(lines, 1)]
    _require_functional(found, file)
    known = {f.subject for f in found if f.object}
    facts = [_placed(f, known, file) for f in found]
    if not known:
        raise SpecError(f"{file}: no line has an object, so nothing is known; add known facts")
    objects: dict[str, set[str]] = defaultdict(set)
    for fact in facts:
        objects[fact.relation] |= {fact.object} - {""}
    for relation in objects:
        _require_askable(relation, objects[relation], asking, file)
    return [
        row for fact in facts for row in _rows(fact, sorted(objects[fact.relation]), asking)
    ]


def _read(line: Mapping[str, object], at: int, file: Path) -> _Fact:
    def text(key: str, default: str | None = None) -> str:
        value = line.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or not (value.strip() or default is not None):
            raise SpecError(
                f"{file}, row {at}: {key} is {value!r}; give columns subject, relation and "
                "object (empty where nothing is known)"
            )
        return value.strip()

    copies = line.get("exposures", 1)
    try:
        exposures = float(str(copies or 0))
    except ValueError:
        exposures = -1
    if not 0 <= exposures < 1e12:
        raise SpecError(f"{file}, row {at}: exposures is {copies!r}; give a number from 0 up")
    split = text("split", "")
    if split not in ("", *SPLITS):
        raise SpecError(f"{file}, row {at}: split is {split!r}; give calibration or test")
    subject, answer = text("subject"), text("object", "")
    return _Fact(
        at, subject, text("relation"), answer, text("stratum", ""),
        exposures if answer else 0.0, split, text("type", "") or "entity",
    )  # fmt: skip


def _require_functional(facts: Sequence[_Fact], file: Path) -> None:
    """A subject has a relation once: with two objects, or known and not, nothing is true."""
    seen: dict[tuple[str, str], _Fact] = {}
    for fact in facts:
        before = seen.setdefault((fact.subject, fact.relation), fact)
        if before is not fact:
            raise SpecError(
                f"{file}, row {fact.line}: {fact.subject!r} has {fact.relation} "
                f"{fact.object or 'unknown'!r} and, in row {before.line}, "
                f"{before.object or 'unknown'!r}; keep one, for each relation has one object"
            )


def _placed(fact: _Fact, known: set[str], file: Path) -> _Fact:
    """The fact with its stratum, which must be one that its object and subject allow."""
    usual = "K" if fact.object else "U_rel" if fact.subject in known else "U_ent"
    stratum = fact.stratum or usual
    where = f"{file}, row {fact.line}: stratum is {stratum!r}"
    if stratum not in STRATA:
        raise SpecError(f"{where}; give one of {', '.join(STRATA)}, or none")
    if (stratum == "K") != bool(fact.object):
        raise SpecError(f"{where} and object {fact.object!r}; only K has objects, and always")
    if stratum == "U_ent" and fact.subject in known:
        raise SpecError(
            f"{where}, but {fact.subject!r} has known facts; it is U_rel, or the known facts go"
        )
    return replace(fact, stratum=stratum)


def _require_askable(relation: str, objects: set[str], asking: Asking, file: Path) -> None:
    if relation not in asking.templates:
        raise SpecError(
            f"{file}: relation {relation!r} has no template (there are: "
            f"{', '.join(sorted(asking.templates))}); add asking.templates.{relation}"
        )
    if len(objects) < 2:
        raise SpecError(
            f"{file}: relation {relation!r} has {len(objects)} known objects, so there is "
            "nothing to choose between; add facts with others"
        )
    if asking.abstain in objects:
        raise SpecError(
            f"{file}: {asking.abstain!r} is an object of {relation} and asking.abstain; give "
            "another word for not knowing"
        )


def _rows(fact: _Fact, objects: Sequence[str], asking: Asking) -> Iterator[Row]:
    forms = {"seen": asking.templates[fact.relation]}
    if fact.object and fact.relation in asking.held:
        forms["held"] = asking.held[fact.relation]
    split = fact.split or _drawn(fact.subject, asking.calibration_share)
    for form, template in forms.items():
        prompt = template.partition("{object}")[0].rstrip().replace("{subject}", fact.subject)
        yield {
            "id": f"{fact.stratum}/{fact.line}/{form}",
            "fact": f"{fact.subject}.{fact.relation}",
            "stratum": fact.stratum,
            "form": form,
            "type": fact.type,
            "relation": fact.relation,
            "subject": fact.subject,
            "object": fact.object,
            "prompt": prompt,
            "candidates": list(objects),
            "abstain": asking.abstain,
            "copies": fact.copies,
            "renderings": [],
            "entity": fact.subject,
            "split": split,
        }


def _drawn(subject: str, share: float) -> str:
    """The same split for a subject in every file: a hash of its name decides."""
    at = int.from_bytes(hashlib.sha256(subject.encode()).digest()[:4], "big") / 2**32
    return "calibration" if at < share else "test"
