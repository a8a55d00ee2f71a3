import subprocess
import sys
from pathlib import Path

import pytest

from audits.errors import SpecError
from registry.policy import Policy, directions, lint, load_policy
from registry.rules import AtLeast, AtMost, NoWorse
from registry.testing import SIZE, disk, facts

ROOT = Path(__file__).parents[2]
FLOOR = {"kind": "at_least", "measure": "facts/recall", "bound": 0.9}


@pytest.fixture
def policy_file(tmp_path):
    def write(text):
        path = tmp_path / "policy.yaml"
        path.write_text(text, "utf-8")
        return path

    return write


def test_every_shipped_policy_can_be_read_and_gives_its_reasons():
    found = sorted((ROOT / "infra/policies").glob("*.yaml"))
    assert found
    for path in found:
        assert all(rule.because for rule in load_policy(path).rules), path


RULE = "rules: [{kind: at_least, measure: a/b, bound: 0.9}]"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: p\nrules: []", "the policy has no rules and would promote nothing; add a rule"),
        ("name: p", "rules: this key is missing; add it"),
        ("", "holds nothing where keys and values belong"),
        ("name: p\nname: q\n" + RULE, "line 2: the key 'name' is given twice"),
        ("name: p\nruls: 1\n" + RULE, "ruls: unknown key (did you mean 'rules'?)"),
        (
            "name: p\nrules: [{kind: atleast, measure: a/b, bound: 1}]",
            "rules[0]: 'atleast' is not known (did you mean 'at_least'?); one of at_least, ",
        ),
        ("name: p\nrules: [{measure: a/b}]", "rules[0]: kind is missing; one of at_least, "),
        (
            'name: p\nrules: [{kind: at_least, measure: a/b, bound: "0.9"}]',
            "rules[0].bound: '0.9' is refused; input should be a valid number",
        ),
        (
            "name: p\nrules: [{kind: at_least, measure: a/b, bound: .nan}]",
            "rules[0].bound: nan is refused",
        ),
        (
            "name: p\nrules: [{kind: present, measure: a/b}]",
            "no hard at_least, at_most or within rule",
        ),
        (
            "name: p\nrules: [{kind: at_least, measure: a/b, bound: 1, hard: false}]",
            "no hard at_least, at_most or within rule",
        ),
        ("name: p\n" + RULE[:-1] + RULE[7:].replace("[", ", "), "is given twice; remove one"),
        ("name: p\nrules: [{kind: at_least, measure: ab, bound: 1}]", "rules[0].measure"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_place(policy_file, text, says):
    path = policy_file(text)
    with pytest.raises(SpecError) as refused:
        load_policy(path)
    assert says in str(refused.value)
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)


def test_two_mistakes_are_two_sentences(policy_file):
    with pytest.raises(SpecError) as refused:
        load_policy(policy_file("nme: p\n" + RULE))
    assert len(str(refused.value).splitlines()) == 2


def test_equal_policies_have_one_digest_and_another_bound_another():
    one, two = (
        Policy(name="p", rules=(AtLeast(**FLOOR),)),
        Policy(name="p", rules=(AtLeast(**FLOOR),)),
    )
    assert one.identity == two.identity
    other = Policy(name="p", rules=(AtLeast(**{**FLOOR, "bound": 0.8}),))
    assert other.identity != one.identity


def test_lint_names_what_nobody_measures_and_the_nearest_there_is():
    declared = directions([("facts", facts([1]).declared), ("profile", disk(1).declared)])
    assert declared == {
        "facts/recall": "higher", "facts/wrong": "lower", "profile/size_bytes": "lower",
    }  # fmt: skip
    policy = Policy(
        name="p",
        rules=(
            AtLeast(measure="facts/recal", bound=0.9),
            AtMost(measure="facts/recall", bound=0.9),
            NoWorse(measure="facts/wrong", than="parent", margin=0.1),
        ),
    )
    problems = lint(policy, declared)
    assert len(problems) == 2
    assert (
        "rules[0]: no stage of this run measures 'facts/recal'; nearest: facts/recall"
        in (problems[0])
    )
    assert (
        "at_most contradicts facts/recall, which is better higher; use at_least" in problems[1]
    )
    assert lint(policy, {}) != []
    assert SIZE.name in policy.prefer.measure


def test_reading_a_policy_loads_nothing_heavy():
    code = (
        "import pathlib, sys\n"
        "from registry.policy import load_policy\n"
        "import registry.gate\n"
        "load_policy(pathlib.Path('infra/policies/default.yaml'))\n"
        "heavy = {'torch', 'mlflow', 'prefect', 'scipy', 'statsmodels', 'pandas', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert out.stdout.strip() == "[]"
