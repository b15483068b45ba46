from __future__ import annotations

import base64
import hashlib
import html
import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import orjson
import pytest
from PIL import Image
from rich.console import Console

from bench.explain import explain_signature
from bench.exports.run_markdown import run_markdown
from bench.ledger_query import sql_text
from bench.metrics import measure
from bench.results import FIGURE_QUERIES, compute_result, write_result
from reports.curves import SHORTEST_SECONDS, availability_curves
from reports.figures import write_figure
from reports.html import QUERIES, write_report
from reports.lives import lives
from reports.located import Located, figures
from reports.parts import MEANINGS
from reports.plots import backlog_plot
from reports.table import comparison
from signals.errors import ConfigurationError
from signals.ledger import Stage
from tests.unit.page_parser import PageParser
from tests.unit.synthetic_run import SyntheticRun, complete_run
from tests.unit.test_resources import count
from tests.unit.test_run_cost import count_both

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = complete_run(tmp_path_factory.mktemp("runs") / "run-1")
    run.dead_letter(38, 9.0, HOSTILE, event_id=38)
    run_dir = count_both(count(run.write()))
    write_result(run_dir)
    return run_dir


def printed(result: dict[str, Any]) -> str:
    console = Console(width=120, color_system=None)
    with console.capture() as capture:
        console.print(comparison(result))
    return capture.get()


def row_of(text: str, label: str) -> str:
    return next(line for line in text.splitlines() if line.strip().startswith(label))


def test_the_page_is_well_formed_and_loads_nothing(run_dir: Path) -> None:
    path = write_report(run_dir)
    page, parser = path.read_text(), PageParser.of(path)
    assert not parser.tag_names & {"link", "img", "iframe", "object", "embed", "form"}
    links = [str(attributes["href"]) for _, attributes in parser.tags if "href" in attributes]
    for link in links:
        assert link.removeprefix("#") in page if link.startswith("#") else (run_dir / link).exists()
    assert {"result.json", "manifest.json", "ledger/events.parquet"} <= set(links)
    for _, attributes in parser.tags:
        assert not {"src", "style", "srcset"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
    assert page.count("url(") == page.count("url(#hatch)") == 1
    assert "@import" not in page
    ids = [attributes["id"] for _, attributes in parser.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_the_policy_allows_its_own_style_sheet_and_script_and_nothing_else(run_dir: Path) -> None:
    page = write_report(run_dir).read_text()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    style_hash, script_hash = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)
    )
    assert html.unescape(policy) == (
        f"default-src 'none'; style-src 'sha256-{style_hash}'; script-src 'sha256-{script_hash}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def test_a_broken_rule_says_what_was_measured_wherever_the_verdict_stands(run_dir: Path) -> None:
    result = orjson.loads((run_dir / "result.json").read_bytes())
    parser = PageParser.of(write_report(run_dir))
    for text in (printed(result), run_markdown(result).replace("\\", ""), parser.text):
        told = " ".join(text.split())
        assert "as a dead letter. Measured lambda: 0, kappa: 2; limit 0" in told


def test_text_from_the_run_is_escaped(run_dir: Path) -> None:
    page = write_report(run_dir).read_text()
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page


def test_the_verdict_comes_first_and_every_query_is_shown(run_dir: Path) -> None:
    path = write_report(run_dir)
    page, parser = path.read_text(), PageParser.of(path)
    assert page.index("<strong>INVALID") < page.index("<h2>Comparison") < page.index("<h2>Availability over")
    for name in QUERIES:
        assert sql_text(name) in parser.text
    assert "one_outcome_each" in parser.text  # image 38 has a signal and a dead letter
    assert "step4_infer" in parser.text
    assert "efficientnet-lite0" in parser.text
    assert "3.11.2 (main, GCC 12.2.0)" in parser.text  # builds of one version differ in speed


def test_table_json_and_page_show_the_same_figures(run_dir: Path) -> None:
    result = orjson.loads((run_dir / "result.json").read_bytes())
    text = printed(result)
    row = " ".join(row_of(text, "median").split())
    assert row == "median 50.0 ms [50.0-50.0 ms] 40.0 ms [40.0-40.0 ms]"
    assert "CPU device hours per compressed day" in text
    held = "0.00278 h (10.0 s)"
    assert row_of(text, "stream pool, allocated").endswith(held)
    (in_markdown,) = (line for line in run_markdown(result).splitlines() if "allocated" in line)
    assert held in in_markdown.replace("\\", "")
    assert row_of(text, "signals in the Hive table").split()[-2:] == ["78", "78"]
    assert "p99 lambda, p99 kappa: needs 459 samples, has 39" in text
    assert "INVALID" in text.splitlines()[0]
    page = write_report(run_dir).read_text()
    assert "50.0\N{NO-BREAK SPACE}ms" in page
    assert "needs 459 samples, has 39" in page


def at_pointer(document: Any, pointer: str) -> Any:
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        document = document[int(key) if isinstance(document, list) else key]
    return document


def numbers(node: Any, pointer: str = "") -> dict[str, float]:
    """All numbers of a document by their JSON Pointers."""
    if isinstance(node, dict):
        items: Any = node.items()
    elif isinstance(node, list):
        items = enumerate(node)
    else:
        is_number = isinstance(node, int | float) and not isinstance(node, bool)
        return {pointer: node} if is_number else {}
    found = [numbers(child, f"{pointer}/{key}") for key, child in items]
    return {name: value for part in found for name, value in part.items()}


def test_every_number_of_the_page_is_that_of_the_json_and_of_its_query(run_dir: Path) -> None:
    shown = [a for tag, a in PageParser.of(write_report(run_dir)).tags if tag == "data"]
    result = orjson.loads((run_dir / "result.json").read_bytes())
    recomputed = compute_result(run_dir)  # every query again, over the Parquet
    of_page = {str(a["data-pointer"]): str(a["value"]) for a in shown if "data-pointer" in a}
    for pointer, text in of_page.items():
        assert text == repr(at_pointer(result, pointer)) == repr(at_pointer(recomputed, pointer)), pointer
    drawn = {p for p in of_page if p.startswith("/lives/")}
    assert set(of_page) - drawn == {
        p for p in numbers(result) if not p.startswith(("/schema_version", "/charts/", "/lives/"))
    }
    metrics = {a["data-metric"]: str(a["value"]) for a in shown if "data-metric" in a}
    assert metrics == {m.id: str(m.value) for m in measure(recomputed) if m.value is not None}
    # What is left are device hours per compressed day: sums of pools over the number of days.
    pools = {arm: content["device_hours"]["pools"] for arm, content in result["arms"].items()}
    kinds = ("allocated_hours", "busy_hours", "wasted_hours")
    per_day = {p[kind] / p["days"] for of_arm in pools.values() for p in of_arm for kind in kinds}
    per_day |= {sum(p["allocated_hours"] / p["days"] for p in of_arm) for of_arm in pools.values()}
    assert {float(str(a["value"])) for a in shown if not {"data-pointer", "data-metric"} & set(a)} == per_day


def test_the_result_has_every_point_of_the_charts_and_every_stage_of_the_lives(run_dir: Path) -> None:
    path = write_report(run_dir)
    result = orjson.loads((run_dir / "result.json").read_bytes())
    charts = result["charts"]
    of_result: dict[str, dict[str, set[tuple[float, float]]]] = {
        "availability": {
            f"{s['arm']}, {s['consumer']}": set(zip(s["seconds"], s["share"], strict=True))
            for s in charts["availability"]["series"]
        },
        "percentiles": {},
        "latency": {},
        "backlog": {},
    }
    for row in charts["percentiles"]["rows"]:
        points = of_result["percentiles"].setdefault(f"{row['arm']}, {row['consumer']}", set())
        points.add((row["fraction"], max(row["seconds"], SHORTEST_SECONDS)))
    for row in charts["over_time"]["rows"]:
        for chart, x, names in (
            ("latency", "seconds", {"median": "median_seconds", "slowest": "slowest_seconds"}),
            ("backlog", "end_seconds", {"online": "online_backlog", "batch": "batch_backlog"}),
        ):
            for name, column in names.items():
                if row[column] is not None:
                    of_result[chart].setdefault(f"{row['arm']}, {name}", set()).add((row[x], row[column]))
    drawing = re.compile(
        r'<figure class="plot" id="(\w+)">.*?<script type="application/json">(.*?)</script>', re.S
    )
    texts = drawing.findall(path.read_text())
    assert {chart for chart, _ in texts} == of_result.keys()
    for chart, text in texts:
        drawn = {s["name"]: set(zip(s["x"], s["y"], strict=True)) for s in orjson.loads(text)["series"]}
        assert drawn.keys() == of_result[chart].keys()
        for name, points in drawn.items():
            # What is drawn besides is where a curve begins and ends.
            assert of_result[chart][name] <= points, (chart, name)
            assert len(points - of_result[chart][name]) <= 2

    shown = {str(a["data-pointer"]) for tag, a in PageParser.of(path).tags if "data-pointer" in a}
    images = result["lives"]["images"]
    assert {(image["arm"], image["which"]) for image in images} == {
        (arm, which) for arm in result["arms"] for which in ("median", "slowest")
    }
    for i, image in enumerate(images):
        assert f"/lives/images/{i}/online_seconds" in shown
        for j, stage in enumerate(image["stages"]):
            assert f"/lives/images/{i}/stages/{j}/start_seconds" in shown
            at = f"/lives/images/{i}/stages/{j}/duration_seconds"
            assert (at in shown) == (stage["duration_seconds"] > 0)


def test_the_life_of_an_image_says_what_it_waited_for_as_explain_does(run_dir: Path) -> None:
    result = Located(orjson.loads((run_dir / "result.json").read_bytes()))
    for life in lives(result["lives"]["images"]):
        online, batch = (
            [(s.label, s.start_seconds.value, s.duration_seconds.value) for s in part.spans]
            for part in life.parts
        )
        assert [(start, takes) for label, start, takes in online if label == "handed over"] == [(0.001, 0)]
        assert batch[0][:2] == ("wait for midnight", 0)
        reached = 0.0
        for _, start, takes in batch:
            assert start <= reached + 1e-6  # nothing is left open between two rows
            reached = max(reached, start + takes)
        console = Console(width=160, color_system=None)
        with console.capture() as capture:
            console.print(explain_signature(run_dir, str(life.image["image_signature"])))
        steps = [span.label for span in life.parts[1].spans if span.note == "nightly step"]
        assert steps
        assert set(steps) <= set(capture.get().split())


@pytest.mark.parametrize(
    ("backlog", "ticks"),
    [(1, ["0", "1", "2"]), (9, ["0", "5", "10"]), (570, ["0", "200", "400", "600"])],
)
def test_the_axes_of_a_chart_end_at_a_tick_above_what_they_show(backlog: int, ticks: list[str]) -> None:
    row = {"arm": "kappa", "end_seconds": 52.0, "online_backlog": backlog, "batch_backlog": None}
    plot = backlog_plot([row], ["kappa"])
    assert plot is not None
    for drawing in plot.drawings:
        assert [tick.text for tick in drawing.y_ticks] == ticks
        assert drawing.y_ticks[-1].at == drawing.top
        assert (drawing.x_ticks[-1].text, drawing.x_ticks[-1].at) == ("60 s", drawing.right)


def test_a_result_of_before_it_had_points_is_drawn_from_its_ledger(run_dir: Path, tmp_path: Path) -> None:
    old = shutil.copytree(run_dir, tmp_path / "old")
    result = orjson.loads((old / "result.json").read_bytes())
    del result["charts"], result["lives"]
    (old / "result.json").write_bytes(orjson.dumps(result))
    assert write_report(old).read_text() == write_report(run_dir).read_text()
    assert write_figure(old).read_bytes() == write_figure(run_dir).read_bytes()


def test_every_figure_has_its_tag_and_its_query_or_its_reason(run_dir: Path) -> None:
    for figure in figures(Located(orjson.loads((run_dir / "result.json").read_bytes()))):
        if figure.pointer.startswith("/arms/"):
            # Prices are assumed; what was counted and not held by a device is priced as a share of a machine.
            assert figure.tag == "measured" or "/cost/" in figure.pointer
            assert figure.tag == "assumed" or not figure.pointer.endswith("/unit_price_usd")
            assert figure.query in FIGURE_QUERIES
            assert (figure.value is None) == bool(figure.reason), figure


def test_keys_are_called_keys_and_the_warm_up_that_some_fall_into_is_said(
    run_dir: Path, tmp_path: Path
) -> None:
    run = complete_run(tmp_path / "run-1")
    for arm in run.arms:
        run.row(Stage.WARM_UP, 0.0, 1.0, arm=arm, day=0, path="harness")
    warm_dir = run.write()
    for folder, is_said in ((warm_dir, True), (run_dir, False)):
        result = write_result(folder)
        for text in (printed(result), PageParser.of(write_report(folder)).text):
            told = " ".join(text.split())
            assert "distinct keys (galaxy, image)" in told
            assert ("its warm-up, is no part of online latency" in told) == is_said


def test_a_valid_run_says_so(tmp_path: Path) -> None:
    assert printed(write_result(complete_run(tmp_path / "run-1").write())).startswith("VALID")


def test_a_run_that_did_nothing_can_still_be_reported(tmp_path: Path) -> None:
    run_dir = SyntheticRun(tmp_path / "run-1").write()
    result = write_result(run_dir)
    assert printed(result).startswith("INVALID")
    assert "Nothing became available" in write_report(run_dir).read_text()
    assert write_figure(run_dir).exists()


def test_a_single_arm_is_not_compared(tmp_path: Path) -> None:
    run = SyntheticRun(tmp_path / "run-1", arms=("kappa",))
    run.day()
    run.arrival(0, 0, 0.0)
    run_dir = run.write()
    assert "Not compared" in printed(write_result(run_dir)) or "only one arm ran" in printed(
        write_result(run_dir)
    )
    assert "only one arm ran" in write_report(run_dir).read_text()


def test_the_figure_is_reproducible_and_labels_every_curve(run_dir: Path) -> None:
    path = write_figure(run_dir)
    first = path.read_bytes(), path.with_suffix(".png").read_bytes()
    write_figure(run_dir)
    assert first == (path.read_bytes(), path.with_suffix(".png").read_bytes())
    root = ElementTree.fromstring(first[0])
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"lambda, online", "lambda, batch", "kappa, online", "kappa, batch"} <= texts
    with Image.open(path.with_suffix(".png")) as image:
        assert image.size == (1200, 675)


def test_a_curve_ends_at_the_share_that_became_available(tmp_path: Path) -> None:
    run = SyntheticRun(tmp_path / "run-1", arms=("kappa",))
    for n in range(4):
        run.arrival(n, n, 0.0)
        if n < 3:
            run.online(n, n, 0.0, 0.1 * (n + 1))
    (curve,) = availability_curves(compute_result(run.write())["charts"], ["kappa"])
    assert curve.seconds == pytest.approx((0.1, 0.2, 0.3))
    assert curve.fractions == pytest.approx((0.25, 0.5, 0.75))
    assert list(curve.points(100.0))[-1] == (100.0, 0.75)


def test_a_run_without_a_result_can_not_be_reported(tmp_path: Path) -> None:
    run_dir = complete_run(tmp_path / "run-1").write()
    with pytest.raises(ConfigurationError, match=r"result\.json"):
        write_report(run_dir)


def test_a_throughput_stands_beside_its_share_of_the_bare_loop(run_dir: Path) -> None:
    result = compute_result(run_dir)
    sustained = result["arms"]["kappa"]["images_per_second"]["sustained_per_second"]
    assert "of the bare loop" not in printed(result)  # this run's capacity was not measured

    result["provenance"]["capacity"] = {"images_per_second": 2 * sustained}
    assert f"{sustained:.1f} (50%)" in printed(result)


def test_the_page_explains_every_part_of_the_method() -> None:
    method = (Path(__file__).parents[2] / "docs" / "method.md").read_text()
    table = method.partition("| part | what")[2].partition("\n\n")[0]
    explained = {name for row in table.splitlines()[1:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert len(explained) > 20
    assert explained <= MEANINGS.keys()


def test_a_saved_plan_brings_its_map_and_its_objective(tmp_path: Path) -> None:
    run_dir = complete_run(tmp_path / "run-1").write()
    write_result(run_dir)
    assert "Decision map" not in write_report(run_dir).read_text()
    plan = {"verdict": "Kappa <b>", "inputs": {"freshness_p95_seconds": 60.0, "images_per_day": 8.6e6}}
    (run_dir / "plan.json").write_bytes(orjson.dumps(plan))
    Image.new("RGB", (4, 4)).save(run_dir / "decision_map.png")
    page = PageParser.of(write_report(run_dir))
    assert "Kappa <b>" in page.text
    assert "objective: 95 % within 60 s" in page.text
    manifest = orjson.loads((run_dir / "manifest.json").read_bytes())
    (run_dir / "manifest.json").write_bytes(orjson.dumps({**manifest, "freshness_seconds": 0.5}))
    page = PageParser.of(write_report(run_dir))
    assert "objective: 95 % within 500 ms" in page.text  # the run's own comes first
    (source,) = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert str(source).startswith("data:image/png;base64,")
    (run_dir / "decision_map.png").write_bytes(b"<svg onload='alert(1)'>")
    with pytest.raises(ConfigurationError, match="no PNG"):
        write_report(run_dir)
    (run_dir / "decision_map.png").unlink()
    (run_dir / "plan.json").write_text("[]")
    with pytest.raises(ConfigurationError, match="no plan"):
        write_report(run_dir)
