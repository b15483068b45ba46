"""An archive of what Spark's driver loads and verifies, which a later driver maps instead of doing it again.

This is Java's class data sharing for applications (JEP 350). With Hive, loading classes is half of the time
until a session is up. An archive holds for one Java and for jars that lie where they lay; a JVM that finds
something else says nothing and loads its classes as it would without.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from bench.services.jars import JDBC, jar, spark_home
from bench.services.java import find_java
from signals.cache import cache_dir

_DRIVER_OPTIONS = "spark.driver.extraJavaOptions"
_QUIET = "-Xlog:cds=off -Xlog:cds+dynamic=off"  # else a JVM with other jars warns on stdout
_NAME = "spark.jsa"


def class_archive() -> Path:
    """The archive of this Java and this environment, as :func:`keep` leaves it. It may not exist.

    Raises MissingRequirement without Java or PySpark.
    """
    files = [Path(find_java().path).resolve(), jar(JDBC, "postgresql"), *sorted(_jars().glob("*.jar"))]
    stats = ((file, file.stat()) for file in files if file.is_file())
    identity = [(str(file), stat.st_size, stat.st_mtime_ns) for file, stat in stats]
    digest = hashlib.sha256(repr(identity).encode()).hexdigest()[:16]
    return cache_dir() / "class-archives" / digest / _NAME


def was_tried() -> bool:
    """Whether it is there, or this Java can't make one."""
    return class_archive().parent.is_dir()


def with_class_archive(spark_conf: Mapping[str, str]) -> dict[str, str]:
    """``spark_conf`` for a driver that maps the archive, if there is one; its own options come last."""
    archive = class_archive()
    if not archive.is_file():
        return {**spark_conf}
    return _with_option(spark_conf, f'"-XX:SharedArchiveFile={archive}"')


def recorded_to(folder: Path, spark_conf: Mapping[str, str]) -> dict[str, str]:
    """``spark_conf`` for a driver that leaves an archive in ``folder`` as it ends, half a minute later."""
    return _with_option(spark_conf, f'"-XX:ArchiveClassesAtExit={folder / _NAME}" -XX:TieredStopAtLevel=1')


def keep(folder: Path) -> None:
    """Move ``folder``, where an archive was recorded if this Java can make one, to where it is looked for.

    It lies in the cache. The archives of environments that are gone go, too: each has some 200 MB.
    """
    kept = class_archive().parent
    for other in kept.parent.glob("*/"):
        if not Path(os.fsdecode((other / "jars").read_bytes())).is_dir():
            shutil.rmtree(other, ignore_errors=True)
    (folder / "jars").write_bytes(os.fsencode(_jars()))
    kept.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):  # another process was faster
        folder.rename(kept)


def _with_option(spark_conf: Mapping[str, str], option: str) -> dict[str, str]:
    given = spark_conf.get(_DRIVER_OPTIONS, "")
    return {**spark_conf, _DRIVER_OPTIONS: f"{option} {_QUIET} {given}".rstrip()}


def _jars() -> Path:
    return spark_home() / "jars"
