"""Finds the runs that a comparison is about: by id, folder, result file, tag, or a folder of runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from bench.manifest import read_manifest
from bench.metrics import Measurement, Reading, measure
from bench.run_folder import latest_run, read_json
from bench.schema import check_result
from signals.errors import ConfigurationError, InvalidRun
from signals.whole_file import replace_file

ABSENT = "this run has no such arm or pool"
TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class StoredRun:
    """One stored result. ``name`` is its run id."""

    path: Path  # its result.json
    result: Mapping[str, Any]

    @classmethod
    def load(cls, path: Path) -> StoredRun:
        """Read a ``result.json``. Raises ConfigurationError for one that is none, or of another version."""
        try:
            content = read_json(path)
        except OSError as error:
            raise ConfigurationError(
                f"{path} can't be read ({error.strerror}): only a run that ended has a result"
            ) from error
        check_result(content, str(path))
        return cls(path, content)

    @property
    def name(self) -> str:
        """Id of the run."""
        return str(self.result["run_id"])

    @cached_property
    def metrics(self) -> dict[str, Measurement]:
        """Every metric by its id."""
        return {found.id: found for found in measure(self.result)}

    @property
    def replicates(self) -> int:
        """How many it has."""
        return max((len(arm["replicates"]) for arm in self.result["arms"].values()), default=0)

    @property
    def is_valid(self) -> bool:
        """Whether its figures count."""
        return bool(self.result["validity"]["valid"])

    @property
    def broken_rules(self) -> list[Mapping[str, Any]]:
        """The rules of validity that an INVALID run breaks, with reason and advice."""
        return [rule for rule in self.result["validity"]["rules"] if not rule["ok"]]

    @property
    def invalidity(self) -> str:
        """One sentence that names the rules which an INVALID run breaks; "" of a VALID one."""
        names = ", ".join(str(rule["id"]) for rule in self.broken_rules)
        return "" if self.is_valid else f"run {self.name} is INVALID ({names}): its figures don't count"

    def require_valid(self) -> None:
        """Raise InvalidRun with the rules that are broken, unless the run is VALID."""
        if not self.is_valid:
            found = (rule["advice"] for rule in self.broken_rules if rule.get("advice"))
            advice = "; ".join(dict.fromkeys(found))
            raise InvalidRun(f"{self.invalidity}{f'. To do: {advice}' if advice else ''}")


@dataclass(frozen=True)
class Side:
    """All runs of one side of a comparison. ``label`` is what the user called it."""

    label: str
    runs: tuple[StoredRun, ...]

    def metric_ids(self) -> dict[str, Measurement]:
        """One measurement of every metric that any of the runs has."""
        found: dict[str, Measurement] = {}
        for run in self.runs:
            for metric_id, measurement in run.metrics.items():
                found.setdefault(metric_id, measurement)
        return found

    def readings(self, metric_id: str) -> list[Reading]:
        """The reading of every run as a whole; of one without the metric, one that says so."""
        found = (run.metrics.get(metric_id) for run in self.runs)
        return [Reading(None, ABSENT) if metric is None else metric.reading for metric in found]

    def replicates(self, metric_id: str) -> list[Reading]:
        """The readings of every replicate of every run, in order; of a run without the metric, one that says
        so: were it left out, pairs would no longer be those that ran in turn."""
        found: list[Reading] = []
        for run in self.runs:
            if (metric := run.metrics.get(metric_id)) is None:
                found.append(Reading(None, ABSENT))
            else:
                found += [metric.replicates[number] for number in sorted(metric.replicates)]
        return found


def find_side(reference: str, output: Path) -> Side:
    """The runs that ``reference`` means.

    Tried in this order: ``latest``, a result file, a run folder, a run id below ``output``, a tag, a folder
    that holds runs. Raises ConfigurationError if it is none of them.
    """
    return Side(reference, tuple(StoredRun.load(path) for path in _result_files(reference, output)))


def _result_files(reference: str, output: Path) -> list[Path]:
    if reference == "latest":
        return [latest_run(output) / "result.json"]
    own = Path(reference)
    if own.is_file():
        return [own]
    for folder in (own, output / reference):
        if (folder / "manifest.json").is_file() or (folder / "result.json").is_file():
            return [folder / "result.json"]
    if tagged := tagged_runs(reference, output):
        return [tagged[-1] / "result.json"]
    if held := sorted(own.glob("*/result.json")):
        return held
    raise ConfigurationError(
        f"{reference} is no run: neither a result file, a run folder, a folder of runs, nor an id or a tag "
        f"of a run in {output}"
    )


def tagged_runs(tag: str, output: Path) -> list[Path]:
    """The run folders below ``output`` that bear a tag, the newest last."""
    folders = sorted(path.parent for path in output.glob("*/manifest.json"))
    return [folder for folder in folders if tag in (read_manifest(folder).get("tags") or [])]


def tag_run(run_dir: Path, tag: str) -> None:
    """Give a VALID run a name; a run beside it that bears the name loses it.

    Raises ConfigurationError for an unusable name, InvalidRun for a run that must not become a baseline.
    """
    check_tag(tag)
    StoredRun.load(run_dir / "result.json").require_valid()
    for other in tagged_runs(tag, run_dir.parent):
        _write_tags(other, lambda tags: tags - {tag})
    _write_tags(run_dir, lambda tags: tags | {tag})


def check_tag(tag: str) -> None:
    """Raise ConfigurationError unless ``tag`` can be the name of a run."""
    if not TAG.fullmatch(tag) or tag == "latest":
        raise ConfigurationError(
            f"{tag!r} can't be a tag: up to 64 letters, digits, dots, dashes and underscores, not latest"
        )


def _write_tags(run_dir: Path, change: Callable[[set[str]], set[str]]) -> None:
    manifest = read_manifest(run_dir)
    tags = sorted(change(set(manifest.get("tags") or [])))
    tagged = orjson.dumps({**manifest, "tags": tags}, option=orjson.OPT_INDENT_2)
    replace_file(run_dir / "manifest.json", tagged)
