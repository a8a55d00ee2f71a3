"""An energy number always says whether it was measured, and what else it could be."""

import logging
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits.errors import StageError
from tasks.energy import Card, EnergySettings, Meter, process_meter, total
from tasks.power import possible_range


class Load:
    """A load meter that has seen the machine busy for a fixed share of the time."""

    def __init__(self, percent: float) -> None:
        self._percent = percent

    def percent(self) -> float:
        return self._percent

    def reset(self) -> None:
        pass


def modelled_cpu(percent: float, tdp: float = 100, mode: str = "machine"):
    hardware = pytest.importorskip("codecarbon.external.hardware")
    cpu = hardware.CPU(
        output_dir=".", mode="cpu_load", model="any", tdp=tdp, tracking_mode=mode
    )
    cpu.start()
    cpu._cpu_load_meter = Load(percent)
    return cpu


# TDP (0.1 + 0.9 load^3): 100 * (0.1 + 0.9 * 0.125) = 21.25 W at half load
@pytest.mark.parametrize(("percent", "watts"), [(0, 10.0), (50, 21.25), (100, 100.0)])
def test_the_load_model_is_cubic_with_a_tenth_as_floor(percent: float, watts: float) -> None:
    power, energy = modelled_cpu(percent).measure_power_and_energy(last_duration=10.0)
    assert power.W / watts == pytest.approx(1, rel=1e-6)
    assert energy.kWh * 3.6e6 == pytest.approx(10 * watts, rel=1e-6)


@given(percent=st.floats(0, 100), tdp=st.floats(1, 500), seconds=st.floats(0.1, 1e5))
def test_the_load_model_never_leaves_the_range_we_print(
    percent: float, tdp: float, seconds: float
) -> None:
    _, energy = modelled_cpu(percent, tdp).measure_power_and_energy(last_duration=seconds)
    low, high = possible_range(tdp, seconds)
    assert low * (1 - 1e-9) <= energy.kWh * 3.6e6 <= high * (1 + 1e-9)


@pytest.fixture(scope="module")
def busy() -> Card:
    with process_meter().measure("busy") as reading:
        ends = time.perf_counter() + 0.5
        while time.perf_counter() < ends:
            pass
    return reading.card


def test_a_real_stage_has_a_card_that_names_its_method(busy: Card) -> None:
    assert busy.status in ("measured", "estimated", "mixed"), busy.why
    assert busy.cpu_method != "none"
    assert busy.energy_j is not None
    assert busy.low_j is not None
    assert busy.high_j is not None
    assert 0 < busy.low_j <= busy.energy_j <= busy.high_j
    assert busy.duration_s >= 0.5
    assert busy.tracking_mode == "machine"
    assert Card.model_validate_json(busy.model_dump_json()) == busy


def test_memory_stays_out_of_the_headline(busy: Card) -> None:
    assert busy.energy_j == pytest.approx((busy.cpu_j or 0) + (busy.gpu_j or 0))
    assert busy.ram_j


def test_an_estimate_is_called_one(busy: Card) -> None:
    if busy.cpu_method == "rapl":
        pytest.skip("this machine has an energy counter")
    assert busy.status != "measured"
    assert busy.tdp_w
    assert busy.tdp_source != "none"
    assert "estimated" in busy.sentence()
    assert "estimated" in busy.per_token(10)


def test_equal_names_are_metered_apart(busy: Card) -> None:
    with process_meter().measure("busy") as reading:
        time.sleep(0.05)
    assert reading.card.duration_s < busy.duration_s


def test_metering_writes_no_log_and_no_file(
    busy: Card, tmp_path, monkeypatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with Meter().measure("quiet"):
        pass
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())
    assert logging.getLogger("codecarbon").level == logging.CRITICAL


def test_a_stage_within_a_metered_stage_is_refused() -> None:
    meter = Meter(EnergySettings(enabled=False))
    with meter.measure("outer"), pytest.raises(StageError, match="inner"):  # noqa: SIM117
        with meter.measure("inner"):
            pass


def test_a_stage_in_another_thread_waits_its_turn() -> None:
    meter = Meter(EnergySettings(enabled=False))
    order: list[str] = []

    def second() -> None:
        with meter.measure("second"):
            order.append("second")

    with meter.measure("first"):
        other = threading.Thread(target=second)
        other.start()
        other.join(0.05)
        order.append("first")
    other.join()
    assert order == ["first", "second"]


def test_without_a_meter_there_is_a_reason_and_no_number() -> None:
    meter = Meter(EnergySettings(enabled=False))
    with meter.measure("stage") as reading, pytest.raises(StageError, match="before"):
        _ = reading.card
    assert reading.card.status == "none"
    assert reading.card.energy_j is None
    assert reading.card.why
    assert reading.as_json()["energy_j"] is None


def test_a_meter_that_cannot_start_does_not_stop_the_work() -> None:
    meter = Meter(EnergySettings(country="QQQ"))
    done = False
    with meter.measure("stage") as reading:
        done = True
    assert done
    if reading.card.status == "none":
        assert "CodeCarbon" in reading.card.why


def test_a_failing_stage_still_ends_its_measurement() -> None:
    meter = Meter(EnergySettings(enabled=False))
    with pytest.raises(ZeroDivisionError), meter.measure("stage"):
        _ = 1 / 0
    with meter.measure("next") as reading:
        pass
    assert reading.card.duration_s >= 0


def card(joules: float, status: str, seconds: float = 1.0) -> Card:
    measured = status == "measured"
    return Card(
        status=status, duration_s=seconds, energy_j=joules, cpu_j=joules,
        low_j=joules if measured else joules / 2, high_j=joules if measured else joules * 2,
        cpu_method="rapl" if measured else "cpu_load", tdp_w=None if measured else 8.0,
        tdp_source="none" if measured else "match", host_load=0.5,
    )  # fmt: skip


def test_a_sum_is_only_as_good_as_its_weakest_card() -> None:
    assert total([card(1, "measured"), card(2, "measured")]).energy_j == 3
    mixed = total([card(1, "measured"), card(2, "estimated", 3.0)])
    assert (mixed.status, mixed.energy_j, mixed.low_j, mixed.high_j) == ("estimated", 3, 2, 5)
    assert mixed.duration_s == 4
    lost = total([card(1, "measured"), Card(status="none", duration_s=1, why="gone")])
    assert (lost.status, lost.energy_j, lost.why) == ("none", None, "gone")
    assert total([]).status == "none"


def test_an_estimate_per_token_has_one_digit_and_a_measurement_three() -> None:
    # 123.4 J for 100 tokens; the estimate may be half or twice: 0.617 and 2.468
    assert card(123.4, "measured").per_token(100) == "1.23 J/token"
    assert card(123.4, "estimated").per_token(100) == "0.6 to 2 J/token (estimated)"
