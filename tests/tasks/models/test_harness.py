"""lm-eval's own HFLM is the independent source of every number here."""

import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from audits.errors import AuditError, SpecError
from tasks.models.harness import HarnessModel
from tasks.models.load import load

PAIRS = [
    ("Once upon a time", " there was a girl"),
    ("Once upon a time", " there were two"),
    ("Once upon a time ", "there was a girl"),
    ("The baker of Ulvara lives in the", " old town"),
    ("The baker of Ulvara lives in the", " park"),
    ("", "She was the doctor of Mirebo."),
    ("", "Numbers: 0 1 2"),
    ("Once up", "on a time"),
    ("<bos>The doctor", " of Mirebo"),
    ("", "<bos>Who should Derek hug"),
    ("a café, naïve «quotes». " * 14, "The baker sells bread"),
]
TEXTS = ["Once upon a time there was.", "The baker of Ulvara — « » lives. " * 30, "She"]
CASES = [("llama", False), ("llama", True), ("gpt2", False), ("gpt2", True)]


def instances(kind, arguments):
    return [
        Instance(request_type=kind, doc={}, arguments=a, idx=i, metadata=("t", i, 1))
        for i, a in enumerate(arguments)
    ]


@pytest.fixture(params=CASES, ids=lambda c: f"{c[0]}-{'bos' if c[1] else 'plain'}")
def both(request, model):
    ours = model(request.param[0], add_bos=request.param[1])
    theirs = HFLM(pretrained=ours.hf, tokenizer=ours.tokenizer, batch_size=3)
    return HarnessModel(ours), theirs


def test_loglikelihoods_and_greedy_flags_are_those_of_lm_eval(both):
    ours, theirs = both
    got = ours.loglikelihood(instances("loglikelihood", PAIRS))
    want = theirs.loglikelihood(instances("loglikelihood", PAIRS), disable_tqdm=True)
    for pair, (lp, greedy), (ref, ref_greedy) in zip(PAIRS, got, want, strict=True):
        assert lp == pytest.approx(ref, abs=1e-3), pair
        assert greedy == ref_greedy


def test_greedy_flags_are_true_where_the_model_itself_would_say_it(both):
    ours, theirs = both
    said = ours.model.generate(["The doctor of"], max_new_tokens=1, seed=0)[0][0]
    request = instances("loglikelihood", [("The doctor of", said)])
    assert (
        ours.loglikelihood(request)[0][1]
        == theirs.loglikelihood(request, disable_tqdm=True)[0][1]
    )


def test_rolling_loglikelihoods_are_those_of_lm_eval(both):
    ours, theirs = both
    asked = [(text,) for text in TEXTS]
    got = ours.loglikelihood_rolling(instances("loglikelihood_rolling", asked))
    want = theirs.loglikelihood_rolling(
        instances("loglikelihood_rolling", asked), disable_tqdm=True
    )
    assert got == pytest.approx(want, abs=1e-3)


def test_greedy_generation_is_that_of_lm_eval(both):
    ours, theirs = both
    asked = [
        (p, {"until": ["e"], "max_gen_toks": 12})
        for p in ("Once upon", "The", "She was the doctor")
    ]
    assert ours.generate_until(instances("generate_until", asked)) == theirs.generate_until(
        instances("generate_until", asked), disable_tqdm=True
    )


def test_documents_cut_on_the_left_are_listed(model):
    ours = HarnessModel(model())
    long = "The baker sells bread. " * 60
    asked = [("Once", " upon"), (long, " bread"), (long, " bread and bread")]
    requests = instances("loglikelihood", asked)
    requests[2].doc_id = 1  # another choice of the question before
    ours.loglikelihood(requests)
    most = ours.model.score(asked[2:])[0].truncated
    assert ours.truncated == {("t", 0): 0, ("t", 1): most}
    how = {"until": [], "max_gen_toks": 30}
    ours.generate_until(instances("generate_until", [("The", how), (long[:240], how)])[1:])
    [lost] = ours.model.truncated([long[:240]], max_new_tokens=30)
    assert ours.truncated[("t", 1)] == max(most, lost)
    ours.loglikelihood_rolling(instances("loglikelihood_rolling", [("",), (long,)])[1:])
    assert len(ours.truncated) == 2


def test_a_way_of_decoding_we_do_not_have_is_refused(model):
    asked = instances("generate_until", [("The", {"until": ["."], "num_beams": 4})])
    with pytest.raises(SpecError, match="num_beams"):
        HarnessModel(model()).generate_until(asked)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"max_gen_toks": 0}, "task t: generate: max_new_tokens is 0"),
        ({"until": ["."], "do_sample": True, "temperature": -1.0}, "task t: .*is -1.0"),
        ({"until": [""]}, "task t: generate: stop is"),
    ],
)
def test_a_task_that_asks_for_what_makes_no_sense_is_named(model, how, says):
    asked = instances("generate_until", [("The", {"until": ["."]} | how)])
    with pytest.raises(SpecError, match=says):
        HarnessModel(model()).generate_until(asked)


def test_a_setting_of_sampling_changes_nothing_where_decoding_is_greedy(model):
    ours = HarnessModel(model())
    plain = {"until": ["."], "max_gen_toks": 5}
    said = plain | {"do_sample": False, "temperature": 0.7, "top_p": 0.9, "top_k": 4}
    both = [
        ours.generate_until(instances("generate_until", [("The", how)]))
        for how in (plain, said)
    ]
    assert both[0] == both[1]
    asked = instances("generate_until", [("The", said | {"do_sample": True})])
    with pytest.raises(SpecError, match=r"\['top_k', 'top_p'\] are not supported"):
        ours.generate_until(asked)


def test_temperature_length_and_repeats_of_a_task_are_honoured(model):
    how = {"until": [], "max_gen_toks": 6, "do_sample": True, "temperature": 1.0}
    asked = instances("generate_until", [("The baker", how)] * 3)
    said = HarnessModel(model(), seed=1).generate_until(asked)
    assert len(set(said)) > 1  # each repeat has luck of its own
    assert said == HarnessModel(model(), seed=1).generate_until(asked)
    assert said != HarnessModel(model(), seed=2).generate_until(asked)
    short = [("The baker", how | {"max_gen_toks": 2})] * 3
    cut = HarnessModel(model(), seed=1).generate_until(instances("generate_until", short))
    assert all(len(c) < len(s) for c, s in zip(cut, said, strict=True))


def test_a_model_that_cannot_score_texts_is_a_named_error():
    from audits.testing import FakeModel

    with pytest.raises(AuditError, match="task t: this model cannot score whole texts"):
        HarnessModel(FakeModel()).loglikelihood_rolling(
            instances("loglikelihood_rolling", [("The",)])
        )


def test_a_template_without_a_turn_of_the_system_gets_the_rest(folder):
    model = load(folder("llama"), device="cpu")
    model.tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'system' %}"
        "{{ raise_exception('no') }}{% endif %}"
        "<{{ m.role }}>{{ m.content }}{% endfor %}"
    )
    turns = [{"role": "system", "content": "Go"}, {"role": "user", "content": "Who?"}]
    theirs = HFLM(pretrained=model.hf, tokenizer=model.tokenizer)
    ours = HarnessModel(model)
    assert ours.apply_chat_template(turns) == theirs.apply_chat_template(turns) == "<user>Who?"
    model.tokenizer.chat_template = "{{ raise_exception('never') }}"
    with pytest.raises(SpecError, match=r"refuses the conversation \(never\)"):
        ours.apply_chat_template(turns)
