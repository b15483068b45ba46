"""The CUDA devices that this process sees, by the ordinals that CUDA and ONNX Runtime give them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from functools import cache

from signals.errors import MissingRequirement

QUERY_SECONDS = 20.0
DRIVER = "libcuda.so.1"


def visible_devices() -> list[str]:
    """What ``nvidia-smi -i`` calls each device, by ordinal; none where there is no ``nvidia-smi``.

    ``CUDA_VISIBLE_DEVICES`` hides and renumbers; what follows an invalid entry is hidden, too (CUDA C++
    Programming Guide, "CUDA Environment Variables"). Raises MissingRequirement where nvidia-smi fails.
    """
    if (chosen := os.environ.get("CUDA_VISIBLE_DEVICES")) is None:
        return _query("index").split()
    names = [name.strip() for name in chosen.split(",")]
    valid = [bool(name) and not name.startswith("-") for name in names]
    return names[: valid.index(False) if False in valid else None]


def has_driver() -> bool:
    """Whether CUDA can start at all. ONNX Runtime, asked in vain, fills stdout and stderr before it says."""
    try:
        ctypes.CDLL(DRIVER)
    except OSError:
        return False
    return True


def ordinal_of_worker(worker: int) -> int:
    """The device of worker ``worker`` of a pool: each takes the next, and they share where there are fewer.

    0 where none is seen: whoever uses it is told what is missing. Raises MissingRequirement.
    """
    return worker % (len(visible_devices()) or 1)


def device_name(ordinal: int) -> str:
    """Such as ``NVIDIA H100 80GB HBM3``; ``CUDA device`` where nvidia-smi can't tell: it knows no part of one
    by CUDA's name."""
    with contextlib.suppress(MissingRequirement):
        devices = visible_devices()
        if ordinal < len(devices) and (name := _query("name", "-i", devices[ordinal])):
            return name
    return "CUDA device"


def number_by_bus() -> None:
    """Let CUDA number devices as nvidia-smi does, where the environment does not say; by itself it puts the
    fastest first. For use before the first device is opened."""
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")


@cache  # devices do not change, and each answer takes a process
def _query(what: str, *more: str) -> str:
    command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader", *more]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=QUERY_SECONDS, check=True)
    except FileNotFoundError:
        return ""
    except (OSError, subprocess.SubprocessError) as error:
        raise MissingRequirement(
            "nvidia-smi can't tell which CUDA devices there are; mend the driver, name them in "
            f"CUDA_VISIBLE_DEVICES, or run with device cpu: {error}"
        ) from error
    return found.stdout.strip()
