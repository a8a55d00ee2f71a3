"""No method compresses what transformers would have made up."""

import json
import shutil

import pytest

from audits.errors import SpecError
from tasks.artifact import Artifact
from tasks.compress import Magnitude, compress
from tasks.compress.calibration import batches
from tasks.compress.folder import Source
from tasks.job import Job
from tasks.models.testing import CORPUS


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


def test_text_is_cut_to_the_positions_that_a_model_has(model_folder, tmp_path):
    config = json.loads((model_folder / "config.json").read_text("utf-8"))
    short = tmp_path / "short"
    shutil.copytree(model_folder, short)
    (short / "config.json").write_text(
        json.dumps(config | {"max_position_embeddings": 8}), "utf-8"
    )
    source = Source(short, CORPUS, tmp_path / "out")
    assert source.positions == 8
    seen = batches(source, samples=4, length=256)
    assert max(batch["input_ids"].numel() for batch in seen) == 8


def test_a_model_is_written_in_the_type_of_number_that_it_came_in(model_folder, tmp_path):
    """In 32 bits it would be twice its parent, and no smaller for what was taken away."""
    import torch
    from safetensors.torch import load_file, save_file

    half = tmp_path / "half"
    shutil.copytree(model_folder, half)
    weights = load_file(half / "model.safetensors")
    save_file({k: v.bfloat16() for k, v in weights.items()}, half / "model.safetensors")
    out = tmp_path / "out"
    out.mkdir()
    Magnitude(sparsity=0.5).apply(Source(half, [], out))
    found = load_file(out / "model.safetensors")
    assert {tensor.dtype for tensor in found.values()} == {torch.bfloat16}
    kept = {k: v for k, v in found.items() if k in weights}
    for name, tensor in kept.items():
        same = (tensor == 0) | (tensor == weights[name].bfloat16())
        assert same.all(), name
    assert json.loads((out / "config.json").read_text("utf-8"))["dtype"] == "bfloat16"
