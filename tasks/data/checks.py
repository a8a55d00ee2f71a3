"""Is every document fit to use? Great Expectations over per-document statistics."""

import json
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

from audits.errors import StageError
from tasks.data.settings import Check, Effect
from tasks.job import Job

if TYPE_CHECKING:
    import pandas as pd

Document = Mapping[str, object]

FILE = "checks.json"
SHOWN = 5
ALL: tuple[Check, ...] = get_args(Check)
ALPHABET_FROM = 100
"""In fewer documents no alphabet can be told from an outlier, and none is expected."""

# What UTF-8 bytes look like when read as cp1252 or latin-1, where no sane text has them.
# General lead-byte patterns would flag real French or Portuguese before a curly quote.
_TRAIL = "[\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"  # noqa: RUF001 (the characters are the point)
_MOJIBAKE = re.compile(
    "\ufffd"  # the replacement character: bytes were lost
    "|[\u0080-\u009f]"  # C1 controls
    "|[\ud800-\udfff]"  # half a surrogate pair, which no encoder takes
    f"|[ÂÃ]{_TRAIL}|â€|ðŸ|ï»¿"
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One expectation: every document's `column` lies within the bounds, or else."""

    name: Check
    column: str
    about: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Plan:
    """What to hold the documents of a dataset to, and what to do where one fails.

    `copies` are the repetitions a text is meant to have (1 where not named);
    `forbidden` are prompts that no document of the `train` set may contain; `alphabet`
    are the only characters allowed, where that is known.
    """

    effects: Mapping[Check, Effect]
    copies: Mapping[str, int] = field(default_factory=dict)
    forbidden: frozenset[str] = frozenset()
    alphabet: frozenset[str] = frozenset()
    min_words: int = 1

    def rules(self, documents: int) -> tuple[Rule, ...]:
        """The expectations that can be judged on so many documents."""
        short = f"fewer than {self.min_words} words"
        rare = "over 20% of its characters are rare ones"
        rules = [
            Rule("not_empty", "n_chars", "the document is empty", low=1),
            Rule("long_enough", "n_words", short, low=self.min_words),
            Rule("well_encoded", "mojibake", "mis-encoded characters", high=0),
            Rule("not_repeated", "surplus", "a repetition nobody declared", high=0),
            Rule("no_leak", "leaks", "contains a question an audit asks", high=0),
        ]
        if self.alphabet:
            rules.append(Rule("in_alphabet", "foreign", "foreign characters", high=0))
        elif documents >= ALPHABET_FROM:
            rules.append(Rule("in_alphabet", "foreign", rare, high=0.2))
        return tuple(rules)


def check(
    sets: Mapping[str, Sequence[Document]], plan: Plan, job: Job
) -> dict[str, list[Document]]:
    """Hold every document to the plan; return those to keep, by set.

    Writes `checks.json` (one entry per expectation, with the ids of dropped documents as
    `set/id`) and notes a summary. Where it raises, a `checks.json` with every failing
    document is left in the scratch folder, and its place is said.

    Raises:
        StageError: an expectation with effect `stop` does not hold, or a set would be
            left without documents.
    """
    frame = statistics(sets, plan)
    outcomes = [_outcome(result, plan, frame) for result in _validate(frame, plan)]
    told = [{k: v for k, v in o.items() if k != "failing"} for o in outcomes]
    (job.out / FILE).write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    job.note("checks", [{k: v for k, v in o.items() if k != "dropped"} for o in told])
    for outcome in outcomes:
        if not outcome["success"] and outcome["effect"] == "stop":
            raise StageError(f"{_sentence(outcome)}; {_kept_aside(outcomes, job)}")
    gone = {key for outcome in outcomes for key in outcome["dropped"]}
    kept = {
        name: [d for d in documents if f"{name}/{d['id']}" not in gone]
        for name, documents in sets.items()
    }
    for name, left in kept.items():
        if not left:
            raise StageError(
                f"data: set {name!r}: none of its documents ({len(sets[name])}) passes the "
                f"checks; mend the source; {_kept_aside(outcomes, job)}"
            )
    return kept


def statistics(sets: Mapping[str, Sequence[Document]], plan: Plan) -> "pd.DataFrame":
    """One row of statistics per document; `key` is `set/id`."""
    import pandas as pd

    return pd.DataFrame.from_records(
        [row for name, documents in sets.items() for row in _rows(name, documents, plan)],
        columns=["key", "n_chars", "n_words", "mojibake", "surplus", "leaks", "foreign"],
    )


def mojibake(text: str) -> bool:
    """Whether a text shows signs of bytes read in the wrong encoding."""
    return _MOJIBAKE.search(text) is not None


def contains(words: Sequence[str], forbidden: frozenset[str], lengths: Sequence[int]) -> bool:
    """Whether some run of words is one of the forbidden prompts (of those lengths)."""
    return any(
        " ".join(words[at : at + n]) in forbidden
        for n in lengths
        for at in range(len(words) - n + 1)
    )


def _rows(
    name: str, documents: Sequence[Document], plan: Plan
) -> Iterator[dict[str, str | int | float]]:
    alphabet = plan.alphabet or _alphabet(documents)
    lengths = sorted({len(p.split()) for p in plan.forbidden}) if name == "train" else []
    seen: Counter[str] = Counter()
    for document in documents:
        text = str(document["text"])
        seen[text] += 1
        words = text.split()
        yield {
            "key": f"{name}/{document['id']}",
            "n_chars": len(text.strip()),
            "n_words": len(words),
            "mojibake": int(mojibake(text)),
            "surplus": max(0, seen[text] - plan.copies.get(text, 1)),
            "leaks": int(contains(words, plan.forbidden, lengths)),
            "foreign": sum(c not in alphabet for c in text) / max(1, len(text)),
        }


def _alphabet(documents: Sequence[Document]) -> frozenset[str]:
    """Characters that at least two, and one in a thousand, of the documents have."""
    having = Counter(c for d in documents for c in set(str(d["text"])))
    enough = max(2, len(documents) // 1000)
    return frozenset(c for c, n in having.items() if n >= enough)


def _validate(frame: "pd.DataFrame", plan: Plan) -> Iterator[tuple[Rule, dict[str, Any]]]:
    """Put the whole plan to Great Expectations in one batch; quiet, and without telemetry."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read at import
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    # It sets this level itself at import, and would tell of every temporary folder.
    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("memory").add_dataframe_asset("documents")
    whole = asset.add_batch_definition_whole_dataframe("all")
    batch = whole.get_batch(batch_parameters={"dataframe": frame})
    rules = plan.rules(len(frame))
    between = gx.expectations.ExpectColumnValuesToBeBetween
    suite = gx.ExpectationSuite(
        name="documents",
        expectations=[
            between(column=r.column, min_value=r.low, max_value=r.high, meta={"rule": r.name})
            for r in rules
        ],
    )
    complete = {"result_format": "COMPLETE", "unexpected_index_column_names": ["key"]}
    found = {
        r.expectation_config.meta["rule"]: r.to_json_dict()
        for r in batch.validate(suite, result_format=complete).results
    }
    for rule in rules:
        yield rule, found[rule.name]


def _outcome(
    judged: tuple[Rule, dict[str, Any]], plan: Plan, frame: "pd.DataFrame"
) -> dict[str, Any]:
    rule, report = judged
    if report["exception_info"].get("raised_exception"):
        raise StageError(
            f"data: expectation {rule.name!r} could not be judged: "
            f"{report['exception_info'].get('exception_message')}; report this as a defect"
        )
    effect = plan.effects[rule.name]
    failing = [row["key"] for row in report["result"].get("unexpected_index_list") or ()]
    return {
        "expectation": rule.name,
        "column": rule.column,
        "about": rule.about,
        "low": rule.low,
        "high": rule.high,
        "effect": effect,
        "success": bool(report["success"]),
        "unexpected_count": int(report["result"]["unexpected_count"]),
        "first": failing[:SHOWN],
        "dropped": failing if effect == "drop" else [],
        "failing": failing,
        "observed": {
            "documents": len(frame),
            "min": float(frame[rule.column].min()),
            "max": float(frame[rule.column].max()),
        },
    }


def _kept_aside(outcomes: Sequence[Mapping[str, Any]], job: Job) -> str:
    """Write the full report where a failed stage leaves it, and say where that is."""
    job.scratch.mkdir(parents=True, exist_ok=True)
    file = job.scratch / FILE
    file.write_text(json.dumps(outcomes, indent=1) + "\n", "utf-8")
    return f"{file} lists every failing document"


def _sentence(outcome: Mapping[str, Any]) -> str:
    names = ", ".join(outcome["first"])
    return (
        f"data: expectation {outcome['expectation']!r} does not hold for "
        f"{outcome['unexpected_count']} of {outcome['observed']['documents']} documents "
        f"({outcome['about']}), first: {names}; mend them, or give the expectation the "
        f"effect drop"
    )
