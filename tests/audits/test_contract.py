"""Every audit keeps the contract; a new one is covered by joining the catalog."""

import hashlib
import math
import subprocess
import sys
from typing import get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from audits.audit import Tools
from audits.catalog import AnyAudit
from audits.errors import AuditError, MeasureError
from audits.plugin import Plugin
from audits.testing import FakeModel, check_audit

BUILT_IN = [cls for cls in get_args(get_args(AnyAudit)[0]) if cls is not Plugin]
SPEC = TypeAdapter(AnyAudit)


def opinion(context, text):
    """Some fixed, varied log-probability of every string; below any five answers' share."""
    digest = hashlib.sha256(f"{context}|{text}".encode()).digest()
    return -2.0 - digest[0] / 64 - 0.1 * len(text)


def in_words(prompt):
    """The end of a question's sentence, or a whole one after an entity's name."""
    asked = "" if prompt.endswith("lives in") else " lives in"
    return f"{asked} {('Ara', 'unknown')[len(prompt) % 2]}."


@pytest.fixture(params=BUILT_IN, ids=lambda cls: cls.__name__)
def audit(request):
    return request.param()


def test_there_are_audits_to_check():
    assert len(BUILT_IN) >= 5


def test_keeps_the_contract(audit, rows_of):
    model = FakeModel(opinion, in_words)
    part = check_audit(audit, model, rows_of(audit.source))
    for measure in part.measures()[0]:
        assert measure.low < measure.high, f"{measure.name} claims to be certain"


def test_what_a_plan_counts_is_what_the_records_hold(audit, rows_of):
    examples = audit.examples(rows_of(audit.source))
    planned = {e.id: known for e, known in zip(examples, audit.strata(examples), strict=True)}
    records = audit.run(FakeModel(opinion), examples, Tools(), seed=0)
    asked = {column for declared in audit.declares() for column in declared.where}
    asked -= {"length_bin"}  # only an answer has a length
    assert asked <= set.union(*map(set, planned.values()))
    for row in records.to_dict("records"):
        assert {c: row[c] for c in asked} == {c: planned[row["example"]][c] for c in asked}


def test_an_empty_set_is_an_error(audit):
    with pytest.raises(AuditError, match="no examples"):
        audit.examples([])
    with pytest.raises(AuditError, match="no examples"):
        audit.run(FakeModel(), [], Tools(), seed=0)


def test_a_row_without_its_fields_is_named(audit):
    with pytest.raises(AuditError, match=r"must be|number"):
        audit.examples([{"id": "lonely"}])


def test_an_example_that_stands_twice_is_refused(audit, rows_of):
    rows = rows_of(audit.source)
    with pytest.raises(AuditError, match="stands twice"):
        audit.examples([*rows, rows[0]])


def test_a_model_that_answers_nan_measures_nothing(audit, rows_of):
    examples = audit.examples(rows_of(audit.source))
    if getattr(audit, "threshold", 0) is None:
        audit = audit.model_copy(update={"threshold": 0.5})
    asked = []
    model = FakeModel(lambda context, _: asked.append(context) or math.nan)
    frame = audit.run(model, examples, Tools(), seed=0)
    if not asked:
        pytest.skip("it only reads what the model writes")
    assert (frame["why"] != "").all()
    for declared in audit.declares():
        with pytest.raises(MeasureError):
            declared.estimate(frame, level=0.95)


def test_two_names_of_one_audit_are_one_question(audit):
    named = audit.model_copy(update={"name": "other"})
    assert (audit.title, named.title) == (audit.kind, "other")
    assert audit.identity == named.identity


def test_a_typo_in_a_run_file_is_answered_with_the_known_kinds():
    with pytest.raises(ValidationError, match="closed_world"):
        SPEC.validate_json('{"kind": "closd_world"}')
    with pytest.raises(ValidationError, match="treshold"):
        SPEC.validate_json('{"kind": "closed_world", "treshold": 0.5}')
    with pytest.raises(ValidationError, match="name"):
        SPEC.validate_json('{"kind": "closed_world", "name": "a/b"}')


def test_reading_a_run_file_loads_nothing_heavy():
    heavy = ["torch", "transformers", "mlflow", "prefect", "scipy.stats", "statsmodels"]
    heavy += ["pandas", "sklearn", "fairlearn"]
    code = (
        "import sys; from pydantic import TypeAdapter; from audits.catalog import AnyAudit;"
        'a = TypeAdapter(AnyAudit).validate_json(\'{"kind": "closed_world"}\'); a.declares();'
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_what_length_or_chance_alone_answers_is_no_gate_and_says_why():
    kinds = {cls().kind: cls().declares() for cls in BUILT_IN}
    whole = {k for k, declared in kinds.items() if all(d.diagnostic for d in declared)}
    assert whole == {"crows_pairs", "halueval", "stereoset"}
    some = {f"{k}/{d.name}" for k in kinds.keys() - whole for d in kinds[k] if d.diagnostic}
    assert some == {
        "counterfactual/wasserstein/female_male", "winobias/difference/signed",
        "winobias/preference", "winobias/preference/type1", "winobias/preference/type2",
        "winogender/picked",
    }  # fmt: skip
