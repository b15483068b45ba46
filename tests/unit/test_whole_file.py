from __future__ import annotations

from pathlib import Path

import pytest

from signals.whole_file import replace_file


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    for data in (b"a" * 1000, b"b"):
        replace_file(path, data)
        assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]


def test_what_can_not_be_written_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "taken"
    (path / "by a folder").mkdir(parents=True)
    with pytest.raises(OSError):
        replace_file(path, b"new")
    assert [item.name for item in tmp_path.iterdir()] == ["taken"]
