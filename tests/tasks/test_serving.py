import asyncio
import shutil

import httpx
import pandas as pd
import pytest

from audits.errors import SpecError
from audits.testing import FakeModel
from registry.store import Publication
from registry.testing import evidence, facts
from tasks.serving import TextModel


class Echo(FakeModel):
    """A model that says what it was asked for."""

    def generate(self, prompts, *, max_new_tokens, seed, temperature=0.0, n=1, stop=()):
        return [[f"{p}|{max_new_tokens}|{temperature:g}|{seed}"] * n for p in prompts]


def test_prompts_are_continued_in_order_with_the_parameters_of_the_request():
    model = TextModel(Echo())
    asked = pd.DataFrame({"prompt": ["b", "a"]})
    assert model.predict(asked) == ["b|64|0|0", "a|64|0|0"]
    chosen = {"max_new_tokens": 3, "temperature": 0.5, "seed": 7}
    assert model.predict(asked, chosen) == ["b|3|0.5|7", "a|3|0.5|7"]


@pytest.mark.parametrize(
    ("columns", "params", "says"),
    [
        ("text", {}, "one column named 'prompt'"),
        ("prompt", {"max_new_tokens": 0}, "1 to 4096"),
        ("prompt", {"max_new_tokens": 10**9}, "1 to 4096"),
        ("prompt", {"temperature": -1.0}, "0 to 10"),
        ("prompt", {"temperature": float("nan")}, "0 to 10"),
        ("prompt", {"seed": -1}, "0 or more"),
        ("prompt", {"seed": "one"}, "a parameter is no number"),
        ("prompt", {"top_p": 0.9}, r"\['top_p'\] are not known; there are \['max_new_tokens"),
    ],
)
def test_a_request_out_of_range_is_refused(columns, params, says):
    with pytest.raises(SpecError, match=says):
        TextModel(Echo()).predict(pd.DataFrame({columns: ["x"]}), params)


@pytest.mark.parametrize("prompt", [None, 3, float("nan")])
def test_a_prompt_that_is_no_text_is_refused_and_not_spelt_out(prompt):
    with pytest.raises(SpecError, match=r"prompt 1 is .*; send text"):
        TextModel(Echo()).predict(pd.DataFrame({"prompt": ["x", prompt]}, dtype=object))


def test_a_registered_version_is_loaded_and_answers(tmp_path, stories260k):
    import mlflow
    from mlflow.pyfunc import scoring_server

    from registry.mlflow_store import open_store

    uri = f"sqlite:///{tmp_path}/assay.db"
    store = open_store(uri)
    folder = tmp_path / "weights"
    shutil.copytree(stories260k, folder)
    parent = store.begin("tests", "one")
    version = store.publish(
        Publication(
            name="stories", title="base", folder=folder, loader="tasks.serving",
            evidence=evidence("w1", facts([1] * 50)), requirements=("torch==2.13.0",),
        ),
        parent=parent,
    )  # fmt: skip
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        loaded = mlflow.pyfunc.load_model(version.uri)
    finally:
        mlflow.set_tracking_uri(before)
    asked = pd.DataFrame({"prompt": ["Once upon a time", "The dog"]})
    told = loaded.predict(asked, params={"max_new_tokens": 8})
    assert len(told) == 2
    assert told[0].startswith(", there was a little girl")
    # what a client reads, from the application that `mlflow models serve` runs
    served = httpx.ASGITransport(scoring_server.init(loaded))

    async def post(body):
        async with httpx.AsyncClient(transport=served, base_url="http://here") as client:
            return await client.post("/invocations", json=body)

    for params, says in (
        ({"temperature": -1}, "temperature is -1.0; ask for 0 to 10"),
        ({"max_new_tokens": -3}, "max_new_tokens is -3; ask for 1 to 4096"),
        ({"max_new_tokens": 512}, "cannot generate 512 tokens with a model of 512 positions"),
    ):
        body = {"inputs": {"prompt": ["The dog"]}, "params": params}
        answer = asyncio.run(post(body))
        assert answer.status_code == 400
        assert says in answer.json()["message"]
        assert "Traceback" not in answer.text
