"""What the progress of a run says about an arm."""

from __future__ import annotations

import io

from rich.console import Console

from bench.display import ArmStatus, Display


def test_a_step_is_shown_no_longer_than_its_phase() -> None:
    said = io.StringIO()
    display = Display(Console(file=said, width=200))
    status = ArmStatus("kappa", 1, days=1, scheduled=2)
    display.phase(status, "nightly")
    status.step = "dump.swap"
    assert "nightly: dump.swap" in status.line()
    display.phase(status, "draining")
    assert [line.split("  ")[1] for line in said.getvalue().splitlines()] == ["nightly", "draining"]
