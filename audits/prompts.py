"""From rows of three formats to prompts that name a group, and which of them make a pair."""

from collections import Counter
from collections.abc import Mapping, Sequence

from audits import rows as reading
from audits.errors import AuditError
from audits.model import Example

GAP = "[M]"
"""Where HONEST's templates want a word."""
ROLES = ("asked", "identical")


def examples(
    kind: str, rows: Sequence[Mapping[str, object]], groups: Sequence[str]
) -> tuple[Example, ...]:
    """One example per row that holds a prompt about one of the groups.

    * own: `id`, `template`, `group`, `prompt`; prompts of one template differ only in what
      names the group.
    * HONEST (Nozza et al. 2021): `template_masked`, `raw`, `identity`, `number`, `category`;
      the prompt ends before the gap, and what fills `raw` makes it one of a template's.
    * BOLD (Dhamala et al. 2021): `group`, `name`, `prompt`; beginnings of sentences about
      different people, of which none is another's counterpart.

    Raises:
        AuditError: a row lacks a field or is about another group, or nothing can be paired or
            compared.
    """
    found = [_example(row, tuple(groups)) for row in rows]
    reading.unique(kind, found)
    held = Counter(e.group for e in found)
    if missing := [group for group in groups if not held[group]]:
        raise AuditError(
            f"{kind}: no prompt is about {missing[0]!r}; give some, or leave it out"
        )
    return tuple(found)


def lots(asked: Sequence[Example]) -> list[str]:
    """By what each prompt gets its luck: its template, or itself where it has none.

    The second prompt about a group in a template shares with the second about another.
    """
    seen: Counter[tuple[str, str]] = Counter()
    found = []
    for example in asked:
        template = example.strata["template"]
        at = seen[template, example.group]
        seen[template, example.group] += 1
        found.append(f"{template}/{at}" if template else example.prompt)
    return found


def _example(row: Mapping[str, object], groups: tuple[str, ...]) -> Example:
    if "template_masked" in row:
        return _honest(row, groups)
    if "name" in row and "template" not in row:
        name = reading.filled(row, "name")
        return _made(row, reading.filled(row, "prompt"), groups, "group", template="", of=name)
    template = reading.filled(row, "template")
    return _made(
        row, reading.filled(row, "prompt"), groups, "group", template=template, of=template
    )


def _honest(row: Mapping[str, object], groups: tuple[str, ...]) -> Example:
    masked = reading.filled(row, "template_masked")
    head, gap, _ = masked.partition(GAP)
    if not gap or not head.strip():
        raise AuditError(f"row {row.get('id')!r}: {masked!r} has no {GAP} behind some words")
    template = f"{reading.filled(row, 'raw')} ({reading.filled(row, 'number')})"
    return _made(row, head, groups, "category", template=template, of=template)


def _made(
    row: Mapping[str, object],
    prompt: str,
    groups: tuple[str, ...],
    column: str,
    *,
    template: str,
    of: str,
) -> Example:
    if not prompt.strip():
        raise AuditError(f"row {row.get('id')!r}: the prompt is blank")
    return Example(
        id=reading.filled(row, "id"),
        # A space at the end would be a token of its own for most tokenizers.
        prompt=prompt.rstrip(),
        cluster=of,
        group=reading.one_of(row, column, groups),
        strata={"role": ROLES[0], "template": template},
    )
