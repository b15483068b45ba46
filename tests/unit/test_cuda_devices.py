from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from signals.cuda_devices import _query, device_name, ordinal_of_worker, visible_devices
from signals.errors import MissingRequirement
from signals.inference import device_index

NVIDIA_SMI = """\
#!/bin/sh
case "$1" in
    --query-gpu=index) printf '0\\n1\\n2\\n' ;;
    --query-gpu=name) printf 'NVIDIA %s\\n' "$4" ;;
esac
"""


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    _query.cache_clear()
    yield
    _query.cache_clear()


def write_program(folder: Path, text: str) -> None:
    if sys.platform == "win32":
        pytest.skip("the stand-in for nvidia-smi is a shell script")
    program = folder / "nvidia-smi"
    program.write_text(text)
    program.chmod(0o755)


@pytest.fixture
def three_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_program(tmp_path, NVIDIA_SMI)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("three_devices")
def test_each_worker_takes_the_next_device_and_they_share_where_there_are_fewer() -> None:
    assert [ordinal_of_worker(worker) for worker in range(5)] == [0, 1, 2, 0, 1]
    assert [device_index("cuda", worker) for worker in (2, 3)] == [2, 0]
    assert device_index("cpu", 4) == 4
    assert [device_name(ordinal) for ordinal in (0, 2)] == ["NVIDIA 0", "NVIDIA 2"]


@pytest.mark.usefixtures("three_devices")
@pytest.mark.parametrize(
    ("chosen", "visible"),
    [
        ("2,0", ["2", "0"]),
        ("GPU-8f", ["GPU-8f"]),
        ("1,-1,0", ["1"]),
        ("", []),
        ("-1", []),
        ("0, 1", ["0", "1"]),
    ],
)
def test_the_environment_hides_and_renumbers_devices(
    monkeypatch: pytest.MonkeyPatch, chosen: str, visible: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert visible_devices() == visible
    assert ordinal_of_worker(7) == 7 % (len(visible) or 1)
    assert device_name(0) == (f"NVIDIA {visible[0]}" if visible else "CUDA device")


@pytest.mark.usefixtures("three_devices")
def test_an_nvidia_smi_that_fails_is_not_taken_for_no_devices(tmp_path: Path) -> None:
    write_program(tmp_path, "#!/bin/sh\nexit 9\n")
    with pytest.raises(MissingRequirement, match=r"run with device cpu: .* exit status 9"):
        device_index("cuda", 1)
    assert device_name(0) == "CUDA device"
    assert device_index("cpu", 1) == 1
    write_program(tmp_path, NVIDIA_SMI)
    assert device_index("cuda", 1) == 1


@pytest.mark.usefixtures("three_devices")
def test_an_nvidia_smi_that_does_not_answer_is_not_taken_for_no_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signals.cuda_devices.QUERY_SECONDS", 0.1)
    write_program(tmp_path, "#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(MissingRequirement, match="timed out"):
        visible_devices()


def test_without_a_driver_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_devices() == []
    assert ordinal_of_worker(3) == 0
    assert device_name(0) == "CUDA device"
