"""Where two architectures cost the same, in closed form."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TypeVar

from bench.cost.architectures import Architecture
from bench.cost.counts import SERVICE_NODE, daily_usages
from bench.cost.inputs import DAY_SECONDS, PlanInputs, PoolPolicy
from bench.cost.ledger_cost import cost_of
from bench.cost.pools import live_devices_needed, nightly_devices, whole_instances
from bench.cost.pricebook import MissingPrice

Number = TypeVar("Number", float, Fraction)
_SECONDS = 86_400
_MOST_INSTANCES = 64  # of either pool that the stepwise closed form looks at; beyond, use the fluid one


def device_hours_break_even_speed(images_per_day: Number, devices: int = 1) -> Number:
    """Images/s per device at which ``devices`` always-on devices hold the hours that the batch takes.

    24 h x devices = images / speed, so speed = images / (86,400 s x devices). Provisioning left out. A faster
    device idles in the stream. Exact for a Fraction.
    """
    return images_per_day / (_SECONDS * devices)


def device_hours_break_even_images(images_per_second: Number, devices: int = 1) -> Number:
    """Images a day at which ``devices`` always-on devices of this speed hold the batch's hours."""
    return images_per_second * (_SECONDS * devices)


def one_instance_speed(inputs: PlanInputs) -> float:
    """The speed from which the smallest live pool carries the peak within the utilisation target."""
    smallest = whole_instances(inputs.min_devices, inputs.devices_per_instance)
    peak = inputs.images_per_day / DAY_SECONDS * inputs.at("peak_to_mean")
    return peak / inputs.at("utilisation_target") / smallest


def cost_break_even_speeds(inputs: PlanInputs) -> list[float]:
    """Speeds at which Kappa and Lambda's nightly path alone cost exactly the same, always-on pools.

    With n devices on all day and m at night, c and d the price of a device hour live and at night,
    provisioning P hours, a queue node at q an hour while the night's pool is up, and X what else the nightly
    path costs more than Kappa: 24 n c = d (N / 3600 s + m P) + q (N / 3600 s m + P) + X, solved for s, kept
    where n and m are what the sizing gives at s. Empty if there is none, if a price is missing, or if the
    pool is autoscaled. Costs step with n and m, so they can also cross in a step, without being equal.
    """
    prices = _prices(inputs, Architecture.KAPPA)
    if prices is None or inputs.pool_policy is not PoolPolicy.ALWAYS_ON:
        return []
    live, night, queue, extra = prices
    provisioning = inputs.at("provisioning_seconds") / 3600
    window = inputs.at("nightly_window_hours") * 3600
    step = inputs.devices_per_instance
    smallest = whole_instances(inputs.min_devices, step)
    sizes = range(smallest, smallest + _MOST_INSTANCES * step, step)
    found = []
    for held in sizes:
        for nightly in sizes:
            fixed = 24 * held * live - night * nightly * provisioning - queue * provisioning - extra
            if fixed <= 0:
                continue
            speed = inputs.images_per_day * (night + queue / nightly) / (3600 * fixed)
            at_speed = replace(inputs, device=inputs.device.with_speed(speed))
            sized = live_devices_needed(at_speed, inputs.at("peak_to_mean"))
            if sized == held and nightly_devices(at_speed, inputs.images_per_day, window) == nightly:
                found.append(speed)
    return sorted(found)


def fluid_break_even_speed(inputs: PlanInputs, live: Architecture = Architecture.KAPPA) -> float | None:
    """The same for pools so large that they don't step, and for any ``live`` path.

    Live hours are k times the batch's: k is peak / utilisation target for an always-on pool, 1 / utilisation
    target for an autoscaled one. Then (k c - d) N / 3600 s = X. Slower devices favour the night, faster ones
    the live path. None where no speed solves it or a price is missing.
    """
    prices = _prices(inputs, live)
    if prices is None:
        return None
    live_price, night, _, extra = prices
    peak = inputs.at("peak_to_mean") if inputs.pool_policy is PoolPolicy.ALWAYS_ON else 1.0
    dearer = peak / inputs.at("utilisation_target") * live_price - night
    if extra <= 0 or dearer <= 0:
        return None
    return dearer * inputs.images_per_day / 3600 / extra


def _prices(inputs: PlanInputs, live_path: Architecture) -> tuple[float, float, float, float] | None:
    # Price of a live and a nightly device hour and of a queue node, and what else the night costs more.
    book = inputs.book
    live = book.price(inputs.device.instance, "hour", inputs.online_purchase)
    night = book.price(inputs.device.instance, "hour", inputs.nightly_purchase)
    queue = book.price(SERVICE_NODE, "hour")
    others = [
        cost_of((u for u in daily_usages(inputs, a) if _independent_of_speed(u.pool, u.stage)), book).total()
        for a in (Architecture.LAMBDA_NIGHTLY, live_path)
    ]
    if isinstance(live, MissingPrice) or isinstance(night, MissingPrice) or isinstance(queue, MissingPrice):
        return None
    if any(total.is_lower_bound for total in others):
        return None
    devices = inputs.devices_per_instance
    extra = others[0].amount - others[1].amount
    return live.unit_price / devices, night.unit_price / devices, queue.unit_price, extra


def _independent_of_speed(pool: str, stage: str) -> bool:
    return not pool and stage != "nightly queue"
