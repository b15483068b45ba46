from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from bench.cli import cli
from bench.compare.sides import StoredRun
from bench.exports.benchmark_files import bencher_metric_format, github_action_benchmark, otava_csv
from bench.exports.escape import csv_cell, markdown_text
from bench.exports.formats import FORMATS, export
from bench.exports.tables import cost_rows, metric_rows, write_csv
from bench.image_names import FILE, SCHEMA
from bench.metrics import Direction, measure
from bench.results import compute_result, write_result
from bench.schema import result_schema
from signals.errors import InvalidRun
from tests.unit.synthetic_result import INFERENCE, synthetic_result, write_run
from tests.unit.synthetic_run import SyntheticRun, complete_run, signature
from tests.unit.test_resources import count
from tests.unit.test_run_cost import count_both

HOSTILE = (
    "<img src=x onerror=alert(1)>.jpg",
    "=cmd|' /C calc'!A0.jpg",
    "'; drop table events; --.jpg",
    "../../x.jpg",
    "@everyone [click](http://x.test) | `a` **b**\n# c.jpg",
    "+1+1.jpg",
)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose dead letters come from files with hostile names."""
    run = complete_run(tmp_path_factory.mktemp("exports") / "run-1")
    for n in range(len(HOSTILE)):
        for arm, path in (("lambda", "online"), ("lambda", "nightly"), ("kappa", "stream")):
            event = 500 + n if path != "nightly" else -1
            if path != "nightly":
                run.arrival(event, 500 + n, 9.0, arm=arm)
            run.dead_letter(500 + n, 9.5, "corrupt", event_id=event, arm=arm, path=path)
    folder = run.write()
    names = pa.table([[signature(500 + n) for n in range(len(HOSTILE))], HOSTILE, [1] * len(HOSTILE)], SCHEMA)
    pq.write_table(names, folder / FILE)
    write_result(folder)
    return folder


@pytest.fixture(scope="module")
def exported(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    names = [name for name in FORMATS if name != "figures"]
    export(StoredRun.load(run_dir / "result.json"), names, folder)
    return folder


def results(tmp_path: Path) -> dict[str, dict[str, Any]]:
    empty = SyntheticRun(tmp_path / "empty").write(status="aborted")
    single = SyntheticRun(tmp_path / "single", arms=("kappa",))
    single.day()
    single.arrival(0, 0, 0.0)
    return {
        "complete": synthetic_result("a", [0.01, 0.02]),
        "empty": compute_result(empty),
        "single": compute_result(single.write()),
    }


def test_every_result_validates_against_the_committed_schema(tmp_path: Path, run_dir: Path) -> None:
    schema = orjson.loads(result_schema())
    Draft202012Validator.check_schema(schema)
    for name, result in {**results(tmp_path), "hostile": compute_result(run_dir)}.items():
        errors = [error.message for error in Draft202012Validator(schema).iter_errors(_json(result))]
        assert not errors, (name, errors)


def _json(result: dict[str, Any]) -> Any:
    return orjson.loads(orjson.dumps(result))


def test_the_schema_refuses_a_figure_of_another_kind() -> None:
    validator = Draft202012Validator(orjson.loads(result_schema()))
    for spoil in (
        lambda r: r["arms"]["kappa"]["latency"]["online"].update(p95_seconds="fast"),
        lambda r: r["arms"]["kappa"]["device_hours"]["pools"][0].update(unit="hours"),
        lambda r: r["arms"]["kappa"]["completeness"].update(lost=-1),
        lambda r: r.pop("provenance"),
    ):
        result = _json(synthetic_result("a", [0.01]))
        assert validator.is_valid(result)
        spoil(result)
        assert not validator.is_valid(result)


def test_pytest_benchmark_s_own_compare_reads_the_export(exported: Path) -> None:
    path = exported / "pytest-benchmark.json"
    command = [sys.executable, "-m", "pytest_benchmark", "compare", str(path), "--columns=min,median,rounds"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=exported)
    assert done.returncode == 0, done.stderr
    assert "kappa.online.p50_seconds" in done.stdout
    content = orjson.loads(path.read_bytes())
    medians = {b["name"]: b["stats"]["median"] for b in content["benchmarks"]}
    assert medians["kappa.online.p50_seconds"] == pytest.approx(0.04)
    assert medians["lambda.nightly.allocated_hours"] == pytest.approx(6.0)  # seconds


def test_github_action_benchmark_gets_a_file_per_direction(exported: Path) -> None:
    found = {}
    for name in ("smaller", "bigger"):
        entries = orjson.loads((exported / f"github-action-benchmark-{name}-is-better.json").read_bytes())
        assert entries
        for entry in entries:
            assert set(entry) <= {"name", "value", "unit", "range", "extra"}
            assert isinstance(entry["value"], int | float)
            assert all(isinstance(entry[key], str) for key in ("name", "unit"))
        found[name] = {entry["name"] for entry in entries}
    assert "kappa.online.p50_seconds" in found["smaller"]
    assert "kappa.sustained_per_second" in found["bigger"]
    assert not found["smaller"] & found["bigger"]
    ranges = github_action_benchmark(synthetic_result("a", [0.01, 0.02]), Direction.SMALLER)
    assert {e["range"] for e in ranges if e["name"] == INFERENCE} == {"± 0.005"}


def test_values_lie_within_the_bounds_of_the_replicates_also_where_the_run_has_their_sum() -> None:
    result = synthetic_result("a", [0.01, 0.02])
    arm = result["arms"]["kappa"]
    of_one = arm["recomputed"]["inferences"]
    arm["recomputed"]["inferences"] = 2 * of_one
    entry = bencher_metric_format(result)["kappa"]["inferences"]
    assert entry == {"value": of_one, "lower_value": of_one, "upper_value": of_one}
    values = [
        e["value"]
        for e in github_action_benchmark(result, Direction.SMALLER)
        if e["name"] == "kappa.inferences"
    ]
    assert values == [of_one]
    header, row = otava_csv([result])
    assert float(row[header.index("kappa.inferences")]) == of_one


def test_bencher_metric_format(exported: Path) -> None:
    report = orjson.loads((exported / "bencher.json").read_bytes())
    assert report["kappa.online"]["p50_seconds"]["value"] == pytest.approx(0.04)
    assert report["run"]["agreement"]["value"] == 1
    for measures in report.values():
        for entry in measures.values():
            assert set(entry) <= {"value", "lower_value", "upper_value"}
            assert all(isinstance(number, float) for number in entry.values())


def test_otava_csv_has_a_time_column_and_a_row_per_run() -> None:
    first, second = synthetic_result("b", [0.01]), synthetic_result("a", [0.01])
    first["provenance"]["started"] = "2026-11-23T12:00:00.000+00:00"
    header, *rows = otava_csv([second, first])
    assert header[:3] == ["time", "run_id", "commit"]
    assert [row[1] for row in rows] == ["b", "a"]
    assert all(len(row) == len(header) for row in rows)
    assert float(rows[0][header.index("kappa.online.p50_seconds")]) == pytest.approx(0.04)
    assert rows[0][header.index("kappa.gpu_hours")] == ""  # not measured is no 0


def test_tables_hold_what_the_result_says(exported: Path, run_dir: Path, tmp_path: Path) -> None:
    result = compute_result(run_dir)
    stored = pq.read_table(exported / "metrics.parquet").to_pylist()
    assert {row["metric"] for row in stored} == {metric.id for metric in measure(result)}
    with (exported / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(stored)
    values = {r["metric"]: r["value"] for r in rows if not r["replicate"]}
    assert float(values["kappa.online.p50_seconds"]) == pytest.approx(0.04)
    assert values["kappa.gpu_hours"] == ""
    costs = list(cost_rows(compute_result(count_both(count(complete_run(tmp_path / "run-2").write())))))
    assert all(row["cost_usd"] == row["quantity"] * row["unit_price_usd"] for row in costs)
    assert {row["arm"] for row in costs} == {"lambda", "kappa"}
    latency = duckdb.sql(
        f"select seconds from '{exported}/latency.parquet' "
        "where arm = 'kappa' and consumer = 'online' and statistic = 'p50' and replicate is null"
    ).fetchall()
    assert latency == [(pytest.approx(0.04),)]
    charts = result["charts"]
    for name in ("percentiles", "over_time"):
        query = charts[name]["query"]
        assert len(pq.read_table(exported / f"{query}.parquet")) == len(charts[name]["rows"]) > 0
    points = pq.read_table(exported / "availability.parquet").to_pylist()
    assert len(points) == sum(len(series["seconds"]) for series in charts["availability"]["series"])
    online = charts["availability"]["series"][0]
    assert (points[0]["arm"], points[0]["seconds"]) == (online["arm"], online["seconds"][0])
    stages = pq.read_table(exported / "lives.parquet").to_pylist()
    assert len(stages) == sum(len(image["stages"]) for image in result["lives"]["images"])


def test_hostile_file_names_show_as_text_in_every_export(exported: Path, run_dir: Path) -> None:
    markdown = (exported / "report.md").read_text()
    assert "<img" not in markdown
    assert "&lt;img src=x onerror=alert\\(1\\)&gt;.jpg" in markdown
    assert "\n#" not in markdown.split("dead letters", 1)[1]
    assert "http://x.test" not in markdown
    assert "\\@everyone" in markdown
    assert "\\| \\`a\\` \\*\\*b\\*\\*" in markdown
    with (exported / "dead_letters.csv").open(newline="") as file:
        for row in csv.reader(file):
            assert not any(cell.startswith(("=", "+", "-", "@")) for cell in row)
    files = pq.read_table(exported / "dead_letters.parquet").column("files").to_pylist()
    assert {name for names in files for name in names or []} >= set(HOSTILE)  # data keep names as they are
    for path in exported.iterdir():  # nothing was written elsewhere, nothing was run
        assert path.parent == exported


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1"])
def test_cells_that_a_spreadsheet_would_run_are_neutralised(text: str, tmp_path: Path) -> None:
    assert csv_cell(text) == f"'{text}"
    write_csv([{"name": text, "value": -1.5, "list": [text]}], tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="") as file:
        assert list(csv.reader(file))[1][:2] == [f"'{text}", "-1.5"]  # a number stays one


def test_markdown_text_is_one_line_without_markup() -> None:
    assert markdown_text("a\n# b") == "a \\# b"
    assert markdown_text("<b>") == "&lt;b&gt;"


def test_the_command_writes_what_is_asked_for(run_dir: Path, tmp_path: Path) -> None:
    command = [
        "export",
        str(run_dir),
        "--format",
        "bencher",
        "--format",
        "otava",
        "--to",
        str(tmp_path / "x"),
    ]
    done = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert done.exit_code == 0
    assert sorted(Path(line).name for line in done.stdout.split()) == ["bencher.json", "otava.csv"]
    markdown = CliRunner().invoke(cli, ["report", str(run_dir), "--markdown"], catch_exceptions=False)
    assert markdown.stdout.startswith("## ")
    alone = write_run(tmp_path, synthetic_result("alone", [0.01]))  # a result without its ledger
    done = CliRunner().invoke(cli, ["export", str(alone / "result.json"), "--format", "csv"])
    assert [Path(line).name for line in done.stdout.split()] == ["metrics.csv"]
    assert len(list(metric_rows(synthetic_result("alone", [0.01])))) > 200


def test_an_invalid_run_goes_into_no_series_of_another_tool(tmp_path: Path) -> None:
    result = synthetic_result("bad", [0.01])
    result["validity"].update(valid=False, verdict="INVALID")
    result["validity"]["rules"][0]["ok"] = False
    folder = write_run(tmp_path, result)
    with pytest.raises(InvalidRun):
        export(StoredRun.load(folder / "result.json"), ["csv", "bencher"], tmp_path / "x")
    assert not (tmp_path / "x").exists()
    write_run(tmp_path, synthetic_result("good", [0.01]))
    done = CliRunner().invoke(cli, ["export", str(tmp_path), "--format", "otava", "--format", "csv"])
    assert done.exit_code == 0, done.stderr
    assert "run bad is INVALID" in done.stderr
    written = [str(Path(line).relative_to(tmp_path)) for line in done.stdout.split()]
    assert written == ["bad/export/metrics.csv", "good/export/otava.csv", "good/export/metrics.csv"]


def test_figures_are_exported_as_svg_and_png(run_dir: Path, tmp_path: Path) -> None:
    paths = export(StoredRun.load(run_dir / "result.json"), ["figures"], tmp_path)
    assert [path.suffix for path in paths] == [".svg", ".png"]
    assert paths[1].read_bytes().startswith(b"\x89PNG")
