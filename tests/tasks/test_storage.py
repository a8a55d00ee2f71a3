"""Bytes are told by kind from the files themselves, whoever wrote them."""

import json
from pathlib import Path

import pytest

from audits.errors import SpecError
from registry.parts import read
from tasks.artifact import Artifact
from tasks.compress.folder import Source
from tasks.compress.quantize import Rtn
from tasks.job import Job
from tasks.models.stored import stored
from tasks.models.testing import tiny_llama
from tasks.storage import STEP, StorageSettings, storage


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("model"), width=32)


def test_dense_layers_have_the_bits_of_their_numbers(model) -> None:
    from safetensors import safe_open

    counted = stored(model)
    with safe_open(str(model / "model.safetensors"), framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    flat = {n: t for n, t in tensors.items() if t.ndim > 1 and "embed" not in n}
    flat = {n: t for n, t in flat.items() if "lm_head" not in n}
    assert counted.weights == sum(t.numel() for t in flat.values())
    assert counted.bits_per_weight == 32
    everything = counted.layers + counted.embeddings + counted.other
    assert everything == sum(t.nbytes for t in tensors.values())


def test_biases_are_no_weights_of_layers_whoever_wrote_them(tmp_path) -> None:
    import torch
    from safetensors.torch import save_file

    tensors = {
        "wte.weight": torch.zeros(5, 4), "h.0.c_fc.weight": torch.zeros(4, 8),
        "h.0.c_fc.bias": torch.zeros(8), "h.0.ln.weight": torch.zeros(4),
    }  # fmt: skip
    save_file(tensors, tmp_path / "model.safetensors")
    counted = stored(tmp_path)
    assert (counted.layers, counted.weights) == (4 * 32, 32)
    assert (counted.embeddings, counted.other) == (4 * 20, 4 * 12)


def test_packed_layers_count_their_scales_and_not_their_packages(model, tmp_path) -> None:
    """Four bits and one scale of 32 bits for each row of 32 weights: five bits and a shape."""
    source = Source(model, [], tmp_path)
    Rtn(bits=4, group_size=None).apply(source)
    counted = stored(tmp_path)
    assert counted.weights == stored(model).weights
    assert 4 < counted.bits_per_weight < 8


def test_a_folder_without_layers_is_no_model(tmp_path) -> None:
    with pytest.raises(SpecError, match="no weight file here has a layer"):
        stored(tmp_path)


def test_a_part_holds_the_bytes_and_every_layers_error_by_step(model, tmp_path) -> None:
    steps = {}
    for number, error in enumerate(({"a": 0.5, "b": 0.25}, {}), 1):
        folder = tmp_path / f"step{number}"
        folder.mkdir()
        report = {
            "method": {"kind": "wanda", "sparsity": 0.5, "pattern": "unstructured"},
            "chosen": {"kind": "wanda", "sparsity": 0.5},
            "remarks": {"run_time": "no gain"}, "reconstruction_error": error,
        }  # fmt: skip
        (folder / "compression.json").write_text(json.dumps(report), "utf-8")
        steps[f"{STEP}{number}"] = Artifact(kind="model", path=str(folder), digest="e" * 64)
    inputs = {"model": Artifact(kind="model", path=str(model), digest="d" * 64), **steps}
    storage(StorageSettings(), Job(tmp_path / "out", tmp_path / "s", inputs, lambda *_: None))
    part = read(tmp_path / "out")
    measures, absent = part.measures()
    assert not absent
    assert {m.name for m in measures} == {
        f"storage/{name}"
        for name in ("bits_per_weight", "bytes_layers", "bytes_embeddings", "bytes_other")
    }
    rows = part.records[part.records["row"] == "layer"]
    assert rows[["step", "layer", "error"]].to_numpy().tolist() == [
        [1, "a", 0.5], [1, "b", 0.25],
    ]  # fmt: skip
    assert part.notes["steps"][0]["method"] == {"kind": "wanda", "sparsity": 0.5}
