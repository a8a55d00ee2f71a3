"""How many examples will each measure of a run rest on? Counted before any compute."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from audits.audit import Audit
from audits.estimand import Exact, Odds, Spread
from flows.home import Home
from flows.spec import RunSpec
from registry.planning import Size
from tasks.data.catalog import find
from tasks.data.preview import Rows, preview
from tasks.evaluate import EvaluateSettings
from tasks.evaluate.documents import read
from tasks.evaluate.ours import count_clusters, reads


def sizes(spec: RunSpec, home: Home) -> dict[str, Size]:
    """Examples and clusters by full name of a measure; what cannot be known yet is left out.

    Checks of the data may still drop documents, and an answer may leave a stratum: no
    measure will rest on more than this.

    Raises:
        SpecError: the data cannot be read, or holds nothing for an audit.
    """
    rows = preview(spec.data, home.data_roots)
    columns = {by for rule in spec.policy.rules if (by := getattr(rule, "by", ""))}
    found = dict(_evaluated(spec.evaluate, rows, home))
    for audit in (*spec.audits, *(twin for _, twin in spec.controlled().values())):
        found |= {
            f"{audit.title}/{name}": size
            for name, size in _audited(audit, rows.get(audit.source, ()), columns)
        }
    for declared in spec.profile.declares():
        if not isinstance(declared.of, Exact):
            found[f"profile/{declared.name}"] = Size(spec.profile.repeats, spec.profile.repeats)
    return found


def _audited(
    audit: Audit, rows: Sequence[Mapping[str, object]], columns: Collection[str]
) -> Iterable[tuple[str, Size]]:
    if not rows:
        return
    examples = audit.examples(rows)
    owners = [e.cluster or e.id for e in examples]
    known = audit.strata(examples)
    counted: dict[tuple[tuple[str, str], ...], Size] = {}
    compared = {d.of.by for d in audit.declares() if isinstance(d.of, Spread | Odds)}
    for declared in audit.declares():
        asked = tuple(sorted(declared.where.items()))
        if any(column not in known[0] for column, _ in asked):
            continue
        if asked not in counted:
            kept = [k for k in zip(owners, known, strict=True) if _meets(k[1], asked)]
            counted[asked] = replace(
                _size(owner for owner, _ in kept),
                groups={c: _groups(kept, c) for c in (*columns, *compared) if c in known[0]},
            )
        yield declared.name, counted[asked]


def _groups(kept: Sequence[tuple[str, Mapping[str, object]]], column: str) -> dict[str, Size]:
    """Size of each group that a column makes."""
    names = sorted({str(strata[column]) for _, strata in kept} - {""})
    return {n: _size(owner for owner, strata in kept if strata[column] == n) for n in names}


def _meets(strata: Mapping[str, object], asked: Iterable[tuple[str, str]]) -> bool:
    return all(strata.get(column) == wanted for column, wanted in asked)


def _size(owners: Iterable[str]) -> Size:
    """Of examples, given the cluster of each."""
    clusters = list(owners)
    return Size(len(clusters), len(set(clusters)))


def _evaluated(
    settings: EvaluateSettings, rows: Rows, home: Home
) -> Iterable[tuple[str, Size]]:
    for task in settings.tasks:
        size = _task(settings, task, rows, home)
        if size is not None:
            for metric in settings.metrics:
                yield f"evaluate/{metric}/{task}", size
    for name in settings.texts:
        if name in rows:
            n = len(rows[name][: settings.text_limit])
            yield f"evaluate/bits_per_byte/{name}", Size(n, n)


def _task(settings: EvaluateSettings, task: str, rows: Rows, home: Home) -> Size | None:
    """Size of a task: of ours by the documents it reads; of others at most the limit."""
    ours = reads(task) if settings.include_path is None else None
    documents = _documents(ours, rows, home) if ours is not None else None
    if documents is None:
        limit = settings.limit
        return Size(limit, limit) if limit else None
    kept = list(documents[: settings.limit])
    return Size(len(kept), count_clusters(task, kept))


def _documents(
    ours: Mapping[str, str], rows: Rows, home: Home
) -> Sequence[Mapping[str, object]] | None:
    """Rows of the dataset's set, else of the catalog's file; None where neither is here."""
    if ours.get("set") in rows:
        return rows[ours["set"]]
    name = ours.get("catalog")
    file = find(name, home.data_roots) if name else None
    return read(name, file) if name and file else None
