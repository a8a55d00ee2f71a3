import subprocess
import sys

import pytest
from pydantic import TypeAdapter, ValidationError

from audits.errors import SpecError
from tasks.artifact import fingerprint
from tasks.job import Job
from tasks.models.testing import tiny_llama
from tasks.train import AnyModel, CheckpointSettings, Llama, TrainSettings, import_model


@pytest.fixture
def job(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    return Job(out, tmp_path / "scratch", {}, {}.__setitem__)


def test_a_folder_is_copied_without_what_could_run(job, tmp_path):
    folder = tiny_llama(tmp_path / "model")
    before = fingerprint(folder)
    import_model(CheckpointSettings(path=str(folder)), job)
    assert fingerprint(job.out) == before
    (folder / "modeling_own.py").write_text("raise SystemExit")
    (folder / "optimizer.pt").write_bytes(b"pickle")
    for file in job.out.iterdir():
        file.unlink()
    import_model(CheckpointSettings(path=str(folder)), job)
    assert fingerprint(job.out) == before
    assert job.note.__self__["source"] == str(folder)


def test_pickled_weights_are_refused(job, tmp_path):
    folder = tiny_llama(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(SpecError, match="pickled weights"):
        import_model(CheckpointSettings(path=str(folder)), job)
    assert not list(job.out.iterdir())


@pytest.mark.parametrize("file", ["tokenizer.json", "config.json"])
def test_a_model_that_cannot_be_loaded_is_named_where_it_lies_and_not_copied(
    job, tmp_path, file
):
    folder = tiny_llama(tmp_path / "model")
    content = {"config.json": '{"model_type": "llama", "hidden_size": "abc"}'}
    (folder / file).write_text(content.get(file, "{}"), "utf-8")
    with pytest.raises(SpecError) as caught:
        import_model(CheckpointSettings(path=str(folder)), job)
    assert str(folder / file) in str(caught.value)
    assert not list(job.out.iterdir())


def test_a_folder_that_is_no_model_is_refused(job, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(SpecError, match=r"has no config\.json"):
        import_model(CheckpointSettings(path=str(empty)), job)


def test_a_missing_folder_is_named(job, tmp_path):
    with pytest.raises(SpecError, match="there is no such folder"):
        import_model(CheckpointSettings(path=str(tmp_path / "gone")), job)


def test_a_hub_model_without_a_connection_is_one_sentence_with_a_remedy(job, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    asked = CheckpointSettings(path="owner/no-such-model-here", revision="abc")
    with pytest.raises(SpecError) as caught:
        import_model(asked, job)
    said = str(caught.value)
    assert "hf download owner/no-such-model-here --revision abc --local-dir DIR" in said
    assert "\n" not in said
    assert caught.value.exit_code == 2


def test_neither_folder_nor_hub_id(job):
    with pytest.raises(SpecError, match="neither a folder here nor a hub id"):
        import_model(CheckpointSettings(path="owner/c d"), job)


def test_a_folder_has_no_revision():
    with pytest.raises(ValidationError, match="has no revision"):
        CheckpointSettings(path="./model", revision="main")


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValidationError, match="multiple of kv_heads"):
        Llama(heads=4, kv_heads=3)
    with pytest.raises(ValidationError, match="multiple of heads"):
        Llama(hidden_size=100, heads=8)
    with pytest.raises(ValidationError, match="context_length"):
        TrainSettings(block_tokens=512)


def test_a_run_file_names_either():
    union = TypeAdapter(AnyModel)
    assert isinstance(union.validate_json('{"kind": "train"}'), TrainSettings)
    assert isinstance(
        union.validate_json('{"kind": "checkpoint", "path": "x/y"}'), CheckpointSettings
    )


def test_settings_load_no_heavy_library():
    heavy = ("torch", "transformers", "mlflow", "prefect", "pandas", "scipy.stats")
    code = f"import sys, tasks.train; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
