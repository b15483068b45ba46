"""What a run ran on and with, as rows for people, from its manifest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def environment_rows(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(name, text) in order of reading."""
    machine, model = manifest.get("machine") or {}, manifest.get("model") or {}
    yield (
        "machine",
        f"{machine.get('cpu')}, {machine.get('cores')} cores, {_gib(machine.get('memory_bytes'))}",
    )
    yield "platform", str(machine.get("platform"))
    yield "Python", f"{machine.get('python')} ({machine.get('python_build', 'build not recorded')})"
    yield "device", f"{manifest.get('device')}, {manifest.get('workers')} workers per pool"
    yield "model", f"{model.get('name')}, sha256 {model.get('sha256')}"
    signals = [
        f"{signal['name']} v{signal['version']} of {signal['model_output']}"
        for signal in manifest.get("signals") or ()
    ]
    yield "signals", ", ".join(signals) or "not recorded"
    yield (
        "workload",
        (
            f"{manifest.get('workload')}, data set {manifest.get('dataset')}, seed {manifest.get('seed')}, "
            f"replicates {manifest.get('replicates')}, days of each {manifest.get('days')}"
        ),
    )
    commit = manifest.get("commit")
    if commit:
        yield "commit", f"{commit['sha']}{' with uncommitted changes' if commit['dirty'] else ''}"
    else:
        yield "commit", "not run from a checkout"
    versions = manifest.get("versions") or {}
    yield "versions", ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))


def _gib(size_bytes: int | None) -> str:
    return "memory unknown" if size_bytes is None else f"{size_bytes / 2**30:.1f} GiB"
