"""A group of commands that are imported when they are called, not when the group is."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command is: ``module:attribute``. ``help`` is the line that the group shows for it."""

    target: str
    help: str

    def load(self) -> click.Command:
        """Import the module and return its command."""
        module, _, attribute = self.target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command), self.target
        return command


class LazyGroup(click.Group):
    """Knows its commands by name and line of help. What one of them imports, the others need not wait for."""

    def __init__(self, *arguments: Any, places: Mapping[str, Place], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._places = places

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click calls it with one)
        """All names, sorted."""
        return sorted(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, imported now; None for a name that is not one."""
        place = self._places.get(cmd_name)
        return None if place is None else place.load()

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in the help of the group, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._places[name].help) for name in self.list_commands(ctx)])
