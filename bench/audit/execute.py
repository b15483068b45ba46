"""Runs the plan of an audit, each item as a run of its own, and lets the detectors look."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench.audit.evidence import PLANTED, REFERENCE, Detector, Evidence, Finding
from bench.audit.plan import CONTROL, PlanItem
from bench.config import HarnessConfig
from bench.display import Display
from bench.run import Run, RunSettings
from bench.run_folder import folder_name, new_token
from bench.selftest.reference import ReferenceArm
from bench.services.needs import servers_needed
from bench.services.shared import shared_servers
from signals.architecture import Pipeline
from signals.errors import LkbenchError

WORKLOAD = "constant"  # no repeats, evenly spaced: nothing but the plant differs between arms
LOST_AFTER_SECONDS = 10.0  # what the online client has not seen by then is lost


@dataclass(frozen=True, slots=True)
class Row:
    """One line of an audit: a detector on a run in which its defect is, or is not, planted."""

    item: str
    planted: str
    detector: str
    finding: Finding
    expected: bool

    @property
    def ok(self) -> bool:
        """Whether the detector said what is true: never if it could not tell."""
        return self.finding.found is self.expected


class Auditor:
    """Executes runs with known arms on one set of servers. A context manager."""

    def __init__(self, output: Path, config: HarnessConfig, progress: Callable[[str], None]) -> None:
        self.folder = (output / folder_name(new_token(), "audit")).resolve()
        self._config, self._progress = config, progress
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Auditor:
        needed = servers_needed([ReferenceArm()])
        self._config = self._stack.enter_context(
            shared_servers(self.folder, self._config, needed, self._progress)
        )
        return self

    def __exit__(self, *details: object) -> None:
        self._stack.close()

    def rows(self, items: Sequence[PlanItem]) -> Iterator[Row]:
        """Every item with its defect, then the detectors of the planted ones on a run without any."""
        for item in items:
            yield from self.planted_rows(item)
        detectors = {d.name: d for item in items if item.defect for d in item.detectors}
        if detectors:
            control = self.run(CONTROL)
            for name, detector in detectors.items():
                yield Row(CONTROL.name, CONTROL.description, name, _look(detector, control), expected=False)

    def planted_rows(self, item: PlanItem) -> list[Row]:
        """What the detectors of ``item`` say of a run with its defect."""
        return self.rows_of(item, self.run(item))

    def rows_of(self, item: PlanItem, evidence: Evidence | LkbenchError) -> list[Row]:
        """What the detectors of ``item`` say of a run."""
        return [
            Row(item.name, item.description, detector.name, _look(detector, evidence), item.is_planted)
            for detector in item.detectors
        ]

    def run(self, item: PlanItem) -> Evidence | LkbenchError:
        """The run of one item, or what ended it: half a run shows neither a defect nor that there is none."""
        self._progress(f"{item.name}: {item.description}")
        arms: dict[str, Callable[[], Pipeline]] = {PLANTED: item.defect or ReferenceArm}
        if item.paired:
            arms = {REFERENCE: ReferenceArm, **arms}
        settings = RunSettings(
            workload=WORKLOAD,
            days=item.days,
            day_seconds=item.day_seconds,
            rate_per_second=item.rate_per_second,
            replicates=item.replicates,
            arms=tuple(arms),
            output=self.folder / item.name,
            drain_timeout_seconds=LOST_AFTER_SECONDS,
        )
        run = Run(settings, self._config, Display(Console(quiet=True)), lambda name: arms[name]())
        try:
            return Evidence(run.run_dir, run.execute())
        except LkbenchError as error:
            return error


def _look(detector: Detector, evidence: Evidence | LkbenchError) -> Finding:
    if isinstance(evidence, LkbenchError):
        return Finding(None, f"the run failed: {evidence}")
    try:
        return detector(evidence)
    except LkbenchError as error:
        return Finding(None, str(error))
