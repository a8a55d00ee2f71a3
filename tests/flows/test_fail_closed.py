"""Whatever happens to the output of a stage, a version that rests on it is refused."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from audits.evidence import Evidence
from registry.finding import Case
from registry.gate import decide
from registry.mlflow_store import open_store
from registry.policy import Policy
from registry.rules import AtLeast, AtMost, NoWorse

# For every part that the tiny run makes, a rule that its int8 candidate meets.
RULES = {
    "evaluate": NoWorse(
        measure="evaluate/bits_per_byte/heldout", than="parent", margin=1.0, min_n=5
    ),
    "facts": AtMost(measure="facts/residual", bound=1.0, min_n=5, min_clusters=5),
    "association": AtMost(measure="association/deviation", bound=0.9, min_n=5, min_clusters=5),
    "profile": AtMost(measure="profile/size_bytes", bound=1e9),
    "storage": AtMost(measure="storage/bits_per_weight", bound=33),
}
PROVEN = AtLeast(measure="evaluate/acc/world_choice", bound=0.0, min_n=5, min_clusters=5)
POLICY = Policy(name="every_part", rules=(PROVEN, *RULES.values()))


def spoil(value):
    """Put something else into every number that the part's rule rests on."""

    def change(part, declared):
        column = declared.of.value
        records = part.records.astype({column: object})
        records.loc[records[column].notna(), column] = value
        return replace(part, records=records)

    return change


def reverse(part, declared):
    better = {"higher": "lower", "lower": "higher"}[declared.better]
    turned = declared.model_copy(update={"better": better})
    return replace(part, declared=tuple(turned if d is declared else d for d in part.declared))


HARMS = {
    "dropped": lambda part, _: None,
    "emptied": lambda part, _: replace(part, records=part.records.iloc[:0]),
    "truncated": lambda part, _: replace(
        part, records=part.records.iloc[: len(part.records) // 2]
    ),
    "not a number": spoil(np.nan),
    "infinite": spoil(np.inf),
    "text": spoil("much"),
    "reversed": reverse,
    "doubled": lambda part, _: replace(
        part, records=pd.concat([part.records, part.records], ignore_index=True)
    ),
    "renamed examples": lambda part, _: replace(
        part, records=part.records.assign(example=part.records["example"] + "x")
    ),
    "nothing expected": lambda part, _: replace(part, expected=()),
}


@pytest.fixture(scope="module")
def case(first):
    store = open_store(f"sqlite:///{first.cli.home / 'mlflow.db'}", first.cli.home)
    known = {
        name: store.evidence("tiny", first.said.candidate(name)["version"])
        for name in ("base", "int8")
    }
    return Case(known["int8"], known["base"])


def test_the_table_has_a_row_for_every_part_of_the_run(case):
    assert set(RULES) == set(case.candidate.parts)


def test_unharmed_evidence_passes(case):
    decision = decide(POLICY, case)
    assert decision.promote, decision.sentence


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("name", RULES)
def test_harmed_evidence_is_refused_with_a_reason(case, name, harm):
    part, declared = case.candidate.find(RULES[name].measure)
    harmed = HARMS[harm](part, declared)
    rest = [p for n, p in case.candidate.parts.items() if n != name]
    evidence = Evidence.gather(
        case.candidate.subject, [*rest, *([harmed] if harmed else [])], case.candidate.about
    )
    decision = decide(POLICY, Case(evidence, case.parent))
    assert not decision.promote
    (finding,) = [f for f in decision.refusals if f.rule == RULES[name].id]
    assert len(finding.because) > 20
