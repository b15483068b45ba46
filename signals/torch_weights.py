"""Reads tensors from PyTorch's legacy file format without PyTorch, and without running anything in it.

The format is five pickles (magic number, protocol, system info, state, storage keys) followed by each
storage: an int64 count, then the raw elements. The unpickler knows four names and refuses every other.
"""

from __future__ import annotations

import collections
import pickle
import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from signals.errors import ConfigurationError

_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


def read_state(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Name to array of a state dictionary in PyTorch's legacy format (float32 and int64 tensors).

    Raises ConfigurationError when the file is anything else.
    """
    try:
        with path.open("rb") as file:
            return _read(file)
    except (pickle.UnpicklingError, EOFError, struct.error, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{path.name} is not a legacy PyTorch state file: {error}") from error


def _read(file: BinaryIO) -> dict[str, npt.NDArray[Any]]:
    if _Unpickler(file).load() != _MAGIC:
        raise ValueError("wrong magic number")
    _Unpickler(file).load()  # protocol version
    if not _Unpickler(file).load()["little_endian"]:
        raise ValueError("big-endian file")
    unpickler = _Unpickler(file)
    state = unpickler.load()
    storages: dict[str, npt.NDArray[Any]] = {}
    for key in _Unpickler(file).load():
        dtype, count = unpickler.storages[key]
        (stored,) = struct.unpack("<q", file.read(8))
        data = file.read(count * dtype.itemsize)
        if stored != count or len(data) != count * dtype.itemsize:
            raise ValueError(f"storage {key} is incomplete")
        storages[key] = np.frombuffer(data, dtype)
    return {name: tensor.view_of(storages[tensor.storage_key]) for name, tensor in state.items()}


class _Tensor:
    """A tensor as pickled: a strided view of a storage that follows later in the file."""

    def __init__(
        self, storage_key: str, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: object
    ) -> None:
        self.storage_key, self._offset, self._shape, self._stride = storage_key, offset, shape, stride

    def view_of(self, storage: npt.NDArray[Any]) -> npt.NDArray[Any]:
        reach = sum((size - 1) * step for size, step in zip(self._shape, self._stride, strict=True))
        if min((self._offset, *self._shape, *self._stride)) < 0 or self._offset + reach >= len(storage):
            raise ValueError(f"a tensor reaches outside its storage {self.storage_key}")
        strides = tuple(step * storage.itemsize for step in self._stride)
        view = np.lib.stride_tricks.as_strided(storage[self._offset :], self._shape, strides)
        return np.ascontiguousarray(view)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.storages: dict[str, tuple[np.dtype[Any], int]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"the file refers to {module}.{name}, which is not allowed")

    def persistent_load(self, pid: Any) -> str:
        """A storage is referred to as ("storage", type, key, location, number of elements, view)."""
        kind, dtype, key, _location, count, view = pid
        if kind != "storage" or view is not None or not isinstance(count, int) or count < 0:
            raise pickle.UnpicklingError("the file refers to something that is not a plain storage")
        self.storages[key] = (dtype, count)
        return str(key)
