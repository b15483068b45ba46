"""Where the processes of the online path say that they are ready, and at which address."""

from __future__ import annotations

from pathlib import Path


def inference_address_file(arm_dir: Path) -> Path:
    """JSON with host, port and pid of the inference service; replaced when it is started again."""
    return arm_dir / "inference_service.json"


def worker_ready_file(arm_dir: Path, index: int) -> Path:
    """Exists once the worker takes jobs; JSON with its pid."""
    return arm_dir / f"online_worker-{index}.json"
