"""What a run can't start with: one line that says what to do, and an exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.conftest import lkbench

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(120)]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--images", "{empty}"], 2, "image"),
        (["--images", "no-such-data-set"], 2, "crops"),
        (["--arms", "lambda,zeta"], 2, "kappa"),
        (["--workload", "none"], 2, "mixed"),
        (["--day", "soon"], 2, "30s"),
        (["--config", "{missing}"], 2, "missing.toml"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path: Path, options: list[str], code: int, message: str) -> None:
    (tmp_path / "empty").mkdir()
    filled = [o.format(empty=tmp_path / "empty", missing=tmp_path / "missing.toml") for o in options]
    done = lkbench("run", "--output", str(tmp_path / "runs"), *filled)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
