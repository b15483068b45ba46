"""GPU readings: what the library says, in our units; null where a GPU lacks a counter."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from bench.ledger_query import open_ledger
from bench.resources.nvml import GpuSample, Nvml, gpu_file, gpus, opened, watched_gpus
from bench.results import compute_result
from signals.ledger import Stage
from tests.unit.synthetic_run import EPOCH, SECOND, SyntheticRun, complete_run


class Library:
    """Answers as pynvml does for one old GPU: no energy counter."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        self.nvmlShutdown = self.nvmlInit = lambda: None
        self.nvmlDeviceGetCount = lambda: 1
        self.nvmlDeviceGetHandleByIndex = lambda index: index
        self.nvmlSystemGetDriverVersion = lambda: b"580.65"
        self.nvmlDeviceGetName = lambda handle: "Tesla K80"
        self.nvmlDeviceGetUUID = lambda handle: "GPU-1"
        self.nvmlDeviceGetMemoryInfo = lambda handle: SimpleNamespace(total=12 * 2**30, used=2**30)
        self.nvmlDeviceGetMaxClockInfo = lambda handle, kind: {1: 875, 2: 2505}[kind]
        self.nvmlDeviceGetClockInfo = lambda handle, kind: 562
        self.nvmlDeviceGetUtilizationRates = lambda handle: SimpleNamespace(gpu=40, memory=10)
        self.nvmlDeviceGetPowerUsage = lambda handle: 61_500
        self.nvmlDeviceGetTemperature = lambda handle, kind: 51

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: object) -> int:  # noqa: N802
        raise self.NVMLError("Not Supported")


def test_readings_are_in_our_units_and_null_where_there_is_no_counter() -> None:
    nvml = Nvml(Library())
    (gpu,) = nvml.gpus()
    assert (gpu.name, gpu.driver, gpu.memory_bytes, gpu.max_sm_clock_mhz) == (
        "Tesla K80",
        "580.65",
        12 * 2**30,
        875,
    )
    (sample,) = nvml.sample()
    assert (sample.utilisation, sample.power_watts, sample.energy_joules) == (0.4, 61.5, None)


def test_samples_are_kept_as_lines_until_the_end(tmp_path: Path) -> None:
    with watched_gpus(tmp_path, Nvml(Library()), seconds=600):
        pass
    *_, line = gpu_file(tmp_path).read_bytes().splitlines()  # the last look, at the end
    assert orjson.loads(line)["memory_bytes"] == 2**30


def test_without_a_driver_there_is_nothing(tmp_path: Path) -> None:
    with watched_gpus(tmp_path, None):
        pass
    assert not gpu_file(tmp_path).exists()


def sampled(run: SyntheticRun) -> Path:
    worker: dict[str, Any] = {"arm": "kappa", "pool": "stream", "device": "cuda:0 Tesla T4", "process": "w"}
    run.row(Stage.DEVICE_PROVISIONED, 0.0, 1.0, **worker)
    run.row(Stage.DEVICE_BUSY, 2.0, 4.0, **worker)
    run.row(Stage.DEVICE_RELEASED, 1.0, 10.0, **worker)
    lines = []
    for second in range(13):  # three of them after the release
        busy = 1.0 if 2 <= second < 4 else 0.0
        sample = GpuSample(EPOCH + second * SECOND, 0, busy, 2**30 + second, 50.0, 50.0 * second, 1500, 40)
        lines.append(orjson.dumps(asdict(sample)))
    run_dir = run.write()
    gpu_file(run_dir).write_bytes(b"\n".join(lines))
    return run_dir


def test_energy_and_busy_time_of_an_arm_are_those_of_its_span(tmp_path: Path) -> None:
    run = complete_run(tmp_path / "run")
    with open_ledger(sampled(run)) as query:
        whole = [row for row in query.rows("gpu") if row["replicate"] is None]
    assert [(row["arm"], row["samples"]) for row in whole] == [("kappa", 11)]
    assert whole[0]["energy_joules"] == pytest.approx(500.0)
    assert whole[0]["busy_hours"] * 3600 == pytest.approx(2.0)
    assert whole[0]["utilisation"] == pytest.approx(0.2)


def test_a_run_without_a_gpu_has_no_rows(tmp_path: Path) -> None:
    result = compute_result(complete_run(tmp_path / "run").write())
    assert result["arms"]["kappa"]["gpu"]["rows"] == []


@pytest.mark.gpu
def test_a_real_gpu_answers() -> None:
    found = gpus()
    assert found
    assert all(gpu.name and gpu.memory_bytes for gpu in found)
    with opened() as nvml:
        assert nvml is not None
        first = nvml.sample()
        time.sleep(0.5)
        last = nvml.sample()
    assert all(0 <= (sample.utilisation or 0) <= 1 for sample in last)
    for before, after in zip(first, last, strict=True):
        if before.energy_joules is not None and after.energy_joules is not None:
            assert after.energy_joules > before.energy_joules
