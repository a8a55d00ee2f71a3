"""How many examples will each measure of a run rest on? Counted before any compute."""

from collections.abc import Iterable, Mapping, Sequence

from audits.audit import Audit
from audits.estimand import Exact
from flows.home import Home
from flows.spec import RunSpec
from registry.planning import Size
from tasks.data.preview import Rows, preview
from tasks.evaluate import EvaluateSettings
from tasks.evaluate.ours import count_clusters, reads


def sizes(spec: RunSpec, home: Home) -> dict[str, Size]:
    """Examples and clusters by full name of a measure; what cannot be known yet is left out.

    Checks of the data may still drop documents, and an answer may leave a stratum: no
    measure will rest on more than this.

    Raises:
        SpecError: the data cannot be read, or holds nothing for an audit.
    """
    rows = preview(spec.data, home.data_roots)
    found = dict(_evaluated(spec.evaluate, rows))
    for audit in spec.audits:
        found |= {
            f"{audit.title}/{name}": size
            for name, size in _audited(audit, rows.get(audit.source, ()))
        }
    for declared in spec.profile.declares():
        if not isinstance(declared.of, Exact):
            found[f"profile/{declared.name}"] = Size(spec.profile.repeats, spec.profile.repeats)
    return found


def _audited(audit: Audit, rows: Sequence[Mapping[str, object]]) -> Iterable[tuple[str, Size]]:
    if not rows:
        return
    examples = audit.examples(rows)
    owners = [e.cluster or e.id for e in examples]
    known = audit.strata(examples)
    counted: dict[tuple[tuple[str, str], ...], Size] = {}
    for declared in audit.declares():
        asked = tuple(sorted(declared.where.items()))
        if any(column not in known[0] for column, _ in asked):
            continue
        if asked not in counted:
            kept = [o for o, s in zip(owners, known, strict=True) if _meets(s, asked)]
            counted[asked] = Size(len(kept), len(set(kept)))
        yield declared.name, counted[asked]


def _meets(strata: Mapping[str, object], asked: Iterable[tuple[str, str]]) -> bool:
    return all(strata.get(column) == wanted for column, wanted in asked)


def _evaluated(settings: EvaluateSettings, rows: Rows) -> Iterable[tuple[str, Size]]:
    for task in settings.tasks:
        size = _task(settings, task, rows)
        if size is not None:
            for metric in settings.metrics:
                yield f"evaluate/{metric}/{task}", size
    for name in settings.texts:
        if name in rows:
            n = len(rows[name][: settings.text_limit])
            yield f"evaluate/bits_per_byte/{name}", Size(n, n)


def _task(settings: EvaluateSettings, task: str, rows: Rows) -> Size | None:
    """Size of a task: of ours by the set it reads; of others no more than the limit."""
    source = reads(task) if settings.include_path is None else None
    if source is None or source["set"] not in rows:
        limit = settings.limit
        return Size(limit, limit) if limit else None
    kept = list(rows[source["set"]][: settings.limit])
    return Size(len(kept), count_clusters(task, kept))
