"""A schedule fires by itself on a real Prefect server."""

import os
import signal

import httpx
import pydantic
import pytest

from audits.errors import SpecError
from flows.serve import _ctrl_c_stays_itself, load_deployments

FILE = """
name: assay
deployments:
  - name: often
    entrypoint: flows.pipeline.pipeline
    parameters:
      run_file: {run_file}
    schedules: [{{interval: 5}}]
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("run_file: RUN", "run_file: gone.yaml", "names the run file 'gone.yaml'"),
        ("schedules: [{interval: 5}]", "schedules: []", "schedules"),
        ("interval: 5", "intervall: 5", "did you mean 'interval'"),
        ("interval: 5", "interval: -5", "interval"),
        ("{interval: 5}", "{}", "either cron or interval"),
        ("interval: 5", "interval: 5, cron: '0 2 * * *'", "and not both"),
        ("interval: 5", "cron: nightly", "nightly"),
        ("interval: 5", "interval: 5, timezone: Atlantis", "Atlantis"),
        ("flows.pipeline.pipeline", "os.system", "entrypoint"),
    ],
)
def test_a_mistake_in_a_deployment_file_is_named(tmp_path, tiny, old, new, said):
    text = FILE.format(run_file="RUN")
    assert old in text
    file = tmp_path / "prefect.yaml"
    file.write_text(text.replace(old, new).replace("run_file: RUN", f"run_file: {tiny}"))
    with pytest.raises(SpecError, match=said):
        load_deployments(file)


def test_the_shipped_deployment_file_is_sound(monkeypatch, tiny):
    monkeypatch.chdir(tiny.parents[3])
    (nightly,) = load_deployments(tiny.parents[3] / "infra/prefect.yaml").deployments
    assert nightly.schedules[0].cron


def test_ctrl_c_amid_a_serialization_stays_ctrl_c():
    class Pressed(pydantic.BaseModel):
        @pydantic.model_serializer
        def press(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), _ctrl_c_stays_itself():
        Pressed().model_dump_json()


def test_a_schedule_runs_the_pipeline_by_itself(first, port, tiny, tmp_path, wait, responds):
    file = tmp_path / "prefect.yaml"
    file.write_text(FILE.format(run_file=tiny))
    number = port()
    api = f"http://127.0.0.1:{number}/api"
    process = first.cli.start("serve", "--file", file, "--port", number)
    found = []

    def completed():
        if not responds(f"{api}/health"):
            return False
        runs = httpx.post(f"{api}/flow_runs/filter", json={}, timeout=10).json()
        # The first run, in the same Prefect home, belongs to no deployment.
        found[:] = [r for r in runs if r["deployment_id"] and r["state_type"] == "COMPLETED"]
        return bool(found)

    wait(completed, process, "a scheduled run")
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (0, 130), err
    assert "Traceback" not in err
    assert found[0]["idempotency_key"].startswith("scheduled ")
    assert found[0]["parameters"] == {"run_file": str(tiny)}
    assert not responds(f"{api}/health")
