from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.agreement import compare_arms
from bench.results import write_result
from bench.verify import verify_run
from signals.errors import ConfigurationError
from signals.hive import HIVE_SCHEMA
from tests.unit.synthetic_run import complete_run, hive_rows, signature, write_partition

Rows = list[dict[str, Any]]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    run_dir = complete_run(tmp_path / "run-1").write()
    write_result(run_dir)
    return run_dir


def partition_file(run_dir: Path, arm: str) -> Path:
    (path,) = (run_dir / "arms" / f"{arm}-1" / "warehouse").rglob("*.parquet")
    return path


def rewrite(run_dir: Path, arm: str, change: Callable[[Rows], Rows]) -> None:
    path = partition_file(run_dir, arm)
    rows = change(pq.ParquetFile(path).read().to_pylist())
    pq.write_table(pa.Table.from_pylist(rows, HIVE_SCHEMA), path, compression="zstd")


def failed(run_dir: Path) -> set[str]:
    return {check.name for check in verify_run(run_dir) if not check.ok}


def alter(rows: Rows, signal: str) -> Rows:
    row = next(row for row in rows if row["signal"] == signal)
    values = np.frombuffer(row["values"], dtype="<f4").copy()
    values[1] += 0.25
    row["values"] = values.tobytes()
    return rows


def test_a_sound_folder_passes(run_dir: Path) -> None:
    checks = verify_run(run_dir)
    assert all(check.ok for check in checks), checks
    assert "78 signals compared" in checks[-1].detail


@pytest.mark.parametrize("arm", ["lambda", "kappa"])
@pytest.mark.parametrize("signal", ["visual_embedding", "top5_classes"])
def test_one_altered_vector_fails(run_dir: Path, arm: str, signal: str) -> None:
    rewrite(run_dir, arm, lambda rows: alter(rows, signal))
    assert failed(run_dir) == {"agreement", "figures"}
    pair = compare_arms(run_dir, ["lambda", "kappa"], [1])["pairs"][0]
    assert pair["examples"]["mismatched"] == [f"pins/{signal}/v1/{signature(0)}"]


@pytest.mark.parametrize("arm", ["lambda", "kappa"])
def test_one_removed_row_fails(run_dir: Path, arm: str) -> None:
    rewrite(run_dir, arm, lambda rows: rows[:-1])
    assert failed(run_dir) == {"agreement", "figures", f"table {arm} r1"}


def test_one_removed_image_fails(run_dir: Path) -> None:
    rewrite(run_dir, "kappa", lambda rows: rows[:-2])
    assert failed(run_dir) == {"agreement", "figures", "table and ledger kappa r1"}
    pair = compare_arms(run_dir, ["lambda", "kappa"], [1])["pairs"][0]
    assert (pair["missing"], pair["extra"]) == (2, 0)


def test_one_added_row_fails(run_dir: Path) -> None:
    rewrite(run_dir, "kappa", lambda rows: rows + hive_rows([500])[:1])
    assert {"agreement", "figures", "table and ledger kappa r1"} <= failed(run_dir)
    pair = compare_arms(run_dir, ["lambda", "kappa"], [1])["pairs"][0]
    assert (pair["missing"], pair["extra"]) == (0, 1)


def test_a_duplicated_file_fails(run_dir: Path) -> None:
    path = partition_file(run_dir, "lambda")
    shutil.copy(path, path.with_name("part-00001.zstd.parquet"))
    assert failed(run_dir) == {"agreement", "figures", "table lambda r1"}
    assert compare_arms(run_dir, ["lambda", "kappa"], [1])["pairs"][0]["duplicated"] == 78


def test_a_rule_that_the_result_lacks_is_said_briefly(run_dir: Path) -> None:
    path = run_dir / "result.json"
    result = orjson.loads(path.read_bytes())
    removed = result["validity"]["rules"].pop()
    path.write_bytes(orjson.dumps(result))
    (check,) = [check for check in verify_run(run_dir) if not check.ok]
    count = len(result["validity"]["rules"])
    assert f"validity.rules has {count} entries, should have {count + 1}" in check.detail
    assert removed["id"] not in check.detail


def test_a_file_that_hive_ignores_is_ignored(run_dir: Path) -> None:
    path = partition_file(run_dir, "lambda")
    shutil.copy(path, path.with_name("_temporary.parquet"))
    shutil.copy(path, path.with_name(".part.crc"))
    assert failed(run_dir) == set()


def test_an_altered_shape_fails(run_dir: Path) -> None:
    def change(rows: Rows) -> Rows:
        rows[0]["shape"] = [8, 8]
        return rows

    rewrite(run_dir, "kappa", change)
    assert failed(run_dir) == {"agreement", "figures"}


def test_another_column_type_fails(run_dir: Path) -> None:
    path = partition_file(run_dir, "kappa")
    table = pq.ParquetFile(path).read()
    at = table.schema.get_field_index("version")
    pq.write_table(table.set_column(at, "version", table["version"].cast(pa.int64())), path)
    assert failed(run_dir) == {"agreement", "figures"}


def test_signals_in_another_day_fail(run_dir: Path, tmp_path: Path) -> None:
    rewrite(run_dir, "kappa", lambda rows: rows[:-2])
    write_partition(run_dir, "kappa", hive_rows([38]), day=1)
    assert "agreement" in failed(run_dir)
    pair = compare_arms(run_dir, ["lambda", "kappa"], [1])["pairs"][0]
    assert (pair["wrong_day"], pair["missing"]) == (2, 0)


def test_an_edited_figure_fails(run_dir: Path) -> None:
    path = run_dir / "result.json"
    result = orjson.loads(path.read_bytes())
    result["arms"]["kappa"]["latency"]["online"]["p50_seconds"] = 0.001
    path.write_bytes(orjson.dumps(result))
    (check,) = [check for check in verify_run(run_dir) if not check.ok]
    assert check.name == "figures"
    assert "arms.kappa.latency.online.p50_seconds is 0.001" in check.detail


def test_a_moved_folder_is_checked_where_it_is(run_dir: Path, tmp_path: Path) -> None:
    listing = run_dir / "arms" / "kappa-1" / "partitions.json"
    entries = orjson.loads(listing.read_bytes())
    for entry in entries:  # as a metastore names it
        entry["location"] = f"file:{run_dir / entry['location']}"
    listing.write_bytes(orjson.dumps(entries))
    assert failed(run_dir) == set()
    copy = tmp_path / "copy"
    shutil.copytree(run_dir, copy)
    rewrite(copy, "kappa", lambda rows: alter(rows, "visual_embedding"))
    assert failed(run_dir) == set()
    assert "agreement" in failed(copy)


def test_a_run_without_a_result_can_not_be_verified(run_dir: Path) -> None:
    (run_dir / "result.json").unlink()
    with pytest.raises(ConfigurationError, match=r"result\.json"):
        verify_run(run_dir)
