"""The house rules a linter cannot see."""

import importlib
import re
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ["flows", "tasks", "audits", "registry"]
HEAVY = {
    "torch", "transformers", "mlflow", "prefect", "scipy.stats", "statsmodels", "pandas",
    "sklearn", "fairlearn", "lm_eval", "great_expectations", "codecarbon",
}  # fmt: skip


@pytest.mark.parametrize("name", PACKAGES)
def test_no_other_distribution_shadows_us(name):
    assert Path(importlib.import_module(name).__file__).is_relative_to(ROOT)


def test_nobody_else_installed_our_names():
    for dist in distributions():
        if dist.name == "slm-assay":
            continue
        tops = {f.parts[0] for f in dist.files or [] if f.suffix == ".py" and len(f.parts) > 1}
        assert not tops & {*PACKAGES, "infra"}, dist.name


@pytest.mark.parametrize("module", ["flows.spec", "flows.cli", "flows.checking"])
def test_reading_a_run_file_loads_nothing_heavy(module):
    code = (
        f"import {module}, sys, pathlib\n"
        "from flows.spec import load_spec\n"
        "load_spec(pathlib.Path('infra/runs/quickstart.yaml'))\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert out.stdout.strip() == "[]"


def test_mlflow_is_imported_in_one_module_only():
    found = [
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"^\s*(import|from) mlflow\b", path.read_text("utf-8"), re.MULTILINE)
    ]
    assert found == ["registry/mlflow_store.py"]


def test_workers_keep_together_what_belongs_together(request):
    # xdist names the group in the id of a test; without it every worker makes every home.
    grouped = bool(request.config.getoption("loadgroup", False))
    assert request.node.nodeid.endswith("@tests/test_house.py") == grouped
