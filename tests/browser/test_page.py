"""The report in a headless Chromium: what a reader does with it, on a desktop and on a phone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from bench.results import write_result
from reports.html import write_report
from tests.unit.synthetic_run import complete_run

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "msedge")
DESKTOP, PHONE = (1280, 900), (390, 844)
HOSTILE_NAME = "<img src=x onerror=alert(1)>.jpg"
SERIOUS = ("serious", "critical")


@dataclass
class Opened:
    """A page, with everything that its console said and that it asked for beyond itself."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def plot(self, name: str) -> Locator:
        return self.page.locator(f"figure#{name}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = os.environ.get("LKBENCH_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed, and LKBENCH_BROWSER names none")
    with sync_playwright() as playwright:
        flags = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=found, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = complete_run(tmp_path_factory.mktemp("runs") / "run-1")
    run.file_names = {39: HOSTILE_NAME}
    run_dir = run.write()
    write_result(run_dir)
    return write_report(run_dir)


def opened(
    browser: Browser,
    report: Path,
    size: tuple[int, int] = DESKTOP,
    *,
    dark: bool = False,
    script: bool = True,
) -> Opened:
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if dark else "light",
        java_script_enabled=script,
    )
    context.set_default_timeout(10_000)
    it = Opened(context.new_page())
    it.page.on("console", lambda message: it.complaints.append(message.text))
    it.page.on("pageerror", lambda error: it.complaints.append(str(error)))
    it.page.on("dialog", lambda dialog: it.complaints.append(dialog.message))
    it.page.on("request", lambda request: it.requests.append(request.url))
    it.page.goto(report.as_uri())
    return it


@pytest.fixture(scope="module")
def desktop(browser: Browser, report: Path) -> Opened:
    return opened(browser, report)


def test_the_console_is_silent_and_nothing_is_fetched(desktop: Opened, report: Path) -> None:
    # A violation of the policy would be an error on the console.
    assert desktop.complaints == []
    assert desktop.requests == [report.as_uri()]


def test_the_policy_stops_a_script_that_is_not_the_page_s_own(browser: Browser, report: Path) -> None:
    it = opened(browser, report)
    it.page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"document.title = 1\">')"
    )
    it.page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'document.title = 2'}))"
    )
    assert it.page.title().startswith("lambda and kappa")
    assert any("Content Security Policy" in complaint for complaint in it.complaints)


@pytest.mark.parametrize(("size", "dark"), [(DESKTOP, False), (PHONE, True)])
def test_axe_finds_no_serious_fault(
    browser: Browser, report: Path, size: tuple[int, int], dark: bool
) -> None:
    it = opened(browser, report, size, dark=dark)
    it.page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true })")
    # Tables scroll in their frames; the page itself is as wide as the screen.
    assert it.page.evaluate("document.documentElement.scrollWidth") == size[0]
    # Rows of a table are alike, as are ticks of a chart: the first ones speak for all.
    alike = "tbody tr:nth-child(n+4), .drawing .grid, .drawing text ~ text"
    it.page.evaluate(f"document.querySelectorAll('{alike}').forEach((e) => e.remove())")
    found = Axe().run(it.page, options={"resultTypes": ["violations"]}).response["violations"]
    faults = [(fault["id"], fault["nodes"][0]["html"]) for fault in found if fault["impact"] in SERIOUS]
    assert faults == []


def test_no_table_is_cut_off_on_a_phone(browser: Browser, report: Path) -> None:
    it = opened(browser, report, PHONE)
    wide = "e => e.scrollWidth > e.clientWidth + 1"
    frames = it.page.locator(".scroll:visible").all()
    assert len(frames) > 8
    assert [frame.get_attribute("aria-label") for frame in frames if frame.evaluate(wide)] == []


def test_paper_gets_charts_and_figures_without_controls(browser: Browser, report: Path) -> None:
    a4_between_margins = (688, 1017)
    it = opened(browser, report, a4_between_margins, dark=True)
    it.plot("latency").get_by_role("checkbox", name="kappa").uncheck()
    it.page.emulate_media(media="print", color_scheme="dark")
    assert it.page.locator("input:visible, nav:visible, summary:visible, output:visible").count() == 0
    assert it.page.locator("figure.plot svg.drawing:visible").count() == 4
    assert it.plot("availability").locator(".controls").inner_text().split() == [
        *("Arms", "lambda", "kappa", "online", "batch")
    ]
    assert "kappa" not in it.plot("latency").locator(".controls").inner_text()  # what is hidden stays so
    assert it.page.evaluate("document.documentElement.scrollWidth") == a4_between_margins[0]
    colours = "e => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor]"
    assert it.page.locator("body").evaluate(colours) == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]


def test_the_time_axis_switches_between_log_and_linear(desktop: Opened) -> None:
    plot = desktop.plot("availability")
    shown = plot.locator("svg.drawing:visible")
    assert shown.count() == 1
    assert "(log scale)" in (shown.text_content() or "")
    plot.get_by_role("radio", name="linear").check()
    assert shown.count() == 1
    assert "(log scale)" not in (shown.text_content() or "")
    plot.get_by_role("radio", name="log").check()
    assert "(log scale)" in (shown.text_content() or "")


def test_an_arm_can_be_hidden(desktop: Opened) -> None:
    plot = desktop.plot("availability")
    lines = plot.locator("svg.drawing:visible .series:visible")
    assert lines.count() == 4
    plot.get_by_role("checkbox", name="lambda").uncheck()
    assert lines.count() == 2
    plot.get_by_role("slider").press("ArrowRight")
    assert "lambda" not in plot.locator("output").inner_text()
    plot.get_by_role("checkbox", name="lambda").check()
    assert lines.count() == 4
    assert "lambda" in plot.locator("output").inner_text()


def test_values_are_read_by_keyboard_and_by_pointer(desktop: Opened) -> None:
    plot = desktop.plot("availability")
    output, slider = plot.locator("output"), plot.get_by_role("slider")
    slider.press("Home")
    start = output.inner_text()
    assert start.startswith("at 10.0 ms: ")
    assert "kappa, online: 0.000 %" in start
    slider.press("End")
    assert output.inner_text().startswith("at 100 s: ")
    assert "kappa, online: 100.0 %" in output.inner_text()
    assert slider.get_attribute("aria-valuetext") == output.inner_text()
    drawing = plot.locator("svg.drawing:visible")
    box = drawing.bounding_box()
    assert box is not None
    left, right = (float(drawing.get_attribute(f"data-{edge}") or 0) for edge in ("left", "right"))
    middle = (left + right) / 2 / 900 * box["width"]  # of four decades from 10 ms on: 1 s
    drawing.hover(position={"x": middle, "y": box["height"] / 2})
    assert output.inner_text().startswith(("at 99", "at 1.0"))
    assert "kappa, batch: 0.000 %" in output.inner_text()


def test_the_keyboard_reaches_everything(browser: Browser, report: Path) -> None:
    it = opened(browser, report)
    it.page.keyboard.press("Tab")
    focused = it.page.locator(":focus")
    assert focused.inner_text() == "Skip to the verdict"
    assert focused.bounding_box()["x"] >= 0  # type: ignore[index]
    it.page.keyboard.press("Enter")
    assert it.page.evaluate("document.activeElement.id") == "content"
    it.page.keyboard.press("Tab")
    assert it.page.locator(":focus").evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    summary = it.page.locator("summary").first
    summary.press("Enter")
    assert summary.evaluate("e => e.parentElement.open")


def test_without_its_script_the_page_is_complete(browser: Browser, report: Path) -> None:
    it = opened(browser, report, PHONE, script=False)
    assert it.page.locator("figure.plot svg.drawing:visible").count() == 4
    assert it.page.locator(".readout:visible").count() == 0
    plot = it.plot("availability")
    plot.get_by_role("radio", name="linear").check()
    plot.get_by_role("checkbox", name="kappa").uncheck()
    assert plot.locator("svg.drawing:visible .series:visible").count() == 2
    assert (
        it.page.get_by_text(HOSTILE_NAME).count() == 3
    )  # a dead letter of both arms, in Lambda of both paths


def test_paper_is_white_and_has_no_controls(browser: Browser, report: Path) -> None:
    it = opened(browser, report, dark=True)
    it.page.emulate_media(media="print")
    assert it.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert it.page.locator("nav:visible, .readout:visible, .skip:visible").count() == 0
    assert it.page.pdf(format="A4").startswith(b"%PDF")
