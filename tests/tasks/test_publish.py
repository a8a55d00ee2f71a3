"""What is said of a candidate when it is published."""

import json

import pytest

from tasks.artifact import Artifact, fingerprint
from tasks.job import Job
from tasks.models.folder import weights_digest
from tasks.publish import PublishSettings, _evidence


@pytest.fixture
def said(tmp_path):
    """Evidence about a candidate with these weights, compressed from a base with `whole`."""

    def model(name, weights, **files):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(weights)
        for file, text in files.items():
            (folder / f"{file}.json").write_text(text, "utf-8")
        return Artifact(kind="model", path=str(folder), digest=fingerprint(folder))

    def gathered(weights):
        base = model("base", b"whole")
        made = model("made", weights, config="{}", compression=json.dumps({"method": {}}))
        (base.folder / "config.json").write_text("{}", "utf-8")
        data = Artifact(kind="dataset", path=str(tmp_path), digest="d" * 64)
        settings = PublishSettings(
            tracking_uri="", store="", registered="toy", title="int8", policy="",
            spec=json.dumps({"model": {}, "variants": [{"name": "int8", "steps": []}]}),
        )  # fmt: skip
        inputs = {"model": made, "base": base, "dataset": data}
        job = Job(tmp_path, tmp_path, inputs, lambda *_: None)
        return _evidence(settings, job), weights_digest(base.folder)

    return gathered


def test_a_candidate_names_the_weights_it_was_made_from(said):
    evidence, base = said(b"smaller")
    assert evidence.about["parent"] == base != evidence.subject


def test_a_step_that_changes_no_weight_makes_nobody_its_own_parent(said):
    evidence, base = said(b"whole")
    assert evidence.subject == base
    assert "parent" not in evidence.about
