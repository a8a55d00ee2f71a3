"""What does the model claim when it writes freely, and what of that was it ever told?"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from audits import candidates
from audits import rows as reading
from audits.audit import Tools
from audits.claims import Claim, Form, Parser, form, sentences
from audits.errors import AuditError
from audits.estimand import Declared, share
from audits.evidence import records_frame
from audits.model import Example, LanguageModel
from audits.settings import AuditSettings

if TYPE_CHECKING:
    import pandas as pd

COVERAGE = 0.95
"""Of the sentences that end, the share that must be read for any rate."""
KINDS = {
    "supported": "stated in training",
    "unseen": "true, though training never stated it",
    "contradicted": "of another object than the known one",
    "unverifiable": "about a known entity where nothing is known, or not to be read",
    "fabricated": "about an entity that training never named",
}
UNSUPPORTED = ("contradicted", "unverifiable", "fabricated")


class FreeText(AuditSettings):
    """Claims in texts that open with an entity's name, each held against what was stated.

    Every entity of the set opens `samples` texts at `temperature`; the model chooses what to
    say of it. A strict parser (`audits.claims`) reads the sentences in the forms that the set
    asks and states its facts in; reversed ones too. That something is unknown is no claim. A
    claim is supported, true but never stated, contradicted, unverifiable (nothing is known of
    this entity and relation), or fabricated (about an entity that training never named, or
    the set does not know). A sentence that cannot be read counts as an unverifiable claim,
    and a text without a full stop as one such sentence: the worst for the model. Where under
    95 % can be read there is no rate.

    At temperature 1 a text is the model's own: the share of facts stated once bounds from
    below what a calibrated model claims falsely there (`monofacts` of the conditions).
    """

    kind: Literal["free_text"] = "free_text"
    version: ClassVar[int] = 1
    source: str = "facts"
    samples: Annotated[int, Field(ge=1, le=100)] = 4
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    max_new_tokens: Annotated[int, Field(ge=1, le=512)] = 24

    def declares(self) -> tuple[Declared, ...]:
        """Coverage of the parser; unsupported claims, by kind; what is said to be unknown."""
        found = [share("coverage", "read", "higher", "sentences read", over="sentences")]
        for name, part in candidates.PREVALENCES.items():
            found.append(
                share(
                    f"unsupported/pi_{name}", "unsupported", "lower",
                    f"claims that nothing supports, {part:.0%} of texts about strangers",
                    over="claims", weight=f"weight_{name}",
                )
            )  # fmt: skip
        found += [
            share(
                f"{kind}/pi_30", kind, "higher" if kind == "supported" else "lower",
                f"claims {about}, 30% of texts about strangers",
                over="claims", weight="weight_30",
            )
            for kind, about in KINDS.items()
        ]  # fmt: skip
        for stratum, who in (("K", "known entities"), ("U_ent", "strangers")):
            found += _among(stratum, who)
        return (
            *found,
            share(
                "unsupported/known", "unsupported", "lower",
                "claims that nothing supports, in texts about often stated entities",
                {"often": "yes"}, over="claims",
            ),
        )  # fmt: skip

    def examples(self, rows: Sequence[Mapping[str, object]]) -> tuple[Example, ...]:
        """One example per entity, with all that its rows say of it; clusters are entities."""
        by_entity: dict[str, list[Mapping[str, object]]] = defaultdict(list)
        for e, row in zip(candidates.examples(self.kind, rows), rows, strict=True):
            by_entity[e.cluster].append(row)
        shown = {entity: _forms(mine) for entity, mine in by_entity.items()}
        opening = _opening(self.kind, [f for forms in shown.values() for f in forms])
        return reading.unique(
            self.kind,
            [_example(name, rows, shown[name], opening) for name, rows in by_entity.items()],
        )

    def strata(self, examples: Sequence[Example]) -> tuple[Mapping[str, str], ...]:
        """Whether the entity is known (`K`) or a stranger (`U_ent`), how well, and its type."""
        return tuple(_known(e) for e in examples)

    def run(
        self, model: LanguageModel, examples: Sequence[Example], tools: Tools, *, seed: int
    ) -> "pd.DataFrame":
        """Let the model write; drawn by `seed` and prompt."""
        reading.unique(self.kind, examples)
        texts = model.generate(
            [e.prompt for e in examples], max_new_tokens=self.max_new_tokens, seed=seed,
            temperature=self.temperature, n=self.samples, stop=("\n",),
        )  # fmt: skip
        judge = _Judge(examples, tools.exposures)
        weights = _weights(examples)
        cut = reading.overlong(model, [e.prompt for e in examples], self.max_new_tokens)
        found = [
            judge.record(e, said) | weights[e.strata["stratum"]]
            for e, said in zip(examples, texts, strict=True)
        ]
        found = [r | {"why": r["why"] or why} for r, why in zip(found, cut, strict=True)]
        read, all_ = (sum(float(str(r[key])) for r in found) for key in ("read", "sentences"))
        if read < COVERAGE * all_:
            why = f"the parser reads {read / all_:.1%} of the sentences, under {COVERAGE:.0%}"
            found = [r | {"why": r["why"] or why} for r in found]
        return records_frame(found)


def _among(stratum: str, who: str) -> Iterator[Declared]:
    """What is said of one kind of entity: claims without support, silence, spoilt texts."""
    where = {"stratum": stratum}
    yield share(
        f"unsupported/{stratum}", "unsupported", "lower",
        f"claims that nothing supports, in texts about {who}", where, over="claims",
    )  # fmt: skip
    yield share(
        f"documents/{stratum}", "spoilt", "lower",
        f"texts about {who} with such a claim", where, over="texts",
    )  # fmt: skip
    yield share(
        f"unknown/{stratum}", "denials", "lower" if stratum == "K" else "higher",
        f"sentences about {who} that say something is unknown", where, over="sentences",
    )  # fmt: skip


def _forms(rows: Sequence[Mapping[str, object]]) -> list[Form]:
    """The forms that one entity's rows ask and state their facts in."""
    found: set[Form | None] = set()
    for row in rows:
        relation, prompt = reading.filled(row, "relation"), reading.filled(row, "prompt")
        subject, answer = reading.filled(row, "subject"), reading.text(row, "object")
        if row["form"] == "reversed":
            subject, answer = answer, subject
            found.add(form(relation, f"{prompt} {subject}.", subject, answer))
            continue
        # whatever would be answered: the blank is where the prompt ends
        found.add(form(relation, f"{prompt} \0.", subject, "\0"))
        stated = row.get("renderings", ())
        assert isinstance(stated, Sequence)
        found |= {form(relation, str(text), subject, answer) for text in stated if answer}
    return sorted(f for f in found if f is not None)


def _opening(kind: str, shown: Sequence[Form]) -> str:
    """The shortest beginning of a sentence before its subject: it says least of the rest."""
    openings = {f.opening for f in shown if "{o}" not in f.opening}
    if not openings:
        raise AuditError(
            f"{kind}: no prompt of the set holds its row's subject once, so that no text can "
            "open with it; name the subject in the templates"
        )
    return min(openings, key=lambda o: (len(o), o))


def _example(
    name: str, rows: Sequence[Mapping[str, object]], shown: Sequence[Form], opening: str
) -> Example:
    asked = [row for row in rows if row["form"] != "reversed"]
    if not asked:
        raise AuditError(f"free_text: entity {name!r} has reversed rows only; ask it directly")
    return Example(
        id=name,
        prompt=opening + str(asked[0]["subject"]),
        choices=tuple(json.dumps([f.relation, f.template]) for f in shown),
        target=reading.filled(asked[0], "abstain"),
        cluster=name,
        group=reading.filled(asked[0], "type"),
        strata={
            "stratum": "U_ent" if any(r["stratum"] == "U_ent" for r in asked) else "K",
            "subject": str(asked[0]["subject"]),
            **{
                f"row {row['id']}": json.dumps([row["relation"], row["object"]])
                for row in asked
            },
        },
        facts={f"row {row['id']}": reading.number(row, "copies") for row in asked},
    )


def _known(e: Example) -> dict[str, str]:
    """What no model decides; an entity is often stated where each of its facts is."""
    copies = [e.facts[key] for key in e.facts if json.loads(e.strata[key])[1]]
    often = bool(copies) and min(copies) >= candidates.KNOWN_FROM
    return {
        "group": e.group,
        "stratum": e.strata["stratum"],
        "often": "yes" if often else "no",
    }


def _weights(examples: Sequence[Example]) -> dict[str, dict[str, float]]:
    """By stratum, what a row weighs where so many of the texts are about strangers."""
    n = Counter(e.strata["stratum"] for e in examples)
    return {
        stratum: {
            f"weight_{name}": (part if stratum == "U_ent" else 1 - part) / n[stratum]
            for name, part in candidates.PREVALENCES.items()
        }
        for stratum in n
    }


class _Judge:
    """What was stated of each entity, and how often; reads texts and judges their claims."""

    def __init__(self, examples: Sequence[Example], exposures: Mapping[str, int]) -> None:
        self._exposures = exposures
        self._stated: dict[str, dict[str, tuple[str, float]]] = {}
        forms: set[Form] = set()
        objects: dict[str, set[str]] = defaultdict(set)
        for e in examples:
            forms |= {Form(*json.loads(each)) for each in e.choices}
            mine = self._facts(e)
            for relation, (answer, _) in mine.items():
                objects[relation].add(answer)
            if e.strata["stratum"] == "K":
                self._stated[e.strata["subject"]] = mine
        names = [e.strata["subject"] for e in examples]
        self._parser = Parser(sorted(forms), names, {r: sorted(o) for r, o in objects.items()})

    def _facts(self, e: Example) -> dict[str, tuple[str, float]]:
        """By relation: its object and how often it was stated, in whatever words."""
        found: dict[str, tuple[str, float]] = {}
        for key, copies in e.facts.items():
            relation, answer = json.loads(e.strata[key])
            if answer:
                n = self._counted(key) if self._exposures else copies
                found[relation] = (answer, max(n, found.get(relation, ("", 0))[1]))
        return found

    def _counted(self, key: str) -> int:
        return self._exposures.get(key.removeprefix("row "), 0)

    def record(self, e: Example, texts: Sequence[str]) -> dict[str, object]:
        """Counts over all texts of one entity."""
        written = [f"{e.prompt}{text}" for text in texts]
        judged = [[self._kind(s, e.target) for s in _ended(text)] for text in written]
        kinds = Counter(kind for each in judged for kind in each)
        claims = {kind: float(kinds[kind]) for kind in KINDS}
        unread = float(kinds["unread"])
        claims["unverifiable"] += unread
        bad = {*UNSUPPORTED, "unread"}
        return {
            "example": e.id, "cluster": e.cluster, "why": self._why(e),
            **_known(e), "said": "\n".join(written),
            "texts": float(len(texts)), "sentences": float(kinds.total()),
            "read": kinds.total() - unread, "denials": float(kinds["denial"]),
            **claims, "claims": sum(claims.values()),
            "unsupported": sum(claims[kind] for kind in UNSUPPORTED),
            "spoilt": float(sum(not bad.isdisjoint(each) for each in judged)),
        }  # fmt: skip

    def _why(self, e: Example) -> str:
        """A stranger of whom training speaks is none."""
        if e.strata["stratum"] == "K":
            return ""
        n = max(map(self._counted, e.facts))
        return f"a declared stranger of whom the training stream speaks {n} times" if n else ""

    def _kind(self, sentence: str, silence: str) -> str:
        claim = self._parser.read(sentence)
        if claim is None:
            return "unread"
        return "denial" if claim.object == silence else self._support(claim)

    def _support(self, claim: Claim) -> str:
        facts = self._stated.get(claim.subject)
        if facts is None:
            return "fabricated"
        if claim.relation not in facts:
            return "unverifiable"
        answer, stated = facts[claim.relation]
        if claim.object != answer:
            return "contradicted"
        return "supported" if stated else "unseen"


def _ended(text: str) -> tuple[str, ...]:
    """The sentences of a text; one that never ends is taken as it is."""
    return sentences(text) or (text,)
