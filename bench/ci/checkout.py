"""Worktrees of two commits, made for one job and removed after it, however it ends."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from signals.errors import ConfigurationError, MissingRequirement

_SHORT = 10  # digits of a commit id that people see


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit as the user called it, and its full id."""

    reference: str
    sha: str

    @property
    def label(self) -> str:
        """For people: ``origin/main 162bb98f01``."""
        return f"{self.reference} {self.sha[:_SHORT]}"


def find_commit(repository: Path, reference: str) -> Commit:
    """The commit that a branch, a tag or an id means. Raises ConfigurationError if there is none."""
    found = _git(
        repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{reference}^{{commit}}"
    )
    if found.returncode != 0:
        raise ConfigurationError(
            f"{reference} is no commit of the repository in {repository}: fetch it first (in CI, check out "
            f"with the whole history) {found.stderr.strip()}".rstrip()
        )
    return Commit(reference, found.stdout.strip())


def has_changes(repository: Path) -> bool:
    """Whether tracked files differ from HEAD: such changes are in no checkout."""
    return bool(_git(repository, "status", "--porcelain", "--untracked-files=no").stdout.strip())


@contextlib.contextmanager
def checkouts(repository: Path, parent: Path, commits: dict[str, Commit]) -> Iterator[dict[str, Path]]:
    """A worktree of each commit in a fresh folder below ``parent``, for as long as the context is open.

    Raises ConfigurationError if git can't make one.
    """
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="job-", dir=parent, ignore_cleanup_errors=True) as folder:
        made = {name: Path(folder) / name for name in commits}
        try:
            for name, commit in commits.items():
                added = _git(
                    repository, "worktree", "add", "--quiet", "--detach", str(made[name]), commit.sha
                )
                if added.returncode != 0:
                    raise ConfigurationError(
                        f"git can't check out {commit.label} in {made[name]}: {added.stderr.strip()}"
                    )
            yield made
        finally:
            for path in made.values():
                _git(repository, "worktree", "remove", "--force", str(path))


def _git(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        # A session of its own: Ctrl-C on the terminal must not end the git that cleans up after it.
        return subprocess.run(
            ["git", "-C", str(repository), *arguments],
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise MissingRequirement("git is not on the PATH: install it") from error
