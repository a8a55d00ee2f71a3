import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from audits.errors import SpecError
from tasks.artifact import Artifact, fingerprint
from tasks.compress import Gptq, Magnitude, Rtn, compress
from tasks.models.testing import CORPUS, tiny_gpt2, tiny_llama


def logprobs(folder: Path, text: str = CORPUS[0]) -> torch.Tensor:
    ids = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt").input_ids
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        return model(ids).logits.log_softmax(-1)


def drift(folder: Path, original: Path) -> float:
    """Mean absolute change of a log-probability, in nats."""
    return float((logprobs(folder) - logprobs(original)).abs().mean())


def gptq(bits, group_size=32, **more):
    return Gptq(bits=bits, group_size=group_size, samples=4, sequence_length=32, **more)


@pytest.mark.parametrize(
    ("method", "bits_per_weight"),
    [
        # 4 bits and a 32-bit scale per 32 weights is 5; each layer also notes its shape.
        (gptq(4), 5.0),
        (Rtn(bits=4, group_size=32), 5.0),
        (Rtn(bits=3, group_size=32), 4.0),
        (gptq(2), 3.0),
        # where zero need not be a level, each group also says which level it is
        (Rtn(bits=2, group_size=32, symmetric=False), 3 + 2 / 32),
        # 8 bits and a scale for each output of 64 or 128 weights.
        (gptq(8, None), 8 + 32 / 77),
        (gptq(3, None, act_order=False), 3 + 32 / 77),
        (Rtn(bits=8, group_size=64), 8.5),
        (Rtn(bits=2, group_size=None), 2 + 32 / 77),
    ],
    ids=lambda v: f"{v.kind}-{v.bits}-{v.group_size}" if isinstance(v, Rtn | Gptq) else "",
)
def test_packing_is_real_and_reloads(method, bits_per_weight, job, model_folder):
    original = fingerprint(model_folder)
    compress(method, job)
    assert fingerprint(model_folder) == original
    report = json.loads((job.out / "compression.json").read_text("utf-8"))
    assert report["bits_per_weight"] == pytest.approx(bits_per_weight, abs=0.15)
    assert report["method"] == method.model_dump(mode="json")
    assert report["remarks"]["run_time"].startswith("no run-time gain on this backend")
    before, after = (f / "model.safetensors" for f in (model_folder, job.out))
    assert after.stat().st_size < 0.6 * before.stat().st_size
    errors = report["reconstruction_error"]
    assert errors.keys() == report["layers"].keys()
    # a weight of b bits is off by at most half of one of 2^b steps
    assert all(0 < error < 4.0 ** (2.5 - method.bits) for error in errors.values())
    found = logprobs(job.out)
    assert bool(found.isfinite().all())
    assert drift(job.out, model_folder) < {8: 0.1, 4: 1.5, 3: 3, 2: 5}[method.bits]


def test_notes_tell_what_was_measured(job):
    compress(Rtn(bits=8, group_size=32), job)
    notes = job.note.__self__
    parts = sum(notes[f"bytes_{kind}"] for kind in ("layers", "embeddings", "other"))
    assert parts < notes["bytes_files"] < notes["bytes_files_before"]
    assert notes["seconds_method"] > 0


def test_gptq_loses_less_than_rounding_at_four_bits(job, model_folder, tmp_path):
    drifts = []
    more = Gptq(bits=4, group_size=32, sequence_length=32)
    for method in (more, Rtn(bits=4, group_size=32)):
        out = tmp_path / method.kind
        out.mkdir()
        compress(method, replace(job, out=out))
        drifts.append(drift(out, model_folder))
    assert drifts[0] < drifts[1]


def test_a_layers_error_is_that_of_the_weight_that_is_read_from_the_file(job, model_folder):
    compress(gptq(4), job)
    report = json.loads((job.out / "compression.json").read_text("utf-8"))
    before, after = (AutoModelForCausalLM.from_pretrained(f) for f in (model_folder, job.out))
    name = "model.layers.0.self_attn.q_proj"
    reached, tokenizer = [], AutoTokenizer.from_pretrained(model_folder)
    before.get_submodule(name).register_forward_pre_hook(lambda _, x: reached.append(x[0][0]))
    texts = (CORPUS * 4)[:8]
    with torch.no_grad():
        for text in texts:
            ids = tokenizer(text, return_tensors="pt").input_ids
            before(ids)
            after(ids)  # which unpacks it
        rows = torch.cat(reached)
        old, new = (model.get_submodule(name).weight for model in (before, after))
        lost = (rows @ (old - new).T).square().sum() / (rows @ old.T).square().sum()
    assert report["reconstruction_error"][name] == pytest.approx(float(lost), rel=1e-4)


def test_zeros_that_error_correction_fills_are_counted(job, tmp_path):
    """Rounding keeps a zero; what makes up for errors moves pruned weights as well."""
    compress(Magnitude(sparsity=0.5), job)
    pruned = Artifact(kind="model", path=str(job.out), digest="p")
    lost = {}
    for method in (Rtn(bits=8, group_size=32), gptq(8)):
        out = tmp_path / method.kind
        out.mkdir()
        compress(method, replace(job, out=out, inputs=job.inputs | {"model": pruned}))
        remarks = json.loads((out / "compression.json").read_text("utf-8"))["remarks"]
        assert remarks["zeros_before"] > 0
        lost[method.kind] = remarks["zeros_lost"]
    assert lost["rtn"] == 0
    assert lost["gptq"] > 0


def test_equal_settings_give_equal_files(job, tmp_path):
    again = tmp_path / "again"
    again.mkdir()
    for out in (job.out, again):
        compress(gptq(4), replace(job, out=out))
    assert fingerprint(job.out) == fingerprint(again)


def test_tied_embeddings_are_stored_once(job, tmp_path):
    tied = tiny_llama(tmp_path / "tied")
    config = AutoConfig.from_pretrained(tied, tie_word_embeddings=True)
    AutoModelForCausalLM.from_config(config).save_pretrained(tied)
    inputs = dict(job.inputs, model=Artifact(kind="model", path=str(tied), digest="t"))
    compress(gptq(4), replace(job, inputs=inputs))
    report = json.loads((job.out / "compression.json").read_text("utf-8"))
    assert report["bytes_embeddings"] == 300 * 64 * 4
    assert drift(job.out, tied) < 1.5


def test_a_group_that_does_not_divide_is_refused(job):
    with pytest.raises(SpecError, match=r"group_size 48 does not divide the width 64 of layer"):
        compress(Rtn(bits=4, group_size=48), job)


def test_gptq_without_calibration_text_is_refused(job, tmp_path):
    (tmp_path / "manifest.json").write_text('{"kind": "sets", "sets": {}}', "utf-8")
    inputs = dict(job.inputs, dataset=Artifact(kind="dataset", path=str(tmp_path), digest="e"))
    with pytest.raises(SpecError, match=r"holds no documents.*choose method rtn"):
        compress(Gptq(bits=4), replace(job, inputs=inputs))


def test_text_shorter_than_a_sequence_is_refused_and_nothing_is_written(job):
    with pytest.raises(SpecError, match="less than one sequence of 4096"):
        compress(Gptq(bits=4, group_size=32, sequence_length=4096), job)
    assert not any(job.out.iterdir())


def test_a_quantized_model_is_not_quantized_again(job, tmp_path):
    compress(Rtn(bits=8, group_size=32), job)
    inputs = dict(job.inputs, model=Artifact(kind="model", path=str(job.out), digest="q"))
    with pytest.raises(SpecError, match="quantized already"):
        compress(Magnitude(sparsity=0.5), replace(job, inputs=inputs, out=tmp_path))


def test_a_model_without_linear_layers_is_refused(job, tmp_path):
    folder = tiny_gpt2(tmp_path / "gpt2")
    inputs = dict(job.inputs, model=Artifact(kind="model", path=str(folder), digest="g"))
    with pytest.raises(SpecError, match="gpt2"):
        compress(Rtn(bits=4, group_size=32), replace(job, inputs=inputs))


def test_nothing_is_printed_and_nothing_lands_beside(job, tmp_path, monkeypatch, capfd):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    compress(gptq(4), job)
    assert capfd.readouterr().out == ""
    assert not list(here.iterdir())


def test_settings_load_no_heavy_library():
    heavy = ("torch", "transformers", "llmcompressor", "mlflow", "prefect", "pandas")
    code = f"import sys, tasks.compress; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


STORIES = Path(os.environ.get("ASSAY_DATA", "")).parent / "models" / "stories260K"


@pytest.mark.skipif(not os.environ.get("ASSAY_DATA"), reason="ASSAY_DATA is not set")
def test_a_real_model_loses_more_with_fewer_bits_and_less_by_gptq(job, tmp_path):
    data = Path(os.environ["ASSAY_DATA"]) / "tinystories" / "tiny_stories.txt"
    stories = [s for s in data.read_text("utf-8").split("\n") if len(s) > 200]
    seen, held = stories[:64], stories[200:220]
    rows = [json.dumps({"id": str(i), "text": text}) for i, text in enumerate(seen)]
    (tmp_path / "c.jsonl").write_text("\n".join(rows), "utf-8")
    entry = {"file": "c.jsonl", "format": "jsonl", "rows": len(rows)}
    manifest = json.dumps({"kind": "sets", "sets": {"calibration": entry}})
    (tmp_path / "manifest.json").write_text(manifest, "utf-8")
    inputs = {
        "model": Artifact(kind="model", path=str(STORIES), digest="s"),
        "dataset": Artifact(kind="dataset", path=str(tmp_path), digest="t"),
    }
    loss = {"none": nats_per_token(STORIES, held)}
    few = {"samples": 32, "sequence_length": 128}
    rtn = [Rtn(bits=bits, group_size=None) for bits in (8, 4, 3, 2)]
    for method in (*rtn, *(Gptq(**one.model_dump(exclude={"kind"}), **few) for one in rtn)):
        out = tmp_path / f"{method.kind}{method.bits}"
        out.mkdir()
        compress(method, replace(job, inputs=inputs, out=out))
        loss[out.name] = nats_per_token(out, held)
    for kind in ("rtn", "gptq"):
        # a perplexity within one per cent
        assert abs(loss[f"{kind}8"] - loss["none"]) < math.log(1.01)
        assert loss[f"{kind}8"] < loss[f"{kind}4"] < loss[f"{kind}3"] < loss[f"{kind}2"]
    assert all(loss[f"gptq{bits}"] < loss[f"rtn{bits}"] for bits in (4, 3, 2))


def nats_per_token(folder: Path, texts: list[str]) -> float:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    total, n = 0.0, 0
    for text in texts:
        ids = tokenizer(text, return_tensors="pt").input_ids[:, :512]
        with torch.no_grad():
            total += float(model(ids, labels=ids).loss) * (ids.shape[1] - 1)
        n += ids.shape[1] - 1
    return total / n
