"""A reviewer finds card, verdict and numbers in the MLflow UI."""

import os
import shutil
import signal

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(scope="module")
def address(first, port, wait, responds):
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    number = port()
    process = first.cli.start("ui", "--port", number)
    url = f"http://127.0.0.1:{number}"
    wait(lambda: responds(f"{url}/health"), process, "the MLflow UI")
    yield url
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err


@pytest.fixture(scope="module")
def page(address):
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser.new_page(viewport={"width": 1400, "height": 1600})
        browser.close()


@pytest.fixture
def shows(page, address, tmp_path):
    """Opens a page and waits for each of these texts to be on it."""

    def look(place, *texts):
        page.goto(f"{address}/#{place}")
        for text in texts:
            page.get_by_text(text).first.wait_for(timeout=30_000)
        page.screenshot(path=tmp_path / "page.png", full_page=True)

    return look


def run_of(first, number):
    ((run, experiment),) = first.cli.rows(
        "select r.run_uuid, r.experiment_id from runs r join model_versions v "
        f"on v.run_id = r.run_uuid where v.version = {number} and v.name = 'tiny'"
    )
    return f"/experiments/{experiment}/runs/{run}"


def test_a_versions_page_shows_card_verdict_and_measures(first, shows):
    number = first.said.candidate("pruned80")["version"]
    shows(
        f"/models/tiny/versions/{number}",
        "tiny: pruned80",
        "FAIL",
        "by policy lenient",
        "worse than the parent",
        "evaluate/bits_per_byte/heldout",
        "assay.verdict",
    )


def test_the_champion_is_marked_and_passes(first, shows):
    number = first.said.candidate("int8")["version"]
    shows(f"/models/tiny/versions/{number}", "tiny: int8", "PASS", "champion")


def test_a_runs_page_shows_verdict_and_metrics_with_intervals(first, shows):
    number = first.said.candidate("int8")["version"]
    shows(
        run_of(first, number),
        "evaluate/bits_per_byte/heldout",
        "evaluate/bits_per_byte/heldout.low",
        "profile/size_bytes",
        "assay.verdict",
    )


def test_the_page_of_a_pipeline_run_says_who_was_promoted(first, shows):
    ((run, experiment),) = first.cli.rows(
        "select run_uuid, experiment_id from runs where name = 'tiny' "
        "order by start_time limit 1"
    )
    shows(f"/experiments/{experiment}/runs/{run}", "candidate", "promoted", "worse than the")
