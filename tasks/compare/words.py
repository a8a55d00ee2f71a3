"""What a comparison reads like to a person."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

SHOWN = 10
"""Flips listed; `--json` has them all."""
SCREENING = (
    "KL, agreement and Δp are for screening: near the base they say little about benchmarks "
    "(arXiv:2606.19558). Whether the variant may replace the base is decided by the paired "
    "change of accuracy."
)
_ROWS = {
    "kl": "mean KL(base‖variant)",
    "same_top": "same top token",
    "delta_p": "mean Δp of the true token",
    "rms_delta_p": "RMS Δp",
    "ppl_base": "perplexity of the base",
    "ppl_variant": "perplexity of the variant",
    "ln_ppl_ratio": "ln PPL ratio",
    "right_to_wrong": "right → wrong",
    "wrong_to_right": "wrong → right",
    "flips": "flips",
    "all_flips": "flips and other wrong answers",
    "accuracy_change": "change of accuracy",
}


def words(document: Mapping[str, Any]) -> str:
    """A readable table of what `assay compare --json` says."""
    lines = [f"{side:<9}{_model(document[side])}" for side in ("base", "variant")]
    if "text" in document:
        lines += ["", *_text(document["text"])]
    for kind in ("task", "audit"):
        for found in document[f"{kind}s"]:
            lines += ["", *_questions(kind, found)]
    if "kl" in document.get("text", {}):
        lines += ["", SCREENING]
    return "\n".join(lines)


def _model(side: Mapping[str, Any]) -> str:
    return f"{side['model']}  ({side['digest'][:12]})"


def _text(text: Mapping[str, Any]) -> Iterator[str]:
    if "absent" in text:
        yield f"text     {text['source']}: not compared: {text['absent']}"
        return
    size = f"{text['tokens']:,} tokens of {text['documents']:,} documents"
    yield f"text     {text['source']}: {size}"
    yield from _figures(text["figures"], "documents")
    of = "" if text["quantiles_of"] == "all tokens" else f" ({text['quantiles_of']})"
    for name, title in (("kl", "KL"), ("delta_p", "Δp")):
        said = [f"{_level(level)} {value:.4g}" for level, value in text[name].items()]
        yield f"{title} of a token{of}: {', '.join(said)}"


def _level(level: str) -> str:
    named = {"0.5": "median", "min": "min", "max": "max"}
    return named.get(level) or f"{100 * float(level):g} %"


def _questions(kind: str, task: Mapping[str, Any]) -> Iterator[str]:
    if "absent" in task:
        yield f"{kind:<9}{task['task']}: not compared: {task['absent']}"
        return
    if "changes" in task:
        yield f"{kind:<9}{task['task']}: variant minus base, on the same examples"
        yield from _changes(task["changes"])
        return
    counts, n = task["counts"], task["n"]
    before, after = (counts[f"right_{side}"] / n for side in ("base", "variant"))
    yield (
        f"{kind:<9}{task['task']}, {task['metric']}: {n:,} questions, "
        f"{before:.4g} in the base, {after:.4g} in the variant"
    )
    yield from _figures(task["figures"], "questions")
    for name, why in task["not_known"].items():
        yield f"{_ROWS[name]:<32}{'—':>10}  {why}"
    if task["invalid"]:
        yield f"{task['invalid']:,} questions without an answer count at their worst"
    if any(cut := task["truncated"].values()):
        yield (
            "longer than the model's window and cut on the left: {:,} questions in the base, "
            "{:,} in the variant".format(*cut)
        )
    listed = [e for e in task["changed"] if e["change"] != "right to right"]
    if listed:
        said = [f"{e['example']} ({e['change']})" for e in listed[:SHOWN]]
        more = f", and {len(listed) - SHOWN:,} more (--json)" if len(listed) > SHOWN else ""
        yield f"changed: {', '.join(said)}{more}"


def _changes(changes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Each measure with its groups; who suffers is named where chance shows less (Holm)."""
    yield f"{'':<32}{'change':>10}  95 % interval"
    for c in changes:
        if "absent" in c:
            yield f"{c['measure']:<32}{'—':>10}  {c['absent']}"
            continue
        interval = f"[{c['low']:.4g}, {c['high']:.4g}]  {c['clusters']:,} clusters, {c['aim']}"
        yield f"{c['measure']:<32}{c['value']:>+10.4f}  {interval}"
        for m in c.get("groups", ()):
            where = f"  {m['group']}"
            if "absent" in m:
                yield f"{where:<32}{'—':>10}  {m['absent']}"
            else:
                limits = f"[{m['low']:.4g}, {m['high']:.4g}]  p {m['p']:.2g} (Holm)"
                yield f"{where:<32}{m['value']:>+10.4f}  {limits}"
        if "groups" in c:
            yield f"  {_said(c)} (Holm)"


def _said(c: Mapping[str, Any]) -> str:
    """Who lost, or moved where nothing of it is a loss, by more than chance shows."""
    if c["suffers"]:
        return f"{c['suffers']} suffers most, beside the others, too, by more than chance shows"
    if c["lost"]:
        return f"{', '.join(c['lost'])} lost more than chance shows, none more than the others"
    if c["moved"] and not c["aim"].endswith("better"):
        return f"{', '.join(c['moved'])} changed by more than chance shows, where {c['aim']}"
    return "no group may be said to suffer"


def _figures(figures: Sequence[Mapping[str, Any]], over: str) -> Iterator[str]:
    yield f"{'':<32}{'value':>10}  95 % interval over {over}"
    for f in figures:
        if f["low"] is None:
            interval = f["method"]
        else:
            interval = f"[{f['low']:.4g}, {f['high']:.4g}]  {f['clusters']:,} clusters"
        yield f"{_ROWS[f['name']]:<32}{f['value']:>10.4g}  {interval}"
