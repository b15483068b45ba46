from __future__ import annotations

import os
from pathlib import Path

import pytest

from signals.whole_file import replace_file, replace_secret


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


@pytest.mark.parametrize("old_mode", [None, 0o644])
def test_a_secret_is_its_owner_s_alone_whatever_was_there(tmp_path: Path, old_mode: int | None) -> None:
    path = tmp_path / "password"
    if old_mode is not None:
        path.write_text("old")
        path.chmod(old_mode)
    umask = os.umask(0)
    try:
        assert replace_secret(path, "new") == path
    finally:
        os.umask(umask)
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
