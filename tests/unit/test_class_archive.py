from __future__ import annotations

from pathlib import Path

import pytest

from bench.services.class_archive import class_archive, keep, recorded_to, was_tried, with_class_archive

MINE = {"spark.driver.extraJavaOptions": "-Dmine=1", "spark.ui.enabled": "true"}


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LKBENCH_CACHE", str(tmp_path / "cache"))


def recorded(folder: Path) -> Path:
    folder.mkdir()
    option, *_ = recorded_to(folder, {})["spark.driver.extraJavaOptions"].split()
    Path(option.strip('"').partition("=")[2]).write_bytes(b"classes")
    return folder


def test_what_was_recorded_is_used_and_the_users_options_come_last(tmp_path: Path) -> None:
    assert not was_tried()
    assert with_class_archive(MINE) == MINE
    keep(recorded(tmp_path / "first"))
    assert was_tried()
    assert class_archive().read_bytes() == b"classes"
    conf = with_class_archive(MINE)
    first, *_, last = conf["spark.driver.extraJavaOptions"].split()
    assert (first, last) == (f'"-XX:SharedArchiveFile={class_archive()}"', "-Dmine=1")
    assert conf["spark.ui.enabled"] == "true"
    keep(recorded(tmp_path / "second"))  # of a process that took longer
    assert class_archive().read_bytes() == b"classes"


def test_a_java_that_makes_none_is_not_asked_again(tmp_path: Path) -> None:
    missing = tmp_path / "none"
    missing.mkdir()
    assert str(missing) in recorded_to(missing, {})["spark.driver.extraJavaOptions"]
    keep(missing)
    assert was_tried()
    assert with_class_archive(MINE) == MINE


def test_an_archive_goes_with_its_environment(tmp_path: Path) -> None:
    keep(recorded(tmp_path / "first"))
    gone = class_archive().parent.with_name("of_another")
    gone.mkdir()
    (gone / "jars").write_text(str(tmp_path / "removed" / "jars"))
    keep(recorded(tmp_path / "second"))
    assert not gone.exists()
    assert class_archive().is_file()
