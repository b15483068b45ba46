"""The reference of every metric as Markdown: ``python -m bench.metrics.reference > docs/metrics.md``."""

from __future__ import annotations

import sys

from bench.metrics.definition import Definition
from bench.metrics.registry import DEFINITIONS

HEAD = """\
# Metrics

<!-- Made by `python -m bench.metrics.reference > docs/metrics.md`; a test holds that it is up to date. -->

Every scalar figure of a run, by the name that `lkbench compare`, `lkbench gate` and the exports use.
`{arm}`, `{pool}`, `{path}`, `{stage}` and `{step}` stand for what a run has: arms `lambda` and `kappa`, pools
`online`, `nightly` and `stream`. A threshold may leave out the unit at the end of a name, since it writes its
own: `kappa.online.p95 < 2 s`.

A run has each metric once as a whole and once for each replicate, at the same place below
`arms.{arm}.replicates.{n}` of `result.json`. A metric that could not be measured is null, with a reason; it
is never 0, and a gate that asks for it fails. The query is a file in `bench/sql/`; where there is none, the
figure is computed from the Parquet files of the Hive partitions (`bench/agreement.py`).

*time*: varies from run to run, as times do, and calls and bytes that depend on what was worked on together;
compared with a test against a noise floor. *count*: the same in every run of the same code; compared as it
is.
"""


def reference() -> str:
    """The page."""
    sections: dict[str, list[Definition]] = {}
    for definition in DEFINITIONS:
        sections.setdefault(definition.query or "agreement", []).append(definition)
    return "\n".join([HEAD, *(_section(name, found) for name, found in sections.items())])


def _section(name: str, definitions: list[Definition]) -> str:
    lines = [f"## {name.replace('_', ' ').capitalize()}", ""]
    for definition in definitions:
        lines += [f"**`{definition.pattern}`**: {definition.definition}", "", f"> {_facts(definition)}", ""]
    return "\n".join(lines)


def _facts(definition: Definition) -> str:
    query = f"`bench/sql/{definition.query}.sql`" if definition.query else "no query: Hive partitions"
    return (
        f"{definition.unit}, {definition.direction}, {definition.noise}, {definition.tag}; {query}; "
        f"`{definition.where}`"
    )


if __name__ == "__main__":
    sys.stdout.write(reference())
