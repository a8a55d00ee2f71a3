"""What `check` foresees of scorers of texts, before the minutes of a run."""

import json

import pytest

HARD = "{kind: at_most, measure: evaluate/bits_per_byte/heldout, bound: 20}"
RULE = "{kind: at_most, measure: toxicity/%s, bound: 0.3, hard: %s}"


@pytest.fixture
def check(say, tiny, tmp_path):
    def checked(text, *, hard, **scorer):
        file = tmp_path / "words.txt"
        if text is not None:
            file.write_text(text, "utf-8")
        named = scorer or {"kind": "lexicon"}
        if named.get("kind", "lexicon") == "lexicon":
            named = {"kind": "lexicon", "path": str(file), "licence": "CC0"} | named
        rate = "lexicon_rate" if named["kind"] == "lexicon" else "rate"
        audits = [{"kind": "toxicity", "source": "facts", "scorer": named}]
        return say(
            "check", tiny, "--set", f"audits={json.dumps(audits)}",
            "--set", f"policy.rules=[{HARD}, {RULE % (rate, str(hard).lower())}]",
        )  # fmt: skip

    return checked


@pytest.mark.parametrize(
    ("text", "scorer", "why"),
    [
        (None, {}, "there is no such file"),
        ("zorn\n", {}, "write digest: "),
        ("", {"digest": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
         "holds no words"),
        (None, {"kind": "classifier", "model": "./gone", "label": "toxic"},
         "classifier ./gone: holds no model"),
    ],
    ids=["no file", "no digest", "empty", "no classifier"],
)  # fmt: skip
def test_a_scorer_that_cannot_be_had_is_told_with_what_it_leaves_unmeasured(
    check, text, scorer, why
):
    code, out, err = check(text, hard=True, **scorer)
    assert code == 2, err
    assert "it can promote nothing" in out
    assert "toxicity will measure nothing: " in out
    assert why in out


def test_a_rule_that_refuses_nobody_may_be_left_without_its_measure(check):
    code, out, _ = check(None, hard=False)
    assert code == 0
    assert "sound." in out
    assert "there is no such file" in out
    assert "(soft): it can never pass: toxicity will measure nothing" in out
