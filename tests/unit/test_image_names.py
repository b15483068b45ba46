from __future__ import annotations

import os
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from bench.explain import explain_signature
from bench.image_names import FILE, printable, write_image_names
from bench.images import DatasetImage
from bench.results import write_result
from reports.html import write_report
from tests.unit.page_parser import PageParser
from tests.unit.synthetic_run import complete_run, signature

HOSTILE = (
    "<img src=x onerror=alert(1)>.jpg",
    "=cmd|' /C calc'!A0.jpg",
    "'; drop table events; --.jpg",
    "../../x",
    "</script><script>alert(1)</script>.jpg",
    "{{ 7 * 7 }}.jpg",
    "[bold red]markup[/].jpg",
    '" onmouseover="alert(1).jpg',
)
UNPRINTABLE = "\x1b[31mred\u202egpj.exe\n.jpg"


def explained(run_dir: Path, image: int) -> str:
    console = Console(width=200, color_system=None)
    with console.capture() as capture:
        console.print(explain_signature(run_dir, signature(image)))
    return capture.get()


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = complete_run(tmp_path_factory.mktemp("runs") / "run-1")
    names = (*HOSTILE, UNPRINTABLE)
    for image, name in enumerate(names, start=10):
        run.file_names[image] = name
        run.dead_letter(image, 9.0, name.replace(":", ""), event_id=image)
    run_dir = run.write()
    write_result(run_dir)
    return run_dir


@pytest.mark.parametrize(("image", "name"), list(enumerate(HOSTILE, start=10)))
def test_a_hostile_file_name_is_text_in_every_output(run_dir: Path, image: int, name: str) -> None:
    assert f"file {name}\n" in explained(run_dir, image)
    rows = orjson.loads((run_dir / "result.json").read_bytes())["arms"]["kappa"]["dead_letters"]["rows"]
    assert [name] in [row["files"] for row in rows]
    page = PageParser.of(write_report(run_dir))
    assert name in page.text
    assert not {"img", "iframe", "object"} & page.tag_names


def test_control_characters_and_turned_text_are_shown_as_escapes(run_dir: Path) -> None:
    shown = "\\x1b[31mred\\u202egpj.exe\\n.jpg"
    assert printable(UNPRINTABLE) == shown
    text = explained(run_dir, 10 + len(HOSTILE))
    assert f"file {shown}\n" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    page = PageParser.of(write_report(run_dir))
    assert shown in page.text
    assert "\x1b" not in page.text


def test_names_that_are_no_utf_8_are_kept_as_escapes(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    write_image_names(tmp_path, [DatasetImage(Path(), signature(1), 7, name)])
    assert pq.read_table(tmp_path / FILE).to_pylist() == [
        {"image_signature": signature(1), "file_name": "caf\\xe9.jpg", "size_bytes": 7}
    ]


def test_a_run_without_names_is_explained_and_reported_without_them(tmp_path: Path) -> None:
    run_dir = complete_run(tmp_path / "run-1").write()
    result = write_result(run_dir)
    assert [row["files"] for row in result["arms"]["kappa"]["dead_letters"]["rows"]] == [None]
    assert "file " not in explained(run_dir, 39)
    assert "truncated" in PageParser.of(write_report(run_dir)).text
