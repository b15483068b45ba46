"""The figure of a run as files: availability over log time, both arms, both consumers, as SVG and PNG."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from reports.curves import COLOURS, Curve, availability_curves, place_labels, tick_text
from reports.stored_result import read_result

WIDTH_INCHES, HEIGHT_INCHES, DOTS_PER_INCH = 8.0, 4.5, 150
LINE_STYLES = {"online": "solid", "batch": (0, (5, 2.5))}


def write_figure(run_dir: Path) -> Path:
    """Write ``availability.svg`` and ``availability.png`` to the run folder; returns the SVG's path.

    The same run gives the same bytes. Raises ConfigurationError if the run has no result.
    """
    result = read_result(run_dir)
    curves = availability_curves(result["charts"], list(result["arms"]))
    path = run_dir / "availability.svg"
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "lkbench", "font.family": "sans-serif"}):
        figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES), layout="constrained")
        FigureCanvasAgg(figure)
        _draw(figure.add_subplot(), curves, _title(result))
        figure.savefig(path, metadata={"Date": None})
        figure.savefig(path.with_suffix(".png"), dpi=DOTS_PER_INCH, metadata={"Software": None})
    return path


def _title(result: dict[str, object]) -> str:
    validity = result["validity"]
    verdict = validity["verdict"] if isinstance(validity, dict) else ""
    return f"Availability, run {result['run_id']} ({verdict})"


def _draw(axes: Axes, curves: list[Curve], title: str) -> None:
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel("time since the scheduled arrival")
    axes.set_ylabel("fraction of keys available")
    axes.grid(visible=True, which="major", color="0.88", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    if not curves:
        axes.text(0.5, 0.5, "nothing became available", transform=axes.transAxes, ha="center")
        return
    low, high = decades(curves)
    for curve in curves:
        axes.step(
            *zip(*curve.points(10.0**high), strict=True),
            where="post",
            color=COLOURS[curve.colour],
            linestyle=LINE_STYLES.get(curve.consumer, "solid"),
            linewidth=2,
        )
    for label in place_labels(curves):
        axes.annotate(
            label.curve.label,
            (label.curve.seconds_at(label.fraction), label.fraction),
            xytext=(-6 if label.is_left else 6, 0),
            textcoords="offset points",
            ha="right" if label.is_left else "left",
            va="center",
            color=COLOURS[label.curve.colour],
            fontsize=10,
        )
    axes.set_xlim(10.0**low, 10.0**high)
    ticks = range(low, high + 1)
    axes.set_xticks([10.0**e for e in ticks], [tick_text(e) for e in ticks])


def decades(curves: list[Curve]) -> tuple[int, int]:
    """Whole decades (as exponents of seconds) that hold all curves and leave room for labels."""
    low = math.floor(math.log10(min(curve.seconds[0] for curve in curves) / 3))
    high = math.ceil(math.log10(max(curve.seconds[-1] for curve in curves) * 5))
    return low, high
