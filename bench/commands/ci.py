"""``lkbench ci``: two commits, measured in turn on this machine, and gated."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from bench.ci.checkout import checkouts, find_commit, has_changes
from bench.ci.execute import Job, measure_and_gate
from bench.ci.plan import BASE, HEAD, PREPARE, RUN
from bench.commands.compare import detect_option
from bench.commands.gate import threshold_option
from bench.commands.options import output_option
from bench.commands.results_console import results_console, stderr_lines
from bench.compare.documents import comparison_markdown
from bench.compare.statistics import MIN_REPLICATES
from bench.exit_codes import describe
from bench.gate.configuration import PROJECT_FILE, load_thresholds
from bench.gate.documents import gate_markdown, gate_table, write_junit
from bench.gate.evaluate import GateReport
from bench.run_folder import folder_name
from signals.cache import cache_dir


@click.command(epilog="\b\nExit codes:\n" + describe())
@click.option("--base", required=True, help="Branch, tag or commit to compare with, such as origin/main.")
@click.option("--head", default="HEAD", show_default=True, help="Branch, tag or commit under test.")
@click.option(
    "--replicates",
    type=click.IntRange(1),
    default=MIN_REPLICATES,
    show_default=True,
    help="Runs of each side. Fewer can't decide on a time.",
)
@threshold_option
@detect_option
@click.option(
    "--prepare",
    default=PREPARE,
    show_default=True,
    help="Makes the environment of a checkout; started in it. Empty: nothing to make.",
)
@click.option(
    "--command",
    default=RUN,
    show_default=True,
    help="Does one run of a checkout; started in it, gets options of `lkbench run`.",
)
@output_option
@click.argument("run_options", nargs=-1, type=click.UNPROCESSED)
def ci(
    base: str,
    head: str,
    replicates: int,
    texts: tuple[str, ...],
    detect: float,
    prepare: str,
    command: str,
    output: Path,
    run_options: tuple[str, ...],
) -> None:
    """Measure two commits in turn on this machine and check the head against its thresholds.

    Both are checked out and prepared on their own; then one replicate at a time runs: base head head base …
    Thresholds are those in [tool.lkbench.gate] of the head's pyproject.toml. RUN_OPTIONS, after --, go to
    every `lkbench run`. Ctrl-C stops what runs and removes the checkouts.

    \b
    Examples:
      lkbench ci --base origin/main
      lkbench ci --base v1 --replicates 6 -- --day 20s --rate 10
    """
    say = stderr_lines()
    repository = Path.cwd()
    commits = {BASE: find_commit(repository, base), HEAD: find_commit(repository, head)}
    if has_changes(repository):
        say("changes that are not committed are in neither side")
    folder = output.resolve() / folder_name(commits[HEAD].sha[:10], "ci")
    job = Job(folder, replicates, run_options, prepare, command)
    with checkouts(repository, cache_dir() / "ci", commits) as made:
        thresholds = list(texts) or load_thresholds(made[HEAD] / PROJECT_FILE)
        labels = {side: commit.label for side, commit in commits.items()}
        report = measure_and_gate(job, made, labels, thresholds, detect, say)
    _write_summary(report, folder)
    write_junit(report, folder / "junit.xml")
    say(f"runs, summary.md and junit.xml: {folder}")
    results_console().print(gate_table(report))
    sys.exit(report.exit_code)


def _write_summary(report: GateReport, folder: Path) -> None:
    summary = gate_markdown(report)
    if report.comparison is not None:
        summary += f"\n{comparison_markdown(report.comparison)}"
    (folder / "summary.md").write_text(summary, encoding="utf-8")
    if page := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(page).open("a", encoding="utf-8") as shown:
            shown.write(summary)
