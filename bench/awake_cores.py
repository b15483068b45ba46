"""Keeps the cores of this machine out of their idle states while something is timed on it.

An image that comes alone finds cores that sleep. What it then takes is its own time and that of several
wake-ups, as it passes through several processes; on a virtual machine each is an exit to the hypervisor, and
the core that comes back has lost its caches to others. That says nothing about an architecture. So it is left
out as ``cyclictest`` does: Linux lets a core poll instead while a program holds ``/dev/cpu_dma_latency`` open
with a zero in it (power management quality of service). The kernel drops the request when the program ends,
in whatever way.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

REQUEST = Path("/dev/cpu_dma_latency")
_NO_DELAY_MICROSECONDS = struct.pack("=i", 0)


@contextlib.contextmanager
def awake_cores(request: Path = REQUEST) -> Iterator[str]:
    """Ask for it. Yields why it was refused, "" where it was granted. Most systems grant it to root alone;
    what is measured without it is slower at low load and less even, and no error."""
    refused = ""
    with contextlib.ExitStack() as until_the_end:
        try:
            held = os.open(request, os.O_WRONLY)  # children do not inherit it, so none can hold it longer
            until_the_end.callback(os.close, held)
            os.write(held, _NO_DELAY_MICROSECONDS)
        except OSError as error:
            refused = f"{request}: {error.strerror}"
        yield refused
