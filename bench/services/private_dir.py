"""A folder for a child that runs as another user, which can't reach into its parent's private folders."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from pathlib import Path

_PREFIX = "lkbench-"
_LOCK = "owner.lock"


class PrivateDir:
    """A folder below the system's temporary folder, removed by :meth:`remove`.

    Its owner holds a lock on it, so that the next one to come can remove what a killed owner left behind.
    """

    def __init__(self, uid: int) -> None:
        _remove_abandoned()
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        # The lock enters under its name when it is held already, or a neighbour would think it abandoned.
        unnamed = self.path / f"{_LOCK}.new"
        self._lock = os.open(unnamed, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        unnamed.rename(self.path / _LOCK)
        os.chown(self.path, uid, -1)

    def remove(self) -> None:
        """Remove the folder and all that is in it. Never raises."""
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.close(self._lock)


def is_reachable_by_all(path: Path) -> bool:
    """Whether every user may pass through all folders that lead to ``path``, and ``path`` if it is one."""
    path = path.resolve()
    folders = [path, *path.parents] if path.is_dir() else path.parents
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in folders)


def _remove_abandoned() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            continue  # not one of ours, or another user's
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)
