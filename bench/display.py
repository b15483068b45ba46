"""Shows on stderr what is running and how far it is: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

PLAIN_SECONDS = 10.0
REFRESH_PER_SECOND = 4


@dataclass
class ArmStatus:
    """How far one arm and replicate is; counts are arrivals unless named otherwise."""

    arm: str
    replicate: int
    days: int
    scheduled: int
    phase: str = "waiting"
    step: str = ""  # of the phase, where it has any
    day: int = 0
    arrivals: int = 0
    available_online: int = 0
    available_batch_keys: int = 0
    backlog: int = 0
    dead_letters: int = 0
    started: float = 0.0
    ended: float = 0.0

    @property
    def now(self) -> str:
        """What it does."""
        return f"{self.phase}: {self.step}" if self.step else self.phase

    def line(self) -> str:
        """One plain line."""
        return (
            f"{self.arm} r{self.replicate}  {self.now}  day {self.day + 1}/{self.days}"
            f"  arrivals {self.arrivals}/{self.scheduled}"
            f"  online {self.available_online}"
            f"  batch {self.available_batch_keys} keys"
            f"  backlog {self.backlog}  dead letters {self.dead_letters}"
        )


class Display:
    """Progress of a run. ``refresh`` is called before each repaint and may update the statuses."""

    def __init__(self, console: Console, refresh: Callable[[], None] = lambda: None) -> None:
        self._console = console
        self.refresh = refresh
        self._statuses: list[ArmStatus] = []
        self._live = Live(console=console, get_renderable=self._render, auto_refresh=False, transient=False)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._repaint_until_closed, name="display", daemon=True)

    @property
    def _is_live(self) -> bool:
        return self._console.is_terminal

    def note(self, text: str) -> None:
        """Say something once."""
        self._console.print(Text(text), highlight=False, soft_wrap=True)

    def add(self, status: ArmStatus) -> None:
        """Show ``status`` from now on."""
        self._statuses.append(status)

    def phase(self, status: ArmStatus, phase: str) -> None:
        """``status`` enters a phase."""
        status.phase, status.step = phase, ""
        if not self._is_live:
            self.note(status.line())

    def __enter__(self) -> Display:
        if self._is_live:
            self._live.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._thread.join()
        if self._is_live:
            self._live.update(self._render(), refresh=True)
            self._live.stop()

    def _repaint_until_closed(self) -> None:
        said = time.monotonic()
        while not self._closed.wait(1 / REFRESH_PER_SECOND):
            self.refresh()
            if self._is_live:
                self._live.refresh()
            elif time.monotonic() - said > PLAIN_SECONDS:
                said = time.monotonic()
                for status in self._statuses:
                    if status.started and not status.ended:
                        self.note(status.line())

    def _render(self) -> RenderableType:
        if not self._statuses:
            return Group()
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("arm")
        table.add_column("now")
        for name in ("day", "arrivals", "online", "batch keys", "backlog", "dead letters", "time"):
            table.add_column(name, justify="right")
        for status in self._statuses:
            end = status.ended or time.monotonic()
            table.add_row(
                f"{status.arm} r{status.replicate}",
                status.now,
                f"{status.day + 1}/{status.days}",
                f"{status.arrivals}/{status.scheduled}",
                str(status.available_online),
                str(status.available_batch_keys),
                str(status.backlog),
                str(status.dead_letters),
                f"{end - status.started:.0f} s" if status.started else "",
                style="" if status.started and not status.ended else "dim",
            )
        return table
