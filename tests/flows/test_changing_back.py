"""A run is judged on its own measurements, and on nothing that was altered."""

import shutil

import pytest

NAME = "back"
LIMIT = "evaluate.text_limit=20"


@pytest.fixture(scope="module")
def named(again, tiny):
    """Runs the tiny file under a name of its own."""

    def run(*changes, **rest):
        changes = [f"registered_model={NAME}", "audits=[]", *changes]
        return again("run", tiny, "--json", *(w for c in changes for w in ("--set", c)), **rest)

    return run


def because(said):
    (finding,) = [f for f in said.candidate("int8")["findings"] if f["rule"].endswith("<= 20")]
    return finding["because"]


def test_settings_changed_and_changed_back_are_judged_as_they_are(named):
    first, other, back = named(), named(LIMIT), named()
    # 20 examples are too few for any verdict.
    assert [s.code for s in (first, other, back)] == [0, 1, 0], back.err
    assert because(other) == "20 valid examples where 30 are required"
    assert because(back) == because(first)
    assert all(s.startswith("publish") for s in back.executed())
    assert named().executed() == []


def test_the_seed_of_the_run_reaches_whatever_gives_none(tmp_path, tiny):
    from flows.spec import load_spec

    spec = load_spec(tiny, ["seed=7", "profile.seed=3"])
    assert (spec.data.seed, spec.model.seed, spec.evaluate.seed, spec.profile.seed) == (
        7, 7, 7, 3,
    )  # fmt: skip


def test_a_sealed_artifact_that_was_altered_is_named_and_used_by_nobody(copied, tiny):
    (first, *_) = sorted((copied.artifacts / "sealed/compress").glob("*/content/*.safetensors"))
    raw = bytearray(first.read_bytes())
    raw[-100:] = bytes(100)
    first.write_bytes(raw)
    said = copied("run", tiny, "--json")
    assert (said.code, said.out) == (4, "")
    (line,) = [s for s in said.err.splitlines() if s.startswith("assay: ")]
    assert "differs from its sealed digest; remove" in line
    assert str(first.parents[1]) in line
    assert copied.sealed("publish") == []
    shutil.rmtree(first.parents[1])
    assert copied("run", tiny, "--json").code == 0
