from __future__ import annotations

import base64
import hashlib
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner

from bench.change_point import best_split, fewest_values
from bench.cli import cli
from bench.history import ALPHA, Change, Group, History, load_history
from reports.history import TOP, draw, write_history
from signals.errors import ConfigurationError
from tests.unit.page_parser import PageParser
from tests.unit.synthetic_result import INFERENCE, synthetic_result, write_run

HOSTILE = "<script>alert(1)</script>"
RUNS = 14


def add_run(
    folder: Path, number: int, seconds: float, *, is_valid: bool = True, **provenance: Any
) -> dict[str, Any]:
    """A run whose stage ``inference`` took ``seconds``."""
    result = synthetic_result(f"run-{number:02}", [seconds])
    (row,) = [
        row
        for row in result["arms"]["kappa"]["stage_parts"]["rows"]
        if (row["consumer"], row["part"]) == ("online", "inference")
    ]
    row["median_seconds"] = seconds
    result["provenance"] |= {"started": f"2026-11-{number:02}T01:00:00.000+00:00", **provenance}
    result["validity"]["valid"] = is_valid
    result["validity"]["verdict"] = "VALID" if is_valid else "INVALID"
    write_run(folder, result)
    return result


def times(shift_at: int | None, *, seed: int = 3, runs: int = RUNS) -> list[float]:
    """Times of the same code in every run, and twice as long from one run on."""
    noise = np.exp(np.random.default_rng(seed).normal(0.0, 0.05, runs))
    return [0.01 * float(x) * (2 if shift_at and n >= shift_at else 1) for n, x in enumerate(noise, start=1)]


def changes(group: Group) -> dict[str, Change]:
    return {trend.id: change for trend, change in group.changes()}


@pytest.fixture(scope="module")
def shifted(tmp_path_factory: pytest.TempPathFactory) -> History:
    folder = tmp_path_factory.mktemp("shifted")
    for number, seconds in enumerate(times(8), start=1):
        add_run(folder, number, seconds)
    add_run(folder, RUNS + 1, 99.0, is_valid=False)
    return load_history(folder)


def test_a_planted_shift_is_found_at_its_run_and_nothing_else_is(shifted: History) -> None:
    (group,) = shifted.groups
    found = changes(group)
    assert list(found) == [INFERENCE]
    change = found[INFERENCE]
    assert (change.run, change.verdict) == (8, "worse")
    assert change.p_value < ALPHA
    assert change.before == pytest.approx(0.01, rel=0.1)
    assert change.after == pytest.approx(0.02, rel=0.1)


def test_the_axis_of_a_chart_ends_at_a_tick_above_its_highest_value(shifted: History) -> None:
    (group,) = shifted.groups
    (chart,) = [chart for chart in group.charts if any(trend.id == INFERENCE for trend in chart.trends)]
    drawn = draw(group, chart)
    assert (drawn.y_ticks[-1].text, drawn.y_ticks[-1].at) == ("100 s", TOP)  # an INVALID run took 99 s


def test_a_steady_series_has_no_shift(tmp_path: Path) -> None:
    for number, seconds in enumerate(times(None), start=1):
        add_run(tmp_path, number, seconds)
    history = load_history(tmp_path)
    assert history.tested_series == 1  # one varies
    assert changes(history.groups[0]) == {}


def test_false_alarms_stay_below_the_nominal_rate() -> None:
    found = [best_split(times(None, seed=seed, runs=16)) for seed in range(300)]
    assert sum(split is not None and split.p_value < 0.05 for split in found) <= 24  # 5 % and some luck
    assert any(split is not None and split.p_value < 0.2 for split in found)


def test_the_p_value_bounds_that_of_all_orders() -> None:
    """Every order of 8 values, against the exact distribution of max |U|."""
    orders = np.array(list(itertools.permutations(range(1, 9))))
    splits = np.arange(1, 8)
    largest = np.max(np.abs(2 * np.cumsum(orders, axis=1)[:, :-1] - splits * 9), axis=1)
    for values, is_tight in (([1, 2, 3, 4, 5, 6, 7, 8], True), ([2, 1, 3, 5, 4, 6, 8, 7], True),
                             ([1, 5, 2, 6, 3, 7, 4, 8], False)):  # fmt: skip
        split = best_split(values)
        assert split is not None
        own = np.max(np.abs(2 * np.cumsum(values)[:-1] - splits * 9))
        exact = float(np.mean(largest >= own))
        assert split.p_value >= exact - 1e-12
        if is_tight:
            assert split.p_value <= 1.5 * exact


@pytest.mark.parametrize("values", [[1.0] * 7, [2.0] * 20, list(range(7))])
def test_too_few_or_equal_values_have_no_split(values: list[float]) -> None:
    assert best_split(values) is None


def test_long_series_use_the_approximation() -> None:
    split = best_split(times(60, runs=120))
    assert split is not None
    assert split.position == 59
    assert split.p_value < 1e-6


def test_it_says_how_many_runs_it_takes() -> None:
    n = fewest_values(50, ALPHA)
    for length, is_found in ((n, True), (n - 1, False)):
        split = best_split([0.0] * (length // 2) + [1.0] * (length - length // 2))
        assert split is not None
        assert (split.p_value * 50 < ALPHA) is is_found


def test_invalid_runs_are_shown_hollow_and_not_used(shifted: History, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    for number in range(1, 21):  # the shift is in INVALID runs only
        add_run(folder, number, 0.01 if number <= 10 else 9.0, is_valid=number <= 10)
    history = load_history(folder)
    assert history.tested_series == 0
    assert changes(history.groups[0]) == {}
    page = write_history(history, tmp_path / "page.html").read_text()
    assert 'class="hollow"' in page
    assert page.count("<td class=\"broken\">INVALID") == 10  # fmt: skip
    lines = re.findall(r'class="curve" d="(M[^"]+)"', page)
    assert max(line.count("L") for line in lines) == 9


def test_unlike_runs_stand_apart(tmp_path: Path) -> None:
    for number in range(1, 5):
        add_run(tmp_path, number, 0.01, workload="mixed" if number % 2 else "constant")
    first, second = load_history(tmp_path).groups
    assert [run.stored.name for run in first.runs] == ["run-01", "run-03"]
    assert first.unlike == ()
    assert second.unlike == ("workload: mixed and constant",)


def test_runs_with_another_number_of_replicates_stand_apart(tmp_path: Path) -> None:
    """A count of a run is the sum of its replicates'."""
    for number in range(1, 5):
        result = add_run(tmp_path, number, 0.01)
        if number > 2:
            for arm in result["arms"].values():
                arm["replicates"]["2"] = arm["replicates"]["1"]
            (tmp_path / f"run-{number:02}" / "result.json").write_bytes(orjson.dumps(result))
    first, second = load_history(tmp_path).groups
    assert (len(first.runs), len(second.runs)) == (2, 2)
    assert second.unlike == ("replicates: 1 and 2",)


def test_the_page_is_well_formed_and_its_policy_allows_its_style_only(
    shifted: History, tmp_path: Path
) -> None:
    path = write_history(shifted, tmp_path / "history.html")
    page, parser = path.read_text(), PageParser.of(path)
    assert not parser.tag_names & {"script", "link", "img", "iframe", "object", "embed", "form", "a"}
    for _, attributes in parser.tags:
        assert not {"src", "style", "href"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy.replace("&#39;", "'") == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert "advice, not a gate" in parser.text
    assert "worse from run 8 (run-08) on" in " ".join(parser.text.split())
    charts = [attributes for name, attributes in parser.tags if name == "svg" and "role" in attributes]
    assert len(charts) == len(shifted.groups[0].charts) == page.count("<figure>")
    summaries = re.findall(r"<details[^>]*><summary>([^<]+ metrics?)</summary>", page)
    assert len(summaries) == len(set(summaries)) > 3
    ids = [attributes["id"] for _, attributes in parser.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_hostile_names_are_text(tmp_path: Path) -> None:
    folder = tmp_path / "<img src=x onerror=alert(1)>"
    for number in (1, 2):
        result = add_run(folder, number, 0.01, workload=HOSTILE, commit={"sha": HOSTILE, "dirty": True})
        manifest = {"run_id": result["run_id"], "tags": [HOSTILE, "\u202egnp.exe"]}
        (folder / result["run_id"] / "manifest.json").write_bytes(orjson.dumps(manifest))
    add_run(folder, 3, 0.01, workload=f"{HOSTILE}\n")
    broken = folder / "<b>broken<_b>"
    broken.mkdir()
    (broken / "result.json").write_text("{")
    parser = PageParser.of(write_history(load_history(folder), tmp_path / "page.html"))
    assert not parser.tag_names & {"script", "img"}
    assert HOSTILE in parser.text
    assert "<b>broken<_b>" in parser.text
    assert "\u202e" not in parser.text


def test_the_command_writes_the_page_and_says_the_advice(shifted: History, tmp_path: Path) -> None:
    target = tmp_path / "trend.html"
    done = CliRunner().invoke(cli, ["history", str(shifted.folder), "--to", str(target)])
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(target)
    assert f"advice: {INFERENCE} is worse since run 'run-08'" in done.stderr
    assert target.is_file()


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="give the folder that holds run folders"):
        load_history(tmp_path)
