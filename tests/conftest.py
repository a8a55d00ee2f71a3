"""Shared fixtures, a quiet and private environment, and which tests share a worker."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import settings

# No timed assertions: a busy machine is no failure. `HYPOTHESIS_PROFILE=thorough` digs deeper.
settings.register_profile(
    "quick", max_examples=50, deadline=None, derandomize="CI" in os.environ
)
settings.register_profile("thorough", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # tests never reach for a hub
for _name in ("DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY"):
    os.environ.setdefault(_name, "true")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
# An MLflow server would start eight processes more, for jobs that nobody here asks of it.
os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
# Two workers, or a server beside a run, on two cores: more threads only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).parents[1]


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items):
    """Tests over the home of the first run stay together: it is made once, and they alter it.

    All others go by file, so that a file's fixtures are made once.
    """
    for item in items:
        shares = "first" in getattr(item, "fixturenames", ())
        group = "first" if shares else str(item.path.relative_to(ROOT))
        item.add_marker(pytest.mark.xdist_group(group))


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


class Disk:
    """A disk of its own, of so many bytes."""

    def __init__(self, place):
        self.place = place

    def mount(self, size, *options):
        """Begin it, or change its size."""
        again = ["remount"] if self.place.is_mount() else []
        self.place.mkdir(exist_ok=True)
        how = ",".join([*again, f"size={size}", *options])
        command = ["mount", "-t", "tmpfs", "-o", how, "tmpfs", str(self.place)]
        try:
            subprocess.run(command, capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("nobody may mount a small disk here")
        return self.place

    def end(self):
        if self.place.is_mount():
            subprocess.run(["umount", "-l", str(self.place)], check=True)


@pytest.fixture
def disk(tmp_path):
    made = Disk(tmp_path / "small")
    yield made
    made.end()
