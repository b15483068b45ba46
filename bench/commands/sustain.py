"""``lkbench sustain``: the highest rate that an arm keeps up with."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson
from rich.table import Table

from bench.arms import load_arm
from bench.commands.duration import Duration
from bench.commands.options import FiniteRange, config_option, output_option
from bench.commands.results_console import results_console, stderr_lines
from bench.config import HarnessConfig
from bench.durations import duration_text
from bench.exit_codes import ExitCode
from bench.figures_table import figures_table
from bench.images import load_dataset
from bench.run import RunSettings
from bench.run_folder import folder_name, new_token
from bench.services.needs import servers_needed
from bench.services.shared import shared_servers
from signals.errors import ConfigurationError

if TYPE_CHECKING:
    from bench.sustain.search import Search

SCHEMA_VERSION = 1
DEFAULTS = RunSettings()


@click.command()
@click.argument("arm")
@click.option(
    "--start-rate", type=float, default=20.0, show_default=True, help="Arrivals/s of the first probe."
)
@click.option("--lowest-rate", type=float, default=1.0, show_default=True, help="Where the search gives up.")
@click.option("--window", type=Duration(), default="15s", show_default=True, help="Length of a probe's load.")
@click.option(
    "--precision", type=FiniteRange(0.005, 1), default=0.1, show_default=True, help="Share to bisect to."
)
@click.option("--images", default=DEFAULTS.images, show_default=True, help="A data set by name, or a folder.")
@click.option("--workload", default="constant", show_default=True, help="Name, or a TOML file.")
@config_option
@output_option
@click.option("--json", "as_json", is_flag=True, help="The result as JSON on stdout, in place of the table.")
def sustain(
    arm: str,
    start_rate: float,
    lowest_rate: float,
    window: float,
    precision: float,
    images: str,
    workload: str,
    config_path: Path | None,
    output: Path,
    as_json: bool,
) -> None:
    """Search the highest rate at which the online latency of ARM does not keep growing.

    Doubles the rate until latency grows, then bisects. A rate counts as sustained only where growth is ruled
    out with confidence: what can't be measured is not sustained. The nightly work is left out.
    """
    from bench.sustain.probe import MIN_WINDOW_SECONDS, ArmProbe
    from bench.sustain.search import LONGER, search

    if window < MIN_WINDOW_SECONDS or not 0 < lowest_rate <= start_rate:
        raise ConfigurationError(
            f"--window is at least {MIN_WINDOW_SECONDS:g} s; --lowest-rate is above 0, at most --start-rate"
        )
    # Every image of a probe is new, so the data set bounds what can be offered for the longer window.
    highest_rate = len(load_dataset(images).images) / (LONGER * window)
    if highest_rate < start_rate:
        raise ConfigurationError(
            f"the data set {images} lasts for {highest_rate:.0f} arrivals/s: lower --start-rate or --window, "
            "or give more --images"
        )
    say = stderr_lines()
    folder = (output / folder_name(new_token(), "sustain")).resolve()
    needed = servers_needed([load_arm(arm)])
    with shared_servers(folder, HarnessConfig.load(config_path), needed, say) as config:
        found = search(
            ArmProbe(arm, workload, images, folder, config, say),
            start_rate=start_rate,
            lowest_rate=lowest_rate,
            highest_rate=highest_rate,
            window_seconds=window,
            precision=precision,
        )
    encoded = orjson.dumps(_document(arm, precision, found), option=orjson.OPT_INDENT_2)
    (folder / "sustain.json").write_bytes(encoded)
    if as_json:
        click.echo(encoded)
    else:
        results_console().print(_table(arm, found))
    say(f"folder: {folder}")
    if found.sustained is None:
        sys.exit(ExitCode.VERIFICATION_FAILED)


def _document(arm: str, precision: float, found: Search) -> dict[str, Any]:
    from bench.sustain.lag import CONFIDENCE, TOLERANCE

    return {
        "schema_version": SCHEMA_VERSION,
        "source": "measured",
        "arm": arm,
        "sustained_per_second": found.sustained,
        "unsustained_per_second": found.unsustained,
        "confidence": CONFIDENCE,
        "lag_slope_limit": TOLERANCE,
        "precision": precision,
        "probes": [{**asdict(probe), "verdict": probe.verdict} for probe in found.probes],
    }


def _table(arm: str, found: Search) -> Table:
    from bench.sustain.lag import CONFIDENCE

    title = f"{arm}: no rate was sustained"
    if found.sustained is not None and found.unsustained is not None:
        title = f"{arm} sustains {found.sustained:.1f}/s, not {found.unsustained:.1f}/s"
    elif found.sustained is not None:
        title = f"{arm} sustains at least {found.sustained:.1f}/s, the most that was offered"
    columns = ("rate /s", "window", "median", f"lag slope s/s ({CONFIDENCE:.0%})", "verdict")
    table = figures_table(*columns, texts=("verdict",), title=title)
    for probe in found.probes:
        slope = probe.slope
        table.add_row(
            f"{probe.rate_per_second:.1f}",
            duration_text(probe.window_seconds),
            duration_text(probe.p50_seconds) if probe.p50_seconds is not None else "",
            slope.reason or f"{slope.value:+.4f} [{slope.low:+.4f}, {slope.high:+.4f}]",
            probe.verdict,
        )
    return table
