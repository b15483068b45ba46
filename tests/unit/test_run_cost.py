"""Cost of a measured run, and what it gives a projection."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest
from click.testing import CliRunner

from bench.commands.cost import cost as cost_command
from bench.cost.inputs import Coefficients, DeviceModel
from bench.cost.ledger_cost import IDLE
from bench.cost.measured_inputs import fit_batches
from bench.cost.pricebook import PriceBook
from bench.cost.provenance import Kind
from bench.cost.run_cost import Machine, run_costs
from bench.resources.relation import seal_resources
from bench.results import write_result
from signals.errors import ConfigurationError
from tests.unit.synthetic_run import complete_run
from tests.unit.test_resources import counted_run, write_counts

BOOK = PriceBook.load()


def priced_run(tmp_path: Path) -> Path:
    run_dir = count_both(counted_run(tmp_path))
    write_result(run_dir)
    return run_dir


def count_both(run_dir: Path) -> Path:
    """Gives the Kappa arm of a run what its processes counted; Lambda's are there."""
    counts = {
        ("cpu", "stream_worker_0", 7, "seconds"): 9.0,
        ("cpu", "kafka", 8, "seconds"): 3600.0,
        ("rockstore_stored", "stored", 0, "bytes"): 390_000.0,
        ("parquet_stored", "stored", 0, "bytes"): 7800.0,
    }
    write_counts(run_dir, "harness", counts, 11, arm="kappa")
    seal_resources(run_dir)
    return run_dir


def result_of(run_dir: Path) -> dict[str, object]:
    content: dict[str, object] = orjson.loads((run_dir / "result.json").read_bytes())
    return content


def test_devices_are_priced_for_the_hours_that_they_were_held(tmp_path: Path) -> None:
    kappa = run_costs(result_of(priced_run(tmp_path)), BOOK)["kappa"]
    devices = [line for line in kappa.report.lines if line.usage.pool == "stream"]
    hour = BOOK.lines["m5.xlarge"].price / 4
    assert sum(line.cost or 0 for line in devices) == pytest.approx(
        10 / 3600 * hour
    )  # the day, not the night
    assert kappa.report.by_stage()[IDLE].amount == kappa.report.idle().amount > 0
    assert {line.usage.kind for line in devices} == {Kind.MEASURED}
    assert {line.kind for line in kappa.report.lines} == {Kind.PROJECTED}
    # The worker's own CPU is in its device's hours.
    assert [line.usage.line for line in kappa.report.lines if line.usage.stage == "stream"] == []
    broker = next(line for line in kappa.report.lines if line.usage.line == "msk.kafka.t3.small")
    assert broker.usage.quantity == pytest.approx(0.5)


def test_the_object_store_is_paid_by_the_request_and_not_once_more_by_the_hour(tmp_path: Path) -> None:
    run_dir = priced_run(tmp_path)
    before = run_costs(write_result(run_dir), BOOK)["kappa"].report
    servers = {("cpu", "s3proxy", 9, "seconds"): 3600.0}
    write_counts(run_dir, "servers", servers, 12, arm="kappa")
    write_counts(run_dir, "stream_worker", {("s3_get", "", 0, "requests"): 1000.0}, 7, arm="kappa")
    seal_resources(run_dir)
    after = run_costs(write_result(run_dir), BOOK)["kappa"].report
    (gets,) = [line for line in after.lines if line.usage.line == "s3.get"]
    assert after.total().amount == pytest.approx(before.total().amount + BOOK.lines["s3.get"].price)
    assert gets.cost == pytest.approx(BOOK.lines["s3.get"].price)


def test_every_missing_price_makes_a_lower_bound(tmp_path: Path) -> None:
    result = result_of(priced_run(tmp_path))
    whole = run_costs(result, BOOK)
    used = {line.usage.line for of in whole.values() for line in of.report.lines}
    assert {"m5.xlarge", "r5.xlarge", "emr.r5.xlarge", "s3.get", "s3.storage", "ebs.gp3"} <= used
    for line in BOOK.lines:
        for arm, of in run_costs(result, BOOK.without(line)).items():
            needs = any(entry.usage.line == line for entry in whole[arm].report.lines)
            assert of.report.total().is_lower_bound == needs
            assert of.report.per_day().is_lower_bound == needs
            assert of.signals
            per_million = of.report.per_million(of.signals)
            assert per_million is not None
            assert per_million.missing == ((line,) if needs else ())


def test_a_gpu_is_found_by_its_name_or_has_no_price() -> None:
    assert Machine.of("cuda:0 Tesla T4", BOOK) == Machine("g4dn.xlarge", 1)
    assert Machine.of("cuda:0 NVIDIA H100 80GB HBM3", BOOK) == Machine("p5.48xlarge", 8)
    assert Machine.of("cpu:0", BOOK) == Machine("m5.xlarge", 4)
    unknown = Machine.of("cuda:0 NVIDIA B300", BOOK)
    assert unknown.line not in BOOK.lines
    assert "B300" in unknown.line


def test_a_run_without_counts_has_no_cost(tmp_path: Path) -> None:
    run_dir = complete_run(tmp_path / "run").write()
    with pytest.raises(ConfigurationError, match="not counted"):
        run_costs(write_result(run_dir), BOOK)


def test_batches_are_fitted_and_keep_the_busy_time() -> None:
    sizes = np.random.default_rng(1).integers(1, 9, 500)
    service = fit_batches(sizes.tolist(), (0.002 + 0.006 * sizes).tolist(), 8)
    assert service.overhead_seconds == pytest.approx(0.002)
    assert service.per_image_seconds == pytest.approx(0.006)
    slowing = 0.006 * sizes * (1 + 0.3 * (sizes - 1) / 7)  # no line with an overhead above 0 fits these
    origin = fit_batches(sizes.tolist(), slowing.tolist(), 8)
    assert origin.overhead_seconds == 0
    assert origin.per_image_seconds * sizes.sum() == pytest.approx(slowing.sum())
    single = fit_batches([1, 1, 1], [0.01, 0.02, 0.03], 8)
    assert 3 * (single.overhead_seconds + single.per_image_seconds) == pytest.approx(0.06)
    assert single.per_image_seconds > 0
    with pytest.raises(ConfigurationError, match="no batches"):
        fit_batches([], [], 8)


def test_the_command_prices_exports_and_feeds_a_plan(tmp_path: Path) -> None:
    run_dir = priced_run(tmp_path)
    arguments = [str(run_dir), "--inputs", str(tmp_path / "in"), "--focus", str(tmp_path / "focus.csv")]
    shown = CliRunner().invoke(cost_command, arguments)
    assert shown.exit_code == 0, shown.output
    assert "per million available signals" in shown.output
    assert "GPU" not in shown.output
    rows = (tmp_path / "focus.csv").read_text().splitlines()
    assert len(rows) > 5
    assert '"CapacityReservationStatus"' in rows[0]
    device = DeviceModel.load(str(tmp_path / "in" / "device.toml"))
    assert device.images_per_second.kind is Kind.PROJECTED  # four threads of an instance, one was measured
    assert device.images_per_second.value > 0
    coefficients = Coefficients.load(tmp_path / "in" / "assumptions.toml")
    assert coefficients.bytes_per_image.kind is Kind.MEASURED
    assert coefficients.bytes_per_image.value == pytest.approx(10_000)
    document = orjson.loads(CliRunner().invoke(cost_command, [str(run_dir), "--json"]).stdout)
    assert document["arms"]["kappa"]["cost_per_million_signals"]["kind"] == "projected"
    assert {line["quantity_kind"] for line in document["arms"]["kappa"]["lines"]} == {"measured", "projected"}
