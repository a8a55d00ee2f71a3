"""Shared fixtures: where the shared data lies, and a quiet, private environment."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # tests never reach for a hub
for _name in ("DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY"):
    os.environ.setdefault(_name, "true")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder that ASSAY_DATA names; tests that need it skip where it is absent."""
    named = os.environ.get("ASSAY_DATA")
    if not named or not Path(named).is_dir():
        pytest.skip("ASSAY_DATA names no folder: the real data sets are not here")
    return Path(named)


@pytest.fixture(scope="session")
def stories260k(shared_data: Path) -> Path:
    """A real pretrained model beside the shared data."""
    folder = shared_data.parent / "models" / "stories260K"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: the pretrained model is not here")
    return folder
