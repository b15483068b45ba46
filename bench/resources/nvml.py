"""What NVIDIA's management library says of the machine's GPUs: utilisation, memory, power, energy, clocks.

A machine without a driver or a GPU has no readings, and nothing fails. A counter that a GPU lacks (energy,
before Volta) is null.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pynvml

from bench.sample_file import sampled

SAMPLE_SECONDS = 0.2  # a GPU's own utilisation is over 1/6 s to 1 s, by model


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, for the manifest. Clocks are the highest that it may run at, in MHz."""

    index: int
    name: str
    uuid: str
    memory_bytes: int | None
    driver: str
    max_sm_clock_mhz: int | None
    max_memory_clock_mhz: int | None


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One look at one GPU."""

    unix_ns: int
    index: int
    utilisation: float | None  # share of the time in which a kernel ran, 0 to 1
    memory_bytes: int | None  # in use, by everybody
    power_watts: float | None
    energy_joules: float | None  # since the driver was loaded
    sm_clock_mhz: int | None
    temperature_celsius: int | None


class Nvml:
    """The library, open. ``library`` is pynvml; raises its NVMLError where there is no driver."""

    def __init__(self, library: Any = pynvml) -> None:
        self._nvml = library
        library.nvmlInit()
        self._handles = [library.nvmlDeviceGetHandleByIndex(i) for i in range(library.nvmlDeviceGetCount())]

    def close(self) -> None:
        """Close the library."""
        self._nvml.nvmlShutdown()

    def gpus(self) -> list[Gpu]:
        """Every GPU of the machine."""
        return [self._gpu(index, handle) for index, handle in enumerate(self._handles)]

    def sample(self) -> list[GpuSample]:
        """Every GPU, now."""
        return [self._sample(index, handle) for index, handle in enumerate(self._handles)]

    def _gpu(self, index: int, handle: Any) -> Gpu:
        nvml = self._nvml
        return Gpu(
            index=index,
            name=_text(nvml.nvmlDeviceGetName(handle)),
            uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
            memory_bytes=self._try(lambda: int(nvml.nvmlDeviceGetMemoryInfo(handle).total)),
            driver=_text(nvml.nvmlSystemGetDriverVersion()),
            max_sm_clock_mhz=self._try(lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM)),
            max_memory_clock_mhz=self._try(
                lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_MEM)
            ),
        )

    def _sample(self, index: int, handle: Any) -> GpuSample:
        nvml = self._nvml
        return GpuSample(
            unix_ns=time.time_ns(),
            index=index,
            utilisation=self._try(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100),
            memory_bytes=self._try(lambda: int(nvml.nvmlDeviceGetMemoryInfo(handle).used)),
            power_watts=self._try(lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1e3),
            energy_joules=self._try(lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3),
            sm_clock_mhz=self._try(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
            temperature_celsius=self._try(
                lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)
            ),
        )

    def _try(self, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except self._nvml.NVMLError:  # this GPU has no such counter
            return None


def gpu_file(run_dir: Path) -> Path:
    """Where the samples of a run are: JSON lines. Absent without a GPU."""
    return run_dir / "ledger" / "gpu.jsonl"


def gpus() -> list[Gpu]:
    """The machine's GPUs; none without a driver."""
    with opened() as nvml:
        return nvml.gpus() if nvml else []


@contextlib.contextmanager
def opened() -> Iterator[Nvml | None]:
    """The library while inside; None where it or its driver is missing."""
    try:
        nvml = Nvml()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield nvml
    finally:
        nvml.close()


@contextlib.contextmanager
def watched_gpus(run_dir: Path, nvml: Nvml | None, seconds: float = SAMPLE_SECONDS) -> Iterator[None]:
    """While inside, append a line per GPU and interval to :func:`gpu_file`. Without ``nvml``: nothing."""
    if nvml is None or not nvml.gpus():
        yield
        return
    with sampled(gpu_file(run_dir), nvml.sample, seconds, "gpu-watch"):
        yield


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
