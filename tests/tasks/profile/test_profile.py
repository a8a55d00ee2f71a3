"""A profile is measured in a process of its own, and never guessed."""

import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from pydantic import ValidationError

from audits.errors import SpecError, StageError
from audits.evidence import Part
from registry.parts import read
from tasks.artifact import Artifact
from tasks.energy import EnergySettings, Meter
from tasks.job import Job
from tasks.models.testing import tiny_llama
from tasks.profile import ProfileSettings, profile
from tasks.profile.measure import measure, sizes
from tasks.profile.process import Child
from tasks.profile.torch_decoder import prompt

QUICK = ProfileSettings(prompt_tokens=8, new_tokens=4, repeats=3, warmup=1)
UNMETERED = Meter(EnergySettings(enabled=False))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("model"), width=32)


@pytest.fixture(scope="module")
def profiled(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Part, dict]:
    home = tmp_path_factory.mktemp("job")
    notes: dict[str, object] = {}
    (home / "scratch").mkdir()
    artifact = Artifact(kind="model", path=str(model), digest="d" * 64)
    job = Job(home / "out", home / "scratch", {"model": artifact}, notes.__setitem__)
    profile(QUICK, job)
    return read(job.out), notes


def test_every_promised_measure_but_energy_is_there_and_positive(profiled) -> None:
    part, _ = profiled
    measures, absent = part.measures()
    found = {m.name: m for m in measures}
    promised = {part.full_name(d) for d in QUICK.declares()}
    assert set(found) | set(absent) == promised
    assert set(absent) <= {"profile/joules_per_token"}
    assert all(m.value > 0 and m.low <= m.value <= m.high for m in measures)
    assert found["profile/ttft_ms"].n == QUICK.repeats
    # tokens per second and the two latencies are one measurement, told three ways
    runs = part.records[part.records["row"] == "repeat"]
    whole = runs["ttft_ms"].sum() + runs["decode_ms"].sum()
    assert found["profile/tokens_per_second"].value == pytest.approx(4 * 3 / whole * 1000)
    assert found["profile/itl_ms"].value == pytest.approx(runs["decode_ms"].sum() / (3 * 3))


def test_memory_is_that_of_the_fresh_process(profiled) -> None:
    row = profiled[0].records.set_index("example").loc["model"]
    assert 50 < row["load_rss_mb"] <= row["peak_rss_mb"]


def test_size_counts_weight_files_and_parameters_are_counted(profiled, model: Path) -> None:
    row = profiled[0].records.set_index("example").loc["model"]
    assert row["size_bytes"] == (model / "model.safetensors").stat().st_size
    assert row["size_total_bytes"] == sum(f.stat().st_size for f in model.iterdir())
    # float32: four bytes each, and a header
    assert 0 < row["size_bytes"] - 4 * row["parameters"] < 10_000


def test_an_estimated_energy_is_a_note_and_no_measure(profiled) -> None:
    part, notes = profiled
    rows = part.records[part.records["row"] == "energy"]
    assert len(rows) == QUICK.repeats
    assert part.notes["energy_status"] == notes["energy"]["status"]
    if notes["energy"]["status"] == "measured":
        assert "profile/joules_per_token" in {m.name for m in part.measures()[0]}
    else:
        assert (rows["why"] != "").all()
        assert "profile/joules_per_token" in part.measures()[1]


def test_the_conditions_say_where_it_ran_but_not_whose_machine_it_was(profiled) -> None:
    conditions = profiled[0].conditions
    assert conditions["threads"] == 1
    assert conditions["dtype"] == "float32"
    assert {"cpu", "cores", "os", "device", "backend"} <= set(conditions)
    assert not {"host", "hostname", "node"} & set(conditions)


def test_a_prompt_that_does_not_fit_is_told_in_one_sentence() -> None:
    config = SimpleNamespace(max_position_embeddings=128, vocab_size=300)
    asked = {"prompt_tokens": 127, "new_tokens": 4, "seed": 0}
    with pytest.raises(SpecError, match=r"131 do not fit the model's 128 positions"):
        prompt(SimpleNamespace(config=config), asked)


def test_the_last_words_of_a_process_that_dies_are_quoted(model: Path, tmp_path) -> None:
    log = tmp_path / "log"
    with (
        Child(model, "no JSON", threads=1, log=log, timeout_s=60) as started,
        pytest.raises(StageError, match="JSONDecodeError"),
    ):
        started.hear("loaded")
    with pytest.raises(psutil.NoSuchProcess):
        psutil.Process(started._process.pid)


def test_a_process_that_takes_too_long_is_ended(model: Path, tmp_path) -> None:
    hasty = QUICK.model_copy(update={"timeout_s": 0.1})
    with pytest.raises(StageError, match="timeout_s"):
        measure(hasty, model, tmp_path, UNMETERED)


def test_a_folder_that_is_no_model_is_refused_before_anything_starts(tmp_path) -> None:
    with pytest.raises(SpecError, match=r"config\.json"):
        measure(QUICK, tmp_path, tmp_path, UNMETERED)


def test_sizes_look_into_folders(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "model.safetensors").write_bytes(b"12345")
    (tmp_path / "sub" / "part.gguf").write_bytes(b"123")
    (tmp_path / "config.json").write_bytes(b"{}")
    assert sizes(tmp_path) == {"size_bytes": 8, "size_total_bytes": 10}


def test_only_the_question_decides_the_basis() -> None:
    assert QUICK.basis == QUICK.model_copy(update={"timeout_s": 5.0}).basis
    others = [{"threads": 2}, {"new_tokens": 5}, {"dtype": "bfloat16"}, {"seed": 1}]
    assert len({QUICK.model_copy(update=o).basis for o in others} | {QUICK.basis}) == 5


def test_what_is_switched_off_promises_nothing() -> None:
    assert ProfileSettings(enabled=False).declares() == ()
    names = [d.name for d in ProfileSettings().declares()]
    assert len(names) == len(set(names)) > 5
    assert "size_bytes" in names


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"new_tokens": 1}, {"timeout_s": math.inf}])
def test_settings_that_measure_nothing_are_refused(wrong) -> None:
    with pytest.raises(ValidationError):
        ProfileSettings(**wrong)


def test_reading_the_settings_loads_nothing_heavy() -> None:
    code = (
        "import sys, tasks.profile\n"
        "heavy = {'torch', 'transformers', 'pandas', 'psutil', 'codecarbon', 'scipy'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == ""
