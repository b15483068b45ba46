"""The decision map as a figure: one panel per freshness objective."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy.interpolate import RegularGridInterpolator

from bench.cost.architectures import Architecture
from bench.cost.break_even import device_hours_break_even_speed, fluid_break_even_speed, one_instance_speed
from bench.cost.decision_map import (
    ARCHITECTURES,
    NONE_QUALIFIES,
    UNDECIDED,
    CostGrid,
    DecisionMap,
    MapAxis,
    compute_grid,
)
from bench.cost.inputs import PlanInputs, PoolPolicy
from bench.cost.provenance import Kind
from bench.durations import duration_text

RELAXED_SECONDS = 36 * 3600.0  # next day: the objective that a nightly batch alone can meet
# Okabe and Ito's colours, lightened: they stay apart for colour-blind readers and in grey.
_COLOURS = {
    Architecture.LAMBDA: "#e8a88a",
    Architecture.LAMBDA_NIGHTLY: "#f3d98b",
    Architecture.LAMBDA_ONLINE: "#cfa9c6",
    Architecture.KAPPA: "#8fc3e8",
}
_NOTHING = "#ffffff"
_NBSP = "\u00a0"  # keeps a name and its value on one line
Floats = npt.NDArray[np.float64]


def draw_decision_map(
    inputs: PlanInputs,
    path: Path,
    *,
    axis: MapAxis = MapAxis.SPEED,
    resolution: tuple[int, int] = (61, 49),
    simulated_resolution: tuple[int, int] = (25, 21),
) -> list[DecisionMap]:
    """Write the figure to ``path`` (.png, .svg or .pdf); returns the maps of its panels.

    The left panel is for the objective of ``inputs``, the right one for the next day, unless the objective is
    that loose already. Resolutions are (images, vertical) points.
    """
    objectives = [inputs.freshness_seconds]
    if inputs.freshness_seconds < RELAXED_SECONDS:
        objectives.append(RELAXED_SECONDS)
    grids = [
        compute_grid(inputs, *_points(inputs, axis, size), axis=axis, simulated=simulated)
        for size, simulated in ((resolution, False), (simulated_resolution, True))
    ]
    canvas = Canvas(figsize=(7.4 * len(objectives), 7.0 if len(objectives) > 1 else 8.4), dpi=130)
    FigureCanvasAgg(canvas)
    all_axes = np.atleast_1d(canvas.subplots(1, len(objectives), sharey=True))
    maps = [_panel(axes, grids[0], grids[1], o) for axes, o in zip(all_axes, objectives, strict=True)]
    all_axes[0].set_ylabel(_vertical_label(inputs, axis))
    _legend(canvas, maps, axis, columns=4 if len(objectives) > 1 else 2)
    _caption(canvas, inputs)
    canvas.suptitle("Cheapest architecture that meets the freshness objective", fontsize=14, x=0.5, y=0.985)
    wide = len(objectives) > 1
    left, bottom = (0.07, 0.30) if wide else (0.11, 0.38)
    canvas.subplots_adjust(left=left, right=0.98, top=0.89, bottom=bottom, wspace=0.08)
    canvas.savefig(path)
    return maps


def _panel(axes: Any, grid: CostGrid, simulated: CostGrid, freshness_seconds: float) -> DecisionMap:
    inputs, images, vertical = grid.inputs, grid.images_per_day, grid.vertical
    found = grid.decide(freshness_seconds, batch_table=inputs.batch_table)
    codes = np.maximum(found.winner, -1) + 1
    colours = ListedColormap([_NOTHING, *(_COLOURS[a] for a in ARCHITECTURES)])
    top = len(ARCHITECTURES) + 0.5
    axes.pcolormesh(images, vertical, codes, cmap=colours, vmin=-0.5, vmax=top, shading="nearest")
    if found.tied.any():
        tied = found.tied.astype(float)
        axes.contourf(images, vertical, tied, levels=[0.5, 1.5], colors="none", hatches=["////"])
    _simulated_line(axes, simulated, freshness_seconds)
    if grid.axis is MapAxis.SPEED:
        night = ARCHITECTURES.index(Architecture.LAMBDA_NIGHTLY)
        night_qualifies = (grid.p95_seconds[night] <= freshness_seconds).any()
        _closed_form_lines(axes, inputs, images, night_qualifies=bool(night_qualifies))
    level = _level(inputs, grid.axis)
    if level is not None:
        star = {"color": "black", "markersize": 17, "markeredgecolor": "white", "zorder": 6}
        axes.plot(inputs.images_per_day, level, "*", **star)
    axes.set(xscale="log", yscale="log", xlim=(images[0], images[-1]), ylim=(vertical[0], vertical[-1]))
    axes.set_xlabel("images per day")
    table = "with a Hive table" if inputs.batch_table else "online consumers only"
    within = duration_text(freshness_seconds).replace(".0 ", " ")
    axes.set_title(f"95 % available online within {within}, {table}", fontsize=11)
    if (found.winner == UNDECIDED).all():
        text = "undecided:\na price is missing"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", fontsize=14)
    return found


def _simulated_line(axes: Any, grid: CostGrid, freshness_seconds: float) -> None:
    found = grid.decide(freshness_seconds, batch_table=grid.inputs.batch_table)
    x, y = np.log10(grid.images_per_day), np.log10(grid.vertical)
    fine_x, fine_y = np.linspace(x[0], x[-1], 8 * x.size), np.linspace(y[0], y[-1], 8 * y.size)
    mesh = np.meshgrid(fine_y, fine_x, indexing="ij")
    for own in found.margin:
        # Interpolated between the logarithms, as the eye does on these axes; contour() alone would not.
        margin = np.ma.masked_invalid(RegularGridInterpolator((y, x), own)(tuple(mesh)))
        if margin.count() and margin.min() < 0 < margin.max():
            axes.contour(10**fine_x, 10**fine_y, margin, levels=[0.0], colors="black", linewidths=2.2)


def _points(inputs: PlanInputs, axis: MapAxis, size: tuple[int, int]) -> tuple[Floats, Floats]:
    return np.logspace(4, 10, size[0]), np.geomspace(*_vertical_range(inputs, axis), size[1])


def _closed_form_lines(axes: Any, inputs: PlanInputs, images: Floats, *, night_qualifies: bool) -> None:
    points = [replace(inputs, images_per_day=float(value)) for value in images]
    hours = [device_hours_break_even_speed(point.images_per_day) for point in points]
    axes.plot(images, hours, color="#555555", linewidth=1.6, linestyle="--")
    axes.plot(
        images, [one_instance_speed(point) for point in points], color="#555555", linewidth=1.6, linestyle=":"
    )
    if not night_qualifies:
        return
    # The fluid line holds where pools are large: below the line from which one instance is enough.
    live = [a for a in ARCHITECTURES if a.parts.live_pool and (a.parts.table or not inputs.batch_table)]
    fluid = [min(fluid_break_even_speed(p, a) or np.inf for a in live) for p in points]
    fluid = [s if s < one_instance_speed(p) else np.nan for s, p in zip(fluid, points, strict=True)]
    axes.plot(images, fluid, color="#b2182b", linewidth=2.2, linestyle="-.")


def _legend(canvas: Canvas, maps: Sequence[DecisionMap], axis: MapAxis, columns: int) -> None:
    shown = [a for i, a in enumerate(ARCHITECTURES) if any((m.winner == i).any() for m in maps)]
    handles: list[Any] = [Patch(facecolor=_COLOURS[a], label=a.parts.label) for a in shown]
    if any((m.winner == NONE_QUALIFIES).any() for m in maps):
        handles.append(Patch(facecolor=_NOTHING, edgecolor="black", label="none meets the objective"))
    if any(m.tied.any() for m in maps):
        handles.append(Patch(facecolor="white", edgecolor="black", hatch="////", label="tie: within 5 %"))
    handles.append(
        Line2D([], [], color="black", linewidth=2.2, label="simulated: the cheapest two cost the same")
    )
    if axis is MapAxis.SPEED:
        handles += [
            Line2D(
                [],
                [],
                color="#b2182b",
                linewidth=2.2,
                linestyle="-.",
                label="closed form: live path = nightly only",
            ),
            Line2D(
                [], [], color="#555555", linestyle="--", label="1 always-on device = the batch's device hours"
            ),
            Line2D(
                [], [], color="#555555", linestyle=":", label="above: the smallest live pool carries the peak"
            ),
        ]
    handles.append(Line2D([], [], marker="*", color="black", linestyle="", markersize=12, label="your point"))
    canvas.legend(
        handles=handles,
        loc="lower center",
        ncol=columns,
        fontsize=9,
        bbox_to_anchor=(0.5, 0.115 if columns > 2 else 0.14),
        frameon=False,
    )


def _caption(canvas: Canvas, inputs: PlanInputs) -> None:
    speed = inputs.device.images_per_second
    coefficients = inputs.coefficients
    names = (
        "peak_to_mean",
        "utilisation_target",
        "provisioning_seconds",
        "nightly_window_hours",
        "results_per_put",
    )
    assumed = [
        f"{name.replace('_', _NBSP)}{_NBSP}{getattr(coefficients, name).value:g}"
        for name in names
        if getattr(coefficients, name).kind is Kind.ASSUMED
    ]
    pool = "always-on" if inputs.pool_policy is PoolPolicy.ALWAYS_ON else "autoscaled"
    text = (
        f"Your point: {inputs.images_per_day:,.0f} images a day at {speed.value:g} images/s per device of "
        f"{inputs.device.instance} ({speed.kind}: {speed.source}). Live pool {pool}. "
        f"Prices: {inputs.book.name}, {inputs.book.currency}. Yearly cost incl. "
        f"{inputs.at('upgrades_per_year'):g} full backfill(s). ASSUMED: {', '.join(assumed)}, and the "
        "resource counts per image (lkbench plan lists all). "
        "No figure here is Pinterest's."
    )
    width = 190 if inputs.freshness_seconds < RELAXED_SECONDS else 100
    canvas.text(0.5, 0.02, "\n".join(textwrap.wrap(text, width)), ha="center", va="bottom", fontsize=8.5)


def _vertical_range(inputs: PlanInputs, axis: MapAxis) -> tuple[float, float]:
    level = _level(inputs, axis)
    default = (10.0, 20_000.0) if axis is MapAxis.SPEED else (0.1, 100.0)
    if level is None:
        return default
    return min(default[0], level / 3), max(default[1], level * 3)


def _level(inputs: PlanInputs, axis: MapAxis) -> float | None:
    if axis is MapAxis.SPEED:
        return inputs.device.images_per_second.value
    line = inputs.book.lines.get(inputs.device.instance)
    return line.price if line else None


def _vertical_label(inputs: PlanInputs, axis: MapAxis) -> str:
    if axis is MapAxis.SPEED:
        return "images per second per device"
    return f"{inputs.book.currency} per hour of {inputs.device.instance}"
