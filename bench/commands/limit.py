"""``lkbench limit``: how fast this machine could be with this model if there were no architecture."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click
import orjson
from rich.console import Group, RenderableType
from rich.text import Text

from bench.commands.options import FiniteRange
from bench.commands.results_console import results_console, stderr_lines
from bench.config import HarnessConfig
from bench.figures_table import figures_table
from bench.images import load_dataset
from bench.limit.measure import WINDOW_SECONDS, WINDOWS, Limit, measure_limit
from bench.limit.staged import staged
from bench.limit.worker import Work
from bench.setup import prepare

SAMPLE = 400  # images; windows go through them again and again
MIN_WINDOWS = 5
LABELS = {
    Work.DECODE: "decode and resize",
    Work.MEMORY: "decode + inference, bytes in memory",
    Work.S3: "GET from S3 + decode + inference",
}


@click.command()
@click.option("--images", default="crops", show_default=True, help="A data set by name, or a folder.")
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="TOML file; the model and the device are taken from it.",
)
@click.option("--windows", type=click.IntRange(MIN_WINDOWS), default=WINDOWS, show_default=True)
@click.option(
    "--window-seconds", type=FiniteRange(0.2), default=WINDOW_SECONDS, show_default=True, help="Of each."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
def limit(images: str, config_path: Path | None, windows: int, window_seconds: float, as_json: bool) -> None:
    """Measure the bare loop: decode, inference, both, and both with a GET from an S3 endpoint.

    It is tried in several layouts of processes and threads; the fastest is measured, in interleaved windows
    of which the median is shown. The last line is the limit L that throughputs are compared with.
    """
    note = stderr_lines()
    config = HarnessConfig.load(config_path)
    model_dir = prepare(config, note).model_dir
    dataset = load_dataset(images, note)
    sample = dataclasses.replace(dataset, images=dataset.images[:SAMPLE])
    with staged(config, sample, model_dir) as source:
        found = measure_limit(
            source.material,
            watched=source.watched,
            windows=windows,
            window_seconds=window_seconds,
            progress=note,
        )
    if as_json:
        click.echo(orjson.dumps(as_plain(found), option=orjson.OPT_INDENT_2))
    else:
        results_console().print(limit_table(found))


def as_plain(found: Limit) -> dict[str, object]:
    """JSON-able; units are in the names."""
    return {
        "images_per_second": found.images_per_second,
        "layout": dataclasses.asdict(found.layout),
        "layouts_images_per_second": dict(found.searched),
        "measured": {name: dataclasses.asdict(item) for name, item in found.measured.items()},
    }


def limit_table(found: Limit) -> RenderableType:
    """All kinds of work, the limit last."""
    table = figures_table("bare loop", "images/s", "core-ms per image", "core-ms of S3 server", "spread")
    for name, item in found.measured.items():
        label = LABELS[Work(name)] if name in LABELS else name.replace("_", " ")
        server = f"{item.server_core_ms_per_image:.2f}" if name == Work.S3 else "-"
        table.add_row(
            label,
            f"{item.images_per_second:.1f}",
            f"{item.core_ms_per_image:.2f}",
            server,
            f"{item.spread:.1%}",
        )
    windows = next(iter(found.measured.values())).windows
    return Group(
        table,
        Text(),
        Text(f"L = {found.images_per_second:.1f} images/s, median of {windows} windows", style="bold"),
        Text(f"layout: {found.layout}"),
    )
