"""A GGUF file is a candidate like any other: made, judged, promoted, verified, exported."""

import json
from pathlib import Path

import pandas as pd
import pytest

from audits.errors import SpecError
from flows.checking import check_spec
from flows.home import find_home
from flows.spec import Variant
from registry.documents import validate
from registry.layout import DATA
from registry.mlflow_store import open_store
from tasks.models.folder import weights_digest
from tasks.models.load import load
from tasks.models.testing import tiny_gpt2, tiny_llama
from tasks.serving import _load_pyfunc

pytest.importorskip("llama_cpp", reason="the gguf extra is not installed")

OWN = Path(__file__).parent / "runs/own.yaml"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("own") / "m")


def test_from_a_chain_of_steps_to_a_file_for_ollama(copied, inside, tiny, tmp_path):
    steps = [{"kind": "magnitude", "sparsity": 0.01}, {"kind": "gguf", "type": "q8_0"}]
    variants = json.dumps([{"name": "edge", "steps": steps}])
    said = copied("run", tiny, "--set", f"variants={variants}", "--json")
    assert said.code == 0, said.err
    assert said.candidate("edge")["promoted"]  # the smaller of two that pass
    assert "train base" not in said.executed()

    here = inside(copied.home)
    assert here("verify", "tiny@champion")[0] == 0
    out = tmp_path / "out"
    code, told, err = here("export", "tiny@champion", "--out", out, "--modelfile", "--json")
    assert code == 0, err
    assert json.loads(told)["files"] == ["Modelfile", "README.md", "model.gguf"]
    assert json.loads(told)["weights"] == weights_digest(out)
    assert "library_name: gguf" in (out / "README.md").read_text("utf-8")
    assert (out / "Modelfile").read_text("utf-8").startswith("FROM ./model.gguf\n")

    store = open_store(f"sqlite:///{copied.home}/mlflow.db", copied.home)
    registered = store.attachment(
        store.version("tiny", said.candidate("edge")["version"]), DATA
    )
    asked = pd.DataFrame({"prompt": ["The pet of"]})
    served = _load_pyfunc(str(registered)).predict(asked, {"max_new_tokens": 4})
    assert served == load(out).generate(["The pet of"], max_new_tokens=4, seed=0)[0]

    base = f"tiny/{said.candidate('base')['version']}"
    code, _, err = here("export", base, "--out", tmp_path / "no", "--modelfile")
    assert code == 2
    assert "is no GGUF file" in err
    assert not (tmp_path / "no").exists()


def test_a_file_ends_a_chain():
    steps = [{"kind": "gguf", "type": "q8_0"}, {"kind": "rtn", "bits": 8}]
    with pytest.raises(SpecError, match="gguf writes a file that no step can read"):
        validate(Variant, {"name": "v", "steps": steps}, "run.yaml")


@pytest.mark.parametrize("kind", ["rtn", "gptq", "awq", "smoothquant", "qat"])
def test_packed_weights_end_a_chain(kind):
    extra = {"smoothquant": {}, "qat": {"bits": 8, "steps": 1}}.get(kind, {"bits": 8})
    steps = [{"kind": kind, **extra}, {"kind": "magnitude", "sparsity": 0.5}]
    with pytest.raises(SpecError, match=f"{kind} packs weights that no step can read"):
        validate(Variant, {"name": "v", "steps": steps}, "run.yaml")


def check(folder, method, tmp_path, more=()):
    variant = json.dumps([{"name": "edge", "steps": [method]}])
    changes = [f"model.path={folder}", f"variants={variant}", *more]
    home = find_home({"ASSAY_HOME": str(tmp_path / "home")})
    return check_spec(OWN, changes, home, rehearse=True)


def test_a_width_that_does_not_fit_is_seen_before_the_run(model, tmp_path):
    with pytest.raises(SpecError, match="does not fit 16 of 21 tensors"):
        check(model, {"kind": "gguf", "type": "q4_k_m"}, tmp_path)


def test_text_is_wanted_where_it_weighs_errors_and_nowhere_else(model, tmp_path):
    (tmp_path / "held.jsonl").write_text('{"id": "1", "text": "a pet"}\n', "utf-8")
    sets = {"kind": "sets", "sets": {"heldout": {"path": str(tmp_path / "held.jsonl")}}}
    data = [f"data={json.dumps(sets)}"]
    plain = {"kind": "gguf", "type": "q8_0"}
    assert check(model, plain, tmp_path, data)[0]["candidates"] == ["base", "edge"]
    weighed = {"kind": "gguf", "type": "q4_0", "importance": True, "allow_fallback": True}
    with pytest.raises(SpecError, match=r"variants: gguf: .*'calibration'"):
        check(model, weighed, tmp_path, data)


def test_without_the_extra_a_check_says_how_to_install_it(model, tmp_path, monkeypatch):
    from importlib import metadata

    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    with pytest.raises(SpecError, match=r"llama-cpp-python.*pip install -e '\.\[gguf\]'"):
        check(tiny_gpt2(tmp_path / "m"), {"kind": "gguf", "type": "q8_0"}, tmp_path)
