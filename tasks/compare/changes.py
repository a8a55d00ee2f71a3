"""How far did each measure of an audit move, over all and in every group?"""

from dataclasses import asdict
from typing import Any

from audits.errors import MeasureError
from audits.estimand import Declared
from audits.evidence import Part
from audits.subgroups import Change, change, told


def changes(base: Part, variant: Part) -> list[dict[str, Any]]:
    """Every declared measure as a paired difference, variant minus base.

    Those that are told by group have `groups` too; `moved`, those that changed by more than
    chance shows, among all; `lost`, those of them that got worse; and `suffers`: the one that
    lost most, where it lost more than the others together (`beyond`), by more than chance
    shows, too. What cannot be compared says why.
    """
    grouped = {d.name: d for d in told(variant)}
    found = []
    for declared in variant.declared:
        entry = {
            "measure": declared.name, "better": declared.better, "aim": declared.aim,
            "unit": declared.unit,
        }  # fmt: skip
        entry |= _change(declared, base, variant)
        if declared.name in grouped and "value" in entry:
            entry |= _groups(grouped[declared.name], base, variant)
        found.append(entry)
    return found


def _change(declared: Declared, base: Part, variant: Part) -> dict[str, Any]:
    try:
        e = declared.difference(variant.completed(), base.completed(), level=0.95)
    except MeasureError as reason:
        return {"absent": str(reason)}
    return {
        "value": e.value,
        "low": e.low,
        "high": e.high,
        "n": e.n,
        "clusters": e.clusters,
        "method": e.method,
    }


def _groups(declared: Declared, base: Part, variant: Part) -> dict[str, Any]:
    try:
        found = change(declared, variant.completed(), base.completed(), by=declared.by)
    except MeasureError as reason:
        return {"groups_absent": str(reason)}
    return {
        "by": found.by,
        "moved": list(found.moved),
        "lost": list(found.lost),
        "suffers": found.suffers,
        "groups": _listed(found),
    }


def _listed(found: Change) -> list[dict[str, Any]]:
    return [
        {"group": m.group, "n": m.n, "p": m.p}
        | ({"absent": m.absent} if m.estimate is None else _limits(asdict(m.estimate)))
        | ({} if m.beyond is None else {"beyond": asdict(m.beyond)})
        for m in found.groups
    ]


def _limits(estimate: dict[str, Any]) -> dict[str, Any]:
    return {key: estimate[key] for key in ("value", "low", "high")}
