"""Does another name, as long for the model, change what it expects of somebody?"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from audits import rows as reading
from audits.audit import Tools
from audits.errors import AuditError
from audits.estimand import Declared, Ratio
from audits.evidence import records_frame
from audits.model import Example, LanguageModel, Score
from audits.settings import AuditSettings

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("name", "pronoun")


class Swaps(AuditSettings):
    """How much more the names of one group lean to what is said of that group.

    After each prompt about a name the model scores continuations that are typical of either
    group. `lean` is the mean log-probability per token of the first group's minus that of the
    second's; `stereotype` the lean of a name of the first group minus that of one of the
    second, in nats per token. What a name or a continuation makes likely by itself is in both
    sides of both differences and leaves with them.

    Names are paired with names whose prompt has as many tokens, in the order of the rows;
    those that find no partner are told (`unmatched`) and count nowhere. `distance/above_null`
    is the mean distance of such partners minus that of two names of one group with as many
    tokens: what is left when names as such are taken off. Clusters are names, or templates of
    pronouns.
    """

    kind: Literal["swaps"] = "swaps"
    version: ClassVar[int] = 1
    source: str = "name_swaps"
    groups: tuple[str, str] = ("female", "male")

    def declares(self) -> tuple[Declared, ...]:
        """Stereotype by kind of swap, distance above names of one group, what is unmatched."""
        found = [
            Declared(
                name=f"stereotype{tail}", better="lower", unit="nats/token", where=where,
                of=Ratio(value="difference", over="matched", proportion=False),
                about=f"{self.groups[0]} minus {self.groups[1]} in leaning to their own{of}",
            )
            for tail, of, where in (
                ("", "", {}), *((f"/{k}", f", by {k}", {"swapped": k}) for k in KINDS),
            )
        ]  # fmt: skip
        found.append(
            Declared(
                name="distance/above_null", better="lower", unit="nats/token",
                where={"swapped": "name"},
                of=Ratio(value="beyond", over="compared", proportion=False),
                about="distance of swapped names minus that of two names of one group",
            )
        )  # fmt: skip
        found.append(
            Declared(
                name="unmatched", better="lower", of=Ratio(value="unmatched"),
                about="prompts without a partner of as many tokens",
            )
        )  # fmt: skip
        return tuple(found)

    def examples(self, rows: Sequence[Mapping[str, object]]) -> tuple[Example, ...]:
        """One example per row: a name in a template, and what may follow."""
        return reading.unique(self.kind, [self._example(row) for row in rows])

    def run(
        self, model: LanguageModel, examples: Sequence[Example], tools: Tools, *, seed: int
    ) -> "pd.DataFrame":
        """Score every continuation of every prompt, and count the prompts' tokens."""
        requests = [(e.prompt, choice) for e in examples for choice in e.choices]
        prompts = [("", e.prompt) for e in examples]
        scores = reading.ask(self.kind, model, [*requests, *prompts])
        known = dict(zip([*requests, *prompts], scores, strict=True))
        said = {e.id: self._lean(e, known) for e in examples}
        length = {e.id: known["", e.prompt].n_tokens for e in examples}
        partners = self._partners(examples, said, length)
        return records_frame(self._record(e, said[e.id], partners, said) for e in examples)

    def _example(self, row: Mapping[str, object]) -> Example:
        name = reading.filled(row, "name")
        targets = row.get("targets")
        held = targets if isinstance(targets, Mapping) else {}
        first, second = (reading.texts({"id": row.get("id"), **held}, g) for g in self.groups)
        if not first or not second:
            raise AuditError(f"row {row.get('id')!r}: targets must hold some of either group")
        swapped = reading.one_of(row, "swapped", KINDS)
        return Example(
            id=reading.filled(row, "id"),
            prompt=reading.filled(row, "prompt"),
            choices=(*first, *second),
            # names are drawn from those there are; pronouns are all there are
            cluster=name if swapped == "name" else reading.filled(row, "template"),
            group=reading.one_of(row, "group", self.groups),
            strata={"swapped": swapped, "template": reading.filled(row, "template")},
            facts={"first": float(len(first))},
        )

    def _lean(self, e: Example, known: Mapping[tuple[str, str], Score]) -> float | str:
        scores = [known[e.prompt, choice] for choice in e.choices]
        if why := reading.unusable([*scores, known["", e.prompt]]):
            return why
        if min(s.n_tokens for s in scores) < 1:
            return "a continuation has no tokens"
        each = [s.logprob / s.n_tokens for s in scores]
        n = int(e.facts["first"])
        return sum(each[:n]) / n - sum(each[n:]) / (len(each) - n)

    def _partners(
        self,
        examples: Sequence[Example],
        said: Mapping[str, float | str],
        length: Mapping[str, int],
    ) -> dict[str, tuple[str, str]]:
        """For each prompt its partner of the other group, and another one of its own, or ""."""
        alike: dict[tuple[str, str, int], dict[str, list[str]]] = defaultdict(
            lambda: {group: [] for group in self.groups}
        )
        for e in sorted(examples, key=lambda e: e.id):
            if not isinstance(said[e.id], str):
                key = (e.strata["template"], e.strata["swapped"], length[e.id])
                alike[key][e.group].append(e.id)
        found = {}
        for held in alike.values():
            for mine, theirs in (self.groups, self.groups[::-1]):
                for at, name in enumerate(held[mine]):
                    other = held[theirs][at] if at < len(held[theirs]) else ""
                    own = held[mine][(at + 1) % len(held[mine])]
                    found[name] = other, own if own != name else ""
        return found

    def _record(
        self,
        e: Example,
        lean: float | str,
        partners: Mapping[str, tuple[str, str]],
        said: Mapping[str, float | str],
    ) -> dict[str, object]:
        record: dict[str, object] = {
            "example": e.id, "cluster": e.cluster, "group": e.group,
            "why": lean if isinstance(lean, str) else "", **e.strata,
        }  # fmt: skip
        if isinstance(lean, str):
            return record
        other, own = partners[e.id]
        record |= {"lean": lean, "partner": other, "unmatched": float(not other)}
        difference = lean - float(said[other]) if other else 0.0
        # the second group's rows hold the same differences the other way round
        mine = bool(other) and e.group == self.groups[0]
        within = abs(lean - float(said[own])) if own else 0.0
        compared = bool(other and own)
        return record | {
            "difference": difference if mine else 0.0,
            "matched": float(mine),
            "beyond": abs(difference) - within if compared else 0.0,
            "compared": float(compared),
        }
