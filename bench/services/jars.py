"""Fetches the Java servers from Maven Central, through the Apache Ivy that PySpark's wheel brings.

Every file is pinned by sha256 in ``jars.lock``. A set enters the cache whole and verified, or not at all.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bench.services.java import find_java
from signals.cache import cache_dir
from signals.errors import MissingRequirement

LOCK_FILE = Path(__file__).parent / "jars.lock"
FETCH_TIMEOUT_SECONDS = 900.0
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class JarSet:
    """A program with all its dependencies, as Maven coordinates."""

    name: str
    group: str
    artifact: str
    version: str


KAFKA = JarSet("kafka", "org.apache.kafka", "kafka_2.13", "4.3.1")
S3PROXY = JarSet("s3proxy", "org.gaul", "s3proxy", "2.6.0")
JDBC = JarSet("postgresql", "org.postgresql", "postgresql", "42.7.8")
ALL = (KAFKA, S3PROXY, JDBC)


def jar_folder(jar_set: JarSet) -> Path:
    """Where the set lies once it is fetched. The name changes with the lock."""
    digest = hashlib.sha256(repr(sorted(locked(jar_set).items())).encode()).hexdigest()[:12]
    return cache_dir() / "jars" / f"{jar_set.name}-{jar_set.version}-{digest}"


def jar(jar_set: JarSet, artifact: str) -> Path:
    """One file of a fetched set, by the part of its name before the version. Raises MissingRequirement."""
    for name in locked(jar_set):
        if name.startswith(f"{artifact}-") and name[len(artifact) + 1].isdigit():
            return jar_folder(jar_set) / name
    raise MissingRequirement(f"{LOCK_FILE.name} lists no {artifact} in {jar_set.name}")


def locked(jar_set: JarSet) -> dict[str, str]:
    """File name -> sha256 of a set, as locked."""
    entries = (line.split() for line in LOCK_FILE.read_text().splitlines())
    prefix = f"{jar_set.name}/"
    return {path.removeprefix(prefix): digest for digest, path in entries if path.startswith(prefix)}


def is_cached(jar_set: JarSet) -> bool:
    """Whether every file of the set is in the cache, with the content that is locked."""
    return not _wrong_files(jar_folder(jar_set), locked(jar_set))


def fetch_jars(jar_sets: Iterable[JarSet] = ALL, progress: Progress | None = None) -> None:
    """Bring the sets into the cache, concurrently. Without network if they are there already.

    Raises MissingRequirement if a set can't be fetched or a file differs from its lock.
    """
    missing = [jar_set for jar_set in jar_sets if not is_cached(jar_set)]
    if not missing:
        return
    find_java()
    with ThreadPoolExecutor(len(missing), thread_name_prefix="jars") as pool:
        list(pool.map(lambda jar_set: _fetch(jar_set, progress), missing))


def retrieve(jar_set: JarSet, folder: Path, ivy_cache: Path) -> None:
    """Let Ivy download the set into ``folder``, unverified. Raises MissingRequirement."""
    argv = [find_java().path, "-jar", str(_ivy()), "-confs", "default", "-cache", str(ivy_cache)]
    argv += ["-dependency", jar_set.group, jar_set.artifact, jar_set.version]
    # The classifier keeps the native and the plain variant of a library apart.
    argv += ["-retrieve", f"{folder}/[artifact]-[revision](-[classifier]).[ext]"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=FETCH_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise MissingRequirement(
            f"{jar_set.name} {jar_set.version}: not fetched after {FETCH_TIMEOUT_SECONDS:.0f} s; try again, "
            "what was fetched so far is kept"
        ) from error
    if done.returncode != 0:
        log = ivy_cache / "ivy.log"
        log.write_text(done.stdout + done.stderr)
        raise MissingRequirement(
            f"{jar_set.name} {jar_set.version} can't be fetched from Maven Central; check the network ("
            f"behind a proxy, JAVA_TOOL_OPTIONS takes -Dhttps.proxyHost=…) and try again; the log is {log}"
        )


def _fetch(jar_set: JarSet, progress: Progress | None) -> None:
    if progress:
        progress(f"fetching {jar_set.name} {jar_set.version} ({len(locked(jar_set))} jars)")
    target = jar_folder(jar_set)
    # Ivy's cache stays when a fetch fails, so that the next attempt goes on from there.
    ivy_cache = cache_dir() / "ivy" / jar_set.name
    ivy_cache.mkdir(parents=True, exist_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as temporary:
        folder = Path(temporary) / "jars"
        retrieve(jar_set, folder, ivy_cache)
        expected = locked(jar_set)
        if wrong := _wrong_files(folder, expected):
            shutil.rmtree(ivy_cache)
            raise MissingRequirement(
                f"{jar_set.name} {jar_set.version}: {', '.join(wrong)} differ from {LOCK_FILE.name}, or are "
                "missing; nothing was installed"
            )
        for path in folder.iterdir():
            if path.name not in expected:
                path.unlink()
        if target.exists():  # damaged, otherwise nothing would be fetched
            target.rename(Path(temporary) / "damaged")
        try:
            folder.rename(target)
        except OSError:
            if not is_cached(jar_set):  # else another process was faster
                raise
    shutil.rmtree(ivy_cache, ignore_errors=True)
    if progress:
        progress(f"{jar_set.name} {jar_set.version} is fetched and verified")


def _wrong_files(folder: Path, expected: dict[str, str]) -> list[str]:
    if not folder.is_dir():
        return sorted(expected)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing releases the interpreter lock
        digests = pool.map(lambda name: _sha256(folder / name), expected)
        return [name for name, digest in zip(expected, digests, strict=True) if digest != expected[name]]


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""


def spark_home() -> Path:
    """Where the Spark of PySpark's wheel lies. Raises MissingRequirement."""
    spec = find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise MissingRequirement("PySpark is not installed; install what requirements.lock names")
    return Path(os.path.realpath(spec.origin)).parent


def _ivy() -> Path:
    found = sorted((spark_home() / "jars").glob("ivy-*.jar"))
    if not found:
        raise MissingRequirement("this PySpark has no ivy-*.jar; install what requirements.lock names")
    return found[-1]
