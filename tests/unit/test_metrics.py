from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.ledger_query import open_ledger
from bench.metrics import DEFINITIONS, Measurement, Noise, Unit, measure
from bench.metrics.reference import reference
from bench.metrics.registry import COUNTED
from bench.results import compute_result
from tests.unit.synthetic_run import SyntheticRun, complete_run
from tests.unit.test_resources import counted_run
from tests.unit.test_run_cost import count_both


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return complete_run(tmp_path_factory.mktemp("metrics") / "run-1").write()


@pytest.fixture(scope="module")
def metrics(run_dir: Path) -> dict[str, Measurement]:
    return {found.id: found for found in measure(compute_result(run_dir))}


def test_known_values_in_the_run_and_in_its_replicate(metrics: dict[str, Measurement]) -> None:
    assert metrics["kappa.online.p50_seconds"].value == pytest.approx(0.04)
    assert metrics["kappa.online.p50_seconds"].replicates[1].value == pytest.approx(0.04)
    assert metrics["lambda.nightly.allocated_hours"].value == pytest.approx(6 / 3600)
    assert metrics["lambda.allocated_hours"].value == pytest.approx(16 / 3600)
    assert metrics["lambda.inferences"].replicates[1].value == 78
    assert metrics["kappa.stage.online.inference.p50_seconds"].replicates[1].value == pytest.approx(0.01)
    assert metrics["kappa.step.dump.swap_seconds"].replicates[1].value == pytest.approx(1.25)
    assert metrics["agreement"].value == 1
    assert metrics["agreement.lowest_cosine"].value == pytest.approx(1.0)


def test_what_was_not_measured_is_none_with_a_reason_and_never_0(metrics: dict[str, Measurement]) -> None:
    missing = [found for found in metrics.values() if found.value is None]
    assert {"kappa.online.p99_seconds", "kappa.gpu_hours", "kappa.nightly_inference_per_second"} <= {
        found.id for found in missing
    }
    assert all(found.reason for found in missing)
    assert metrics["kappa.online.p99_seconds"].reason == "needs 459 samples, has 39"
    assert metrics["kappa.gpu_hours"].reason == "no device is booked in GPU hours"


def test_an_empty_run_measures_nothing_and_says_why(tmp_path: Path) -> None:
    found = {m.id: m for m in measure(compute_result(SyntheticRun(tmp_path / "run-1").write()))}
    assert found["kappa.online.p50_seconds"].value is None
    assert found["agreement"].value is None
    assert found["agreement"].reason
    assert found["lambda.allocated_hours"].reason == "no device session was recorded"


def test_names_are_unique_and_say_their_unit() -> None:
    patterns = [definition.pattern for definition in DEFINITIONS]
    assert len(set(patterns)) == len(patterns)
    endings = {Unit.SECONDS: "_seconds", Unit.HOURS: "_hours", Unit.PER_SECOND: "_per_second"}
    for definition in DEFINITIONS:
        assert definition.pattern.endswith(endings.get(definition.unit, "")), definition.pattern
        assert definition.definition.endswith("."), definition.pattern
        is_exact = definition.unit in (Unit.COUNT, Unit.RATIO) and definition.query != "resources"
        assert (definition.noise is Noise.COUNT) == is_exact, definition.pattern


def test_a_figure_stands_where_it_says_and_is_what_its_query_gives(
    run_dir: Path, metrics: dict[str, Measurement]
) -> None:
    result: Any = compute_result(run_dir)
    with open_ledger(run_dir) as ledger:
        latency = {
            (r["arm"], r["replicate"], r["consumer"], r["statistic"]): r for r in ledger.rows("latency")
        }
        counts = {row["arm"]: row for row in ledger.rows("completeness") if row["replicate"] is None}
        pools = [row for row in ledger.rows("device_hours") if row["replicate"] is None]
    checked = 0
    for found in metrics.values():
        _, *path = found.where.split(".")
        if found.definition.query == "latency" and found.id.endswith("_seconds"):
            arm, _, consumer, name = path
            row = latency[arm, None, consumer, name.removesuffix("_seconds")]
            assert found.value == row["seconds"] == result["arms"][arm]["latency"][consumer][name]
        elif found.definition.query == "completeness":
            arm, _, name = path
            assert found.value == counts[arm][name] == result["arms"][arm]["completeness"][name]
        elif ".pools[pool=" in found.where:
            arm, pool, name = found.id.split(".")
            (row,) = [r for r in pools if (r["arm"], r["pool"]) == (arm, pool)]
            assert found.value == row[name]
        else:
            continue
        checked += 1
    assert checked > 60


def test_parts_and_resources_are_what_their_queries_give(tmp_path: Path) -> None:
    run_dir = count_both(counted_run(tmp_path))
    found = {metric.id: metric for metric in measure(compute_result(run_dir))}
    with open_ledger(run_dir) as ledger:
        parts = [row for row in ledger.rows("stage_parts") if row["replicate"] is None]
        counted = [row for row in ledger.rows("resources") if row["replicate"] is None]
    for row in parts:
        name = f"{row['arm']}.stage.{row['consumer']}.{row['part']}"
        assert found[f"{name}.p50_seconds"].value == row["median_seconds"]
        assert found[f"{name}.mean_seconds"].value == row["mean_seconds"]
    endings = {resource: ending for resource, ending, *_ in COUNTED}
    checked = [row for row in counted if row["resource"] in endings]
    assert {row["resource"] for row in checked} == {"cpu", "peak_memory", "s3_get"}
    for row in checked:
        metric = found[f"{row['arm']}.{row['process']}.{endings[row['resource']]}"]
        assert metric.value == row["value"] == metric.replicates[1].value
    per_image = [r["value_per_image"] for r in counted if (r["arm"], r["resource"]) == ("lambda", "s3_get")]
    assert found["lambda.s3_requests_per_image"].value == sum(per_image)
    assert found["kappa.s3_requests_per_image"].reason == "no process of the arm counted any"


def test_a_cost_is_the_sum_of_its_lines_and_each_line_a_quantity_at_a_price(tmp_path: Path) -> None:
    result = compute_result(count_both(counted_run(tmp_path)))
    found = {metric.id: metric for metric in measure(result)}
    for arm, content in result["arms"].items():
        lines = content["cost"]["lines"]
        assert lines
        for line in lines:
            assert line["cost"]["cost_usd"] == line["quantity"] * line["price"]["unit_price_usd"]
        total = found[f"{arm}.cost_per_day_usd"]
        assert total.value == pytest.approx(sum(line["cost"]["cost_usd"] for line in lines))
        assert total.definition.tag == "projected"
        stages = content["cost"]["stages"]
        assert total.value == pytest.approx(sum(row["used_usd"] + row["idle_usd"] for row in stages))


def test_without_counts_there_is_no_cost_and_the_reason_is_said(metrics: dict[str, Measurement]) -> None:
    assert metrics["kappa.cost_per_day_usd"].value is None
    assert metrics["kappa.cost_per_day_usd"].reason == "its resources were not counted"


def test_the_reference_in_docs_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "docs" / "metrics.md"
    assert page.read_text() == reference(), "python -m bench.metrics.reference > docs/metrics.md"
