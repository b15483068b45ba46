"""``lkbench gate``: whether a run may pass."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bench.commands.compare import again_option, detect_option, paired_option
from bench.commands.options import output_option
from bench.commands.results_console import results_console
from bench.compare.sides import find_side
from bench.exit_codes import MEANINGS, ExitCode
from bench.gate.configuration import load_thresholds
from bench.gate.documents import gate_markdown, gate_table, write_junit
from bench.gate.evaluate import run_gate

_CODES = (
    ExitCode.OK,
    ExitCode.THRESHOLD_BREACHED,
    ExitCode.REGRESSION,
    ExitCode.NOT_DECIDABLE,
    ExitCode.INVALID_RUN,
    ExitCode.UNLIKE_RUNS,
    ExitCode.BAD_CONFIGURATION,
    ExitCode.TOOL_ERROR,
    ExitCode.INTERRUPTED,
)
EPILOG = "\b\nExit codes:\n" + "\n".join(f"{code.value:>4}  {MEANINGS[code]}" for code in _CODES)
thresholds_option = click.option(
    "--thresholds",
    "thresholds_path",
    type=click.Path(path_type=Path),
    help="File with the thresholds. [default: [tool.lkbench.gate] of ./pyproject.toml]",
)
threshold_option = click.option(
    "-t", "--threshold", "texts", multiple=True, help="A threshold, in place of a file. Repeat it."
)
junit_option = click.option("--junit", type=click.Path(path_type=Path), help="Write JUnit XML here.")


@click.command(epilog=EPILOG)
@click.argument("run")
@click.option("--base", help="The run to compare with: id, folder, file, tag, or a folder of runs.")
@again_option
@paired_option
@detect_option
@thresholds_option
@threshold_option
@junit_option
@click.option("--markdown", "as_markdown", is_flag=True, help="Markdown on stdout, for a job summary.")
@output_option
def gate(
    run: str,
    base: str | None,
    again: str | None,
    is_paired: bool,
    detect: float,
    thresholds_path: Path | None,
    texts: tuple[str, ...],
    junit: Path | None,
    as_markdown: bool,
    output: Path,
) -> None:
    """Check a run against thresholds, and fail where one does not hold.

    \b
    Examples of thresholds:
      kappa.online.p95 < 2 s
      lambda.gpu_hours <= +3 % vs base
      agreement == 1

    What was not measured does not hold. An INVALID run passes no gate.
    """
    wanted = list(texts) or load_thresholds(thresholds_path)
    report = run_gate(
        wanted,
        find_side(run, output),
        find_side(base, output) if base else None,
        again=find_side(again, output) if again else None,
        is_paired=is_paired,
        detect=detect,
    )
    if junit is not None:
        click.echo(f"wrote {write_junit(report, junit)}", err=True)
    if as_markdown:
        click.echo(gate_markdown(report))
    else:
        results_console().print(gate_table(report))
    sys.exit(report.exit_code)
