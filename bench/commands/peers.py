"""``lkbench peers``: our paths beside what a user would write instead, in one run."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Group, RenderableType
from rich.text import Text

from bench.commands.options import Names, json_option
from bench.commands.outcome import check_option, hold, keep
from bench.commands.results_console import results_console, stderr_lines
from bench.commands.throughput_tables import targets_table
from bench.config import HarnessConfig
from bench.figures_table import figures_table
from bench.images import load_dataset
from bench.limit.measure import usual_layout
from bench.limit.windows import Windows
from bench.peers.comparison import NIGHTLY, STREAM, peer_targets
from bench.peers.figures import Figure, SystemFigures, figures, median
from bench.peers.offer import LATENCY_IMAGES, Arrivals
from bench.peers.reference import Reference
from bench.peers.rounds import Measured
from bench.peers.run_ours import arm_lines_of_code, observe_nightly, observe_stream
from bench.peers.run_peer import PeerRunner
from bench.peers.task import PEERS, Programs
from bench.setup import prepare
from bench.throughput.spread import Spread
from bench.throughput.stand import stand
from signals.errors import ConfigurationError

SYSTEMS = (NIGHTLY, "daft", "mapinarrow", STREAM, "bytewax", "faust")


@click.command()
@click.option("--count", type=click.IntRange(200), default=2000, show_default=True, help="Images per drain.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Of all systems.")
@click.option(
    "--systems",
    type=Names(SYSTEMS),
    default=",".join(SYSTEMS),
    show_default=True,
    help="What is measured, in order.",
)
@click.option(
    "--environments",
    type=click.Path(path_type=Path),
    default=Path(".nox"),
    show_default=True,
    help="Folder with an environment peer-NAME for each; nox -s peers makes them.",
)
@click.option(
    "--programs",
    type=click.Path(path_type=Path),
    default=Path("peers"),
    show_default=True,
    help="Folder with the peers' programs.",
)
@json_option
@check_option
def peers(
    count: int,
    rounds: int,
    systems: tuple[str, ...],
    environments: Path,
    programs: Path,
    json_path: Path | None,
    check: bool,
) -> None:
    """Drain the same images through our paths and through programs that a user would write instead.

    Each system has windows of the bare loop before it is started and after it was
    stopped. Streams are offered half of the bare loop's rate, too, which are the same
    arrivals for all, and half of their own. A peer's embeddings must equal ours. Leave
    the machine alone meanwhile; when interrupted, what was measured so far is shown and
    written. A peer that crashes is measured once more in its round, and the crash is told.
    """
    note = stderr_lines()
    where = Programs(programs, environments)
    for peer in PEERS:
        if peer.name in systems:
            where.command(peer)
    config = HarnessConfig()
    dataset = load_dataset("crops", note)
    needed = max(count, LATENCY_IMAGES)
    if needed > len(dataset.images):
        raise ConfigurationError(f"--count {count}: the data set has {len(dataset.images)} images")
    dataset = dataclasses.replace(dataset, images=dataset.images[:needed])
    model_dir = prepare(config, note).model_dir
    measured = Measured()
    layout, is_complete = usual_layout(config.inference), False
    try:
        with (
            stand(config, dataset, note) as servers,
            servers.bare_loop(model_dir, layout) as loop,
        ):
            reference = Reference(servers, model_dir, count)
            runner = PeerRunner(servers, model_dir, where, reference)
            windows = Windows(loop)
            limit_per_second = statistics.fmean(windows.take().images_per_second for _ in range(2))

            def observe(name: str, number: int) -> SystemFigures:
                arrivals = Arrivals.of_round(number, limit_per_second)
                return _observe(runner, windows, name, number + 1, count, arrivals)

            measured.measure(observe, systems, rounds, note)
        is_complete = True
    finally:
        if measured.found:
            results_console().print(tables(measured))
            keep(json_path, as_plain(measured), is_complete=is_complete)
    if check:
        hold(peer_targets(measured.found))


def _observe(
    runner: PeerRunner, windows: Windows, name: str, round_number: int, count: int, arrivals: Arrivals
) -> SystemFigures:
    with windows.around() as bare:  # no system is up then: some poll while they have nothing to do
        if name == NIGHTLY:
            seen, lines = observe_nightly(runner.stand, runner.model_dir, count), arm_lines_of_code("lambda")
        elif name == STREAM:
            seen = observe_stream(runner.stand, runner.model_dir, count, arrivals)
            lines = arm_lines_of_code("kappa")
        else:
            (peer,) = (peer for peer in PEERS if peer.name == name)
            seen, lines = runner.observe(peer, count, arrivals), runner.programs.lines_of_code(peer)
    return figures(name, round_number, lines, seen, bare)


def as_plain(measured: Measured) -> dict[str, object]:
    """JSON-able; units are in the names."""
    return {
        "measured": [{**dataclasses.asdict(item), "ratio": item.ratio} for item in measured.found],
        "failures": measured.failures,
        "targets": [target.as_plain() for target in peer_targets(measured.found)],
    }


def tables(measured: Measured) -> RenderableType:
    """Medians of the rounds, what they are held to, and what failed."""
    found = measured.found
    columns = ("images/s", "of L", "first s", "core-ms", "MiB", "p50 ms", "p99 ms", "own p99", "lines")
    table = figures_table("system", *columns)
    for name in dict.fromkeys(item.system for item in found):
        rounds = [item for item in found if item.system == name]
        table.add_row(
            name,
            _spread(rounds, lambda f: f.images_per_second, 1),
            _spread(rounds, lambda f: f.ratio, 3),
            _shown(median(rounds, lambda f: f.first_image_seconds), "{:.1f}"),
            _shown(median(rounds, lambda f: sum(f.core_ms_by_process.values())), "{:.2f}"),
            _shown(median(rounds, lambda f: f.peak_bytes / 2**20), "{:.0f}"),
            _spread(rounds, lambda f: f.common_half.p50_seconds * 1e3 if f.common_half else None, 0),
            _spread(rounds, lambda f: f.common_half.p99_seconds * 1e3 if f.common_half else None, 0),
            _spread(rounds, lambda f: f.own_half.p99_seconds * 1e3 if f.own_half else None, 0),
            str(rounds[0].lines_of_code),
        )
    cosine = min((item.smallest_cosine for item in found if item.smallest_cosine is not None), default=None)
    notes = (
        "Medians of the rounds (smallest-largest). L: the bare loop before and after. first: until the "
        "first image was done. core-ms per image, memory: of the system's own processes; object store, "
        "broker, PostgreSQL left out. p50, p99: at half of L, the same arrivals for all; own p99: at half of "
        "the system's own rate. Targets: ours divided by the peer's of the same round, median of the rounds, "
        "against the peer that does best. lines: of code; "
        "of ours, the arm's package and the shared core. Smallest cosine of a peer's embeddings to ours: "
        f"{_shown(cosine, '{:.6f}')}."
    )
    failed = [Text(f"failed: {line}", style="yellow") for line in measured.failures]
    return Group(table, *failed, Text(), targets_table(peer_targets(found)), Text(notes, style="dim"))


def _spread(rounds: Sequence[SystemFigures], figure: Figure, digits: int) -> str:
    spread = Spread.of(value for item in rounds if (value := figure(item)) is not None)
    return "-" if spread is None else spread.shown(digits)


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
