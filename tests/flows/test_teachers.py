"""Variants that learn from models: wired as inputs, made in order, refused before compute."""

import json

import pytest

from audits.errors import SpecError
from flows.chains import compress_call
from flows.home import find_home
from flows.plan import make
from flows.spec import load_spec
from tasks.artifact import Artifact
from tasks.compress import Distill
from tasks.compress.teacher import Teacher
from tasks.models.folder import weights_digest
from tasks.models.testing import tiny_llama, tiny_tokenizer

PLAIN = [
    "evaluate={texts: [heldout]}",
    "audits=[]",
    "profile={enabled: false}",
    "policy={name: p, prefer: {measure: evaluate/bits_per_byte/heldout, better: lower}, rules: "
    "[{kind: at_most, measure: evaluate/bits_per_byte/heldout, bound: 9}]}",
]
DISTIL = "kind: distill, steps: 2, sequence_length: 32"
CHAINS = (
    "variants=["
    f"{{name: both, steps: [{{{DISTIL}, teachers: [base, {{model: narrow, weight: 2}}]}}]}}, "
    f"{{name: narrow, steps: [{{kind: width, feed_forward: 32, sequence_length: 32}}, "
    f"{{{DISTIL}}}]}}]"
)


def changed(*changes):
    return [*PLAIN, *changes]


@pytest.fixture
def home(tmp_path):
    return find_home({"ASSAY_HOME": str(tmp_path)})


@pytest.fixture
def plan(tiny, home):
    """What a run file asks for, in order; nothing is made."""

    def of(*changes):
        calls = []

        def keep(wanted):
            calls.append(wanted)
            return Artifact(kind="model", path="/a", digest=wanted.key, stage=wanted.stage)

        spec = load_spec(tiny, changed("evaluate={}", *changes))
        made = make(spec, home, keep)
        return [c for c in calls if c.stage == "compress"], made

    return of


def test_a_chain_learns_from_what_it_began_with_unless_others_are_named(plan):
    calls, made = plan(CHAINS)
    assert [c.label for c in calls] == ["narrow step 1", "narrow step 2", "both"]
    width, distil, both = calls
    assert "teacher.0" not in width.inputs
    assert distil.inputs["teacher.0"] == made.base
    assert (distil.inputs["model"].digest, both.inputs["model"]) == (width.key, made.base)
    assert [both.inputs[f"teacher.{at}"].digest for at in (0, 1)] == [
        made.base.digest, distil.key,
    ]  # fmt: skip
    assert [c.name for c in made.candidates] == ["base", "both", "narrow"]


def test_a_teacher_is_known_by_content_alone(home):
    def key(named, path, digest):
        method = Distill(steps=1, teachers=(Teacher(model=named, weight=2),))
        made = Artifact(kind="model", path=path, digest=digest)
        call = compress_call(method, {"model": made}, [made], home, "")
        assert named not in call.settings
        return call.key

    assert key("./here", "/here", "1") == key("./there", "/there", "1")
    assert key("./here", "/here", "1") != key("./here", "/here", "2")


@pytest.mark.parametrize(
    ("teachers", "words"),
    [
        ("[gone]", "learns from 'gone', which is none of base, a, b; a model elsewhere is"),
        ("[a]", r"they learn in a circle \(a from a\); let one learn from base"),
        ("[b]", r"in a circle \((a from b from a|b from a from b)\)"),
        ("[{model: base, weight: 0}]", "greater than 0"),
    ],
)
def test_teachers_that_cannot_be_are_said_when_the_file_is_read(tiny, teachers, words):
    steps = (
        f"variants=[{{name: a, steps: [{{{DISTIL}, teachers: {teachers}}}]}}, "
        f"{{name: b, steps: [{{{DISTIL}, teachers: [a]}}]}}]"
    )
    with pytest.raises(SpecError, match=words):
        load_spec(tiny, [steps])


def test_a_teacher_elsewhere_is_looked_at_before_any_compute(say, tiny, tmp_path):
    own = tiny_llama(tmp_path / "own")
    other = tiny_llama(tmp_path / "other", vocab=290, tokenizer=tiny_tokenizer(290))

    def check(teacher, *more):
        model = f"model={{kind: checkpoint, path: '{own}'}}"
        steps = f"variants=[{{name: v, steps: [{{{DISTIL}, {teacher}}}]}}]"
        words = [w for c in changed(model, steps, *more) for w in ("--set", c)]
        return say("check", tiny, "--rehearse", *words)

    code, out, err = check(f"teachers: ['{tmp_path / 'nothing'}']")
    assert (code, out) == (2, "")
    assert "there is no such folder" in err
    code, _, err = check(f"teachers: ['{other}']")
    assert code == 2
    assert "300 tokens and 290 tokens, which are not the same" in err
    short = "generation: {prompt_tokens: 4, new_tokens: 8}"
    code, out, err = check(f"teachers: ['{other}'], text: teacher, alpha: 0, {short}")
    assert code == 0, err


def test_one_step_takes_its_teachers_from_folders(say, tmp_path):
    own = tiny_llama(tmp_path / "own")
    (tmp_path / "data").mkdir()
    rows = [{"id": str(at), "text": "Once upon a time there was a park. " * 3} for at in "abcd"]
    (tmp_path / "data/calibration.jsonl").write_text("\n".join(map(json.dumps, rows)))
    entry = {"file": "calibration.jsonl", "format": "jsonl", "rows": 4}
    manifest = {"kind": "sets", "sets": {"calibration": entry}}
    (tmp_path / "data/manifest.json").write_text(json.dumps(manifest))

    def distil(out, **more):
        method = {"kind": "distill", "steps": 1, "sequence_length": 32, **more}
        return say("compress", own, "--method", json.dumps(method), "--data",
                   tmp_path / "data", "--out", tmp_path / out)  # fmt: skip

    code, _, err = distil("a")
    assert code == 2
    assert 'distill names no teacher; give one, like "teachers": ["path/of/a/model"]' in err
    other = tiny_llama(tmp_path / "other", seed=1)
    code, _, err = distil("b", teachers=[str(own), str(other)])
    assert code == 0, err
    text = (tmp_path / "b/compression.json").read_text("utf-8")
    digests = [weights_digest(folder) for folder in (own, other)]
    assert json.loads(text)["remarks"]["teachers"] == digests
    assert [t["model"] for t in json.loads(text)["method"]["teachers"]] == digests
    assert str(tmp_path) not in text


def test_a_run_recovers_a_narrow_model_and_lets_two_teach(again, tiny):
    words = [w for c in changed(CHAINS, "registered_model=taught") for w in ("--set", c)]
    said = again("run", tiny, "--json", *words)
    assert said.code == 0, said.err
    assert [c["name"] for c in said.document["candidates"]] == ["base", "both", "narrow"]
    assert [n for n in said.executed() if n.startswith("compress")] == [
        "compress narrow step 1", "compress narrow step 2", "compress both",
    ]  # fmt: skip
    made = [
        home for home in again.artifacts.glob("sealed/compress/*") if len(taught(home)) == 2
    ]
    assert len(made) == 1
    base, narrow = taught(made[0])
    parents = json.loads((made[0] / "artifact.json").read_text("utf-8"))["parents"]
    folders = [
        folder.parent
        for folder in again.artifacts.glob("sealed/*/*/content")
        if (folder / "config.json").is_file() and weights_digest(folder) in (base, narrow)
    ]
    digests = [json.loads((f / "artifact.json").read_text("utf-8"))["digest"] for f in folders]
    assert len(digests) == 2
    assert set(digests) < set(parents)


def taught(home):
    """Digests of the teachers of a sealed step."""
    report = json.loads((home / "content/compression.json").read_text("utf-8"))
    return report["remarks"].get("teachers", [])
