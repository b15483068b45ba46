"""A part of the audit on real servers: planted defects are found, and each detector needs its defect."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.audit.execute import Auditor
from bench.audit.plan import CONTROL, PLAN
from bench.config import HarnessConfig

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(300)]


def test_defects_are_found_and_no_detector_fires_without_its_defect(tmp_path: Path) -> None:
    items = {item.name: item for item in PLAN}
    defects = [item for item in PLAN if item.defect]
    chosen = [items["half_a_partition"], items["stops_2s"]]
    with Auditor(tmp_path, HarnessConfig(), lambda _: None) as auditor:
        planted = [row for item in chosen for row in auditor.planted_rows(item)]
        control = auditor.run(CONTROL)
        without = [row for item in defects for row in auditor.rows_of(replace(item, defect=None), control)]
    assert [row for row in planted if not row.ok] == []
    # The same plan with every defect taken out: not one of its rows holds.
    assert [row for row in without if row.ok] == []
    assert {row.item for row in without} == {item.name for item in defects}
