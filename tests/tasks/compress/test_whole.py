"""No method compresses what transformers would have made up."""

import json
import shutil

import pytest

from audits.errors import SpecError
from tasks.artifact import Artifact
from tasks.compress import Magnitude, compress
from tasks.job import Job


def test_weights_that_are_not_whole_are_refused(model_folder, tmp_path):
    folder = shutil.copytree(model_folder, tmp_path / "broken")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["num_hidden_layers"] += 1
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    (tmp_path / "out").mkdir()
    broken = Artifact(kind="model", path=str(folder), digest="b")
    job = Job(tmp_path / "out", tmp_path, {"model": broken}, {}.__setitem__)
    with pytest.raises(SpecError, match="not of one model: 9 tensors are missing"):
        compress(Magnitude(sparsity=0.5), job)
    assert list((tmp_path / "out").iterdir()) == []
