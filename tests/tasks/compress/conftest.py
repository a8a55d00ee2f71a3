import json

import pytest

from tasks.artifact import Artifact
from tasks.job import Job
from tasks.models.testing import CORPUS, tiny_llama


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def dataset_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    documents = [{"id": str(i), "text": text} for i, text in enumerate(CORPUS * 4)]
    (folder / "calibration.jsonl").write_text("\n".join(map(json.dumps, documents)), "utf-8")
    entry = {"file": "calibration.jsonl", "format": "jsonl", "rows": len(documents)}
    manifest = {"kind": "sets", "sets": {"calibration": entry}}
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    return folder


@pytest.fixture
def job(tmp_path, model_folder, dataset_folder):
    """A job on a tiny model; its notes are kept as `job.note.__self__`."""
    out = tmp_path / "out"
    out.mkdir()
    inputs = {
        "model": Artifact(kind="model", path=str(model_folder), digest="m"),
        "dataset": Artifact(kind="dataset", path=str(dataset_folder), digest="d"),
    }
    return Job(out, tmp_path / "scratch", inputs, {}.__setitem__)
