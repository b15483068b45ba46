"""How many devices a pool needs, and the hours it holds and uses. Closed forms; the simulator checks them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import minimum_filter1d

from bench.cost.day_curve import GRID, DayCurve
from bench.cost.inputs import DAY_SECONDS, PlanInputs, PoolPolicy

_ROUNDING = 1e-9  # 3.0000000000000004 devices are 3: an exact load must not need one more


@dataclass(frozen=True, slots=True)
class PoolHours:
    """Device hours of one pool in a day. ``devices`` is the largest number held at once."""

    pool: str
    devices: int
    allocated_hours: float
    busy_hours: float
    formula: str

    @property
    def idle_hours(self) -> float:
        """Held, and not inside inference."""
        return max(self.allocated_hours - self.busy_hours, 0.0)


def whole_instances(devices: float, per_instance: int) -> int:
    """Devices, rounded up to what can be rented."""
    return math.ceil(devices / per_instance - _ROUNDING) * per_instance


def busy_hours(inputs: PlanInputs, images: float) -> float:
    """Device hours inside inference, in full batches."""
    return images / inputs.device.images_per_second.value / 3600


def live_devices_needed(inputs: PlanInputs, relative_rate: float) -> int:
    """Devices that keep utilisation at or below the target while the rate is ``relative_rate`` x the mean."""
    per_device = inputs.device.images_per_second.value * inputs.at("utilisation_target")
    needed = inputs.images_per_day / DAY_SECONDS * relative_rate / per_device
    return whole_instances(max(needed, inputs.min_devices), inputs.devices_per_instance)


def live_pool(inputs: PlanInputs, pool: str) -> PoolHours:
    """The pool that serves live traffic, sized by the policy."""
    busy = busy_hours(inputs, inputs.images_per_day)
    devices = live_devices_needed(inputs, inputs.at("peak_to_mean"))
    if inputs.pool_policy is PoolPolicy.ALWAYS_ON:
        return PoolHours(pool, devices, devices * 24.0, busy, "devices for the peak x 24 h")
    target, _ = autoscaled_devices(inputs)
    formula = "mean over the day of devices for the rate, held from launch to release"
    return PoolHours(pool, int(target.max()), float(target.mean()) * 24.0, busy, formula)


def autoscaled_devices(inputs: PlanInputs) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Devices held, and devices ready, at every minute of a day (both int64, shape (1440,)).

    The scaler sees the rate and wants enough devices at the target utilisation. A device is ready once it has
    been wanted for the provisioning time; it is released as soon as it isn't wanted. It is held, and paid,
    from its launch.
    """
    rate = DayCurve.of(inputs.at("peak_to_mean")).rate(np.arange(GRID) / GRID)
    per_device = inputs.device.images_per_second.value * inputs.at("utilisation_target")
    needed = np.maximum(inputs.images_per_day / DAY_SECONDS * rate / per_device, inputs.min_devices)
    step = inputs.devices_per_instance
    target = (np.ceil(needed / step - _ROUNDING) * step).astype(np.int64)
    window = math.ceil(inputs.at("provisioning_seconds") / (DAY_SECONDS / GRID)) + 1
    # The window [minute - delay, minute] looks back only: shift the centred filter by half its size.
    ready = minimum_filter1d(target, window, mode="wrap", origin=(window - 1) // 2)
    return target, ready.astype(np.int64)


def nightly_devices(inputs: PlanInputs, images: float, window_seconds: float) -> int:
    """Devices that finish ``images`` within ``window_seconds`` once they are up."""
    needed = images / (inputs.device.images_per_second.value * window_seconds)
    return whole_instances(max(needed, inputs.min_devices), inputs.devices_per_instance)


def batch_pool(
    inputs: PlanInputs, pool: str, images: float, window_seconds: float, provisioning_seconds: float
) -> PoolHours:
    """A pool that is spun up, works at full speed until all is done, and is spun down together."""
    devices = nightly_devices(inputs, images, window_seconds)
    busy = busy_hours(inputs, images)
    allocated = busy + devices * provisioning_seconds / 3600
    return PoolHours(pool, devices, allocated, busy, "images / speed + devices x provisioning")


def nightly_pool(inputs: PlanInputs) -> PoolHours:
    """Lambda's nightly pool."""
    window = inputs.at("nightly_window_hours") * 3600
    return batch_pool(inputs, "nightly", inputs.images_per_day, window, inputs.at("provisioning_seconds"))


def backfill_pool(inputs: PlanInputs) -> PoolHours:
    """Device hours of one backfill of the whole corpus (a model upgrade)."""
    window = inputs.at("backfill_window_days") * DAY_SECONDS
    corpus = inputs.images_per_day * inputs.at("retention_days")
    return batch_pool(inputs, "backfill", corpus, window, inputs.at("provisioning_seconds"))


def inference_night_seconds(pool: PoolHours) -> float:
    """Wall time of a batch pool from launch to release."""
    return pool.allocated_hours / pool.devices * 3600
