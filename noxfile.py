"""Entry points of a checkout: ``nox -s bench`` runs the main job, ``nox -s tests`` checks everything.

All sessions share one environment, ``.nox/env``, made from ``requirements.lock``. What is downloaded stays in
caches outside the checkout, so that a second run, also of a fresh clone, needs no network.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT))

from signals.cache import cache_dir  # noqa: E402 (the checkout is not installed where nox runs)

WINDOWS = sys.platform == "win32"
BIN = "Scripts" if WINDOWS else "bin"
TOOLS = cache_dir() / "tools"
ENVIRONMENT = ROOT / ".nox" / "env"
LOCK = ROOT / "requirements.lock"
UV_REQUIREMENT = "uv>=0.8,<1"

# pytest-benchmark, which no unit test needs, warns when it finds itself beside pytest-xdist.
ON_ALL_CORES = ("-n", "logical", "-p", "no:benchmark")
# Much of a test with servers is waiting. Two files at a time, each with servers of its own; not where a run
# must be as valid as on a machine of its own.
TWO_FILES = ("-n", "2", "--dist", "loadfile", "-p", "no:benchmark")
FAULTS = "tests/end_to_end/faults"

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["bench"]
nox.options.default_venv_backend = "none"


@nox.session
def bench(session: nox.Session) -> None:
    """Set up, then run both architectures and compare them. Options after -- go to ``lkbench run``."""
    prepare(session)
    run(session, "lkbench", "setup")
    run(session, "lkbench", "run", *session.posargs)


@nox.session
def env(session: nox.Session) -> None:
    """Only make the environment, for a job that then calls ``.nox/env/bin/lkbench`` itself."""
    prepare(session)


@nox.session
def tests(session: nox.Session) -> None:
    """Lint, types, layers, unit, integration and end-to-end tests."""
    prepare(session)
    check_style(session)
    pytest(session, "tests/unit", *ON_ALL_CORES)
    pytest(session, "tests/browser")
    run(session, "lkbench", "setup")
    pytest(session, "tests/integration", *TWO_FILES)
    pytest(session, FAULTS, *TWO_FILES)
    pytest(session, "tests/end_to_end", f"--ignore={FAULTS}")


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types and layers."""
    prepare(session)
    check_style(session)


@nox.session
def unit(session: nox.Session) -> None:
    """Unit tests: seconds, no services. Options after -- go to pytest."""
    prepare(session)
    pytest(session, "tests/unit", *ON_ALL_CORES, *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """The report in a headless Chromium, if there is one. Options after -- go to pytest."""
    prepare(session)
    pytest(session, "tests/browser", *session.posargs)


@nox.session
def large_report(session: nox.Session) -> None:
    """Result and report of a ledger of ten million events: time and memory, against their limits."""
    prepare(session)
    run(session, "python", "-m", "tests.benchmarks.large_ledger", *session.posargs)


@nox.session
def integration(session: nox.Session) -> None:
    """Tests against real services, which they start. Options after -- go to pytest."""
    prepare(session)
    run(session, "lkbench", "setup")
    pytest(session, "tests/integration", *TWO_FILES, *session.posargs)


@nox.session
def gpu(session: nox.Session) -> None:
    """The tests that need a CUDA device."""
    prepare(session)
    run(session, "lkbench", "setup")
    run(session, "pytest", "tests", "-m", "gpu", *session.posargs)


@nox.session
def microbench(session: nox.Session) -> None:
    """Micro-benchmarks. ``-- --benchmark-json FILE`` keeps them, ``--benchmark-compare FILE`` compares."""
    prepare(session)
    run(session, "lkbench", "setup")
    pytest(session, "tests/benchmarks", "--benchmark-columns=median,iqr,ops,rounds", *session.posargs)


@nox.session
def throughput(session: nox.Session) -> None:
    """Each path beside the bare loop. Options after -- go to ``lkbench throughput``."""
    prepare(session)
    run(session, "lkbench", "setup")
    run(session, "lkbench", "throughput", "--latency", *session.posargs)


@nox.session
def peers(session: nox.Session) -> None:
    """Our paths beside what a user would write instead. Options after -- go to ``lkbench peers``."""
    prepare(session)
    for lock in sorted((ROOT / "peers" / "requirements").glob("*.lock")):
        prepare_environment(session, ROOT / ".nox" / f"peer-{lock.stem}", lock)
    run(session, "lkbench", "setup")
    run(session, "lkbench", "peers", *session.posargs)


@nox.session
def scale(session: nox.Session) -> None:
    """Very many small images and large nights, memory watched. Options after -- go to ``lkbench scale``."""
    prepare(session)
    run(session, "lkbench", "setup")
    run(session, "lkbench", "scale", *session.posargs)


@nox.session
def scale_out(session: nox.Session) -> None:
    """The layout of a cluster beside one of everything. Options after -- go to ``lkbench scale-out``."""
    prepare(session)
    run(session, "lkbench", "setup")
    run(session, "lkbench", "scale-out", *session.posargs)


def check_style(session: nox.Session) -> None:
    """Ruff, mypy, import-linter."""
    run(session, "ruff", "check", ".")
    run(session, "ruff", "format", "--check", ".")
    run(session, "mypy")
    run(session, "lint-imports")


def pytest(session: nox.Session, folder: str, *arguments: str) -> None:
    """The tests of one folder, less those that need a GPU."""
    run(session, "pytest", folder, "-m", "not gpu", *arguments)


def run(session: nox.Session, program: str, *arguments: str) -> None:
    """Run a program of the environment."""
    session.run(str(ENVIRONMENT / BIN / program), *arguments, external=True)


def prepare(session: nox.Session) -> None:
    """Make the environment from the lock file and install the checkout in it, unless that was done before."""
    if sys.version_info < (3, 11):  # noqa: UP036 (nox may run on any Python)
        session.error(f"Python 3.11 or newer is needed, nox runs on {sys.version.split()[0]}")
    prepare_environment(session, ENVIRONMENT, LOCK, checkout=ROOT)
    packages = [str(found.parent) for found in sorted(ROOT.glob("*/__init__.py"))]
    run(session, "python", "-m", "compileall", "-q", *packages)


def prepare_environment(
    session: nox.Session, environment: Path, lock: Path, *, checkout: Path | None = None
) -> None:
    """Make ``environment`` from ``lock``, with ``checkout`` installed in it, unless that was done before."""
    inputs = [sys.version.encode(), lock.read_bytes()]
    if checkout is not None:
        inputs.append((checkout / "pyproject.toml").read_bytes())
    wanted = hashlib.sha256(b"\0".join(inputs)).hexdigest()
    stamp = environment / "lkbench.stamp"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    uv = str(bootstrap_uv(session))
    python = str(environment / BIN / "python")
    session.run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(environment), external=True)
    # As pip does and uv does not: where PYTHONDONTWRITEBYTECODE is set, as in many containers, each of a
    # run's processes would otherwise compile all that it imports, which takes seconds.
    sync = ["pip", "sync", "--quiet", "--compile-bytecode", "--require-hashes", "--python", python, str(lock)]
    session.log(f"making {environment.name} from {lock.name}, once; its modules are compiled, about 20 s")
    if subprocess.run([uv, *sync, "--offline"], capture_output=True).returncode != 0:
        session.log(f"fetching the packages that {lock.name} names; later runs take them from a cache")
        session.run(uv, *sync, external=True)
    if checkout is not None:
        install = ["pip", "install", "--quiet", "--offline", "--no-deps", "--no-build-isolation"]
        session.run(uv, *install, "--python", python, "--editable", str(checkout), external=True)
    stamp.write_text(wanted)


def bootstrap_uv(session: nox.Session) -> Path:
    """The uv of the tools environment in the cache, which is made with pip the first time.

    By virtualenv, which comes with nox: Debian's Python makes no environment with pip by itself.
    """
    uv = TOOLS / BIN / ("uv.exe" if WINDOWS else "uv")
    if not uv.exists():
        session.log(f"installing {UV_REQUIREMENT} in {TOOLS}")
        session.run(sys.executable, "-m", "virtualenv", "--quiet", str(TOOLS), external=True)
        pip = [str(TOOLS / BIN / "python"), "-m", "pip", "install", "--quiet", UV_REQUIREMENT]
        session.run(*pip, external=True)
    return uv
