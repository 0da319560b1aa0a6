"""The metadata of a GGUF file: a flat table of typed values in front of the tensors."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from specserve.backends.errors import BackendLoadError

Value = bool | int | float | str | list["Value"]

_MAGIC = b"GGUF"
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING = 8
_ARRAY = 9
_LONGEST = 1 << 26  # a longer string or array means a damaged file


def read_metadata(path: Path) -> dict[str, Value]:
    """Read every key of the file's metadata; the tensors stay unread, only their offsets are checked.

    Raises:
        BackendLoadError: The file is not GGUF, or ends too early.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            return _Reader(file).metadata(size)
    except OSError as error:
        raise BackendLoadError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, struct.error) as error:
        raise BackendLoadError(f"{path} is not a whole GGUF file: {error}") from error


class _Reader:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def metadata(self, size: int) -> dict[str, Value]:
        if self._file.read(4) != _MAGIC:
            raise ValueError("it does not begin with 'GGUF'")
        version, tensors, keys = self._unpack("<IQQ")
        if version not in (2, 3):
            raise ValueError(f"version {version} is not known")
        table = {self._string(): self._value(self._unpack("<I")[0]) for _ in range(keys)}
        alignment = table.get("general.alignment", 32)
        last = max((self._tensor_offset() for _ in range(tensors)), default=0)
        start = self._file.tell()
        if isinstance(alignment, int) and alignment > 0:
            start += -start % alignment
        if start + last >= size:
            raise ValueError("it ends before its last tensor")
        return table

    def _tensor_offset(self) -> int:
        self._string()
        (dimensions,) = self._unpack("<I")
        self._take(8 * dimensions)
        _, offset = self._unpack("<IQ")
        return int(offset)

    def _take(self, length: int) -> bytes:
        if length > _LONGEST:
            raise ValueError("a length in it is absurd")
        data = self._file.read(length)
        if len(data) != length:
            raise ValueError("it ends in the middle of its metadata")
        return data

    def _unpack(self, layout: str) -> tuple[int, ...]:
        return struct.unpack(layout, self._take(struct.calcsize(layout)))

    def _string(self) -> str:
        return self._take(self._unpack("<Q")[0]).decode("utf-8", "replace")

    def _value(self, kind: int) -> Value:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            element, length = self._unpack("<IQ")
            if length > _LONGEST:
                raise ValueError("a length in it is absurd")
            if element in _SCALARS:
                code = _SCALARS[element]
                return list(struct.unpack(f"<{length}{code}", self._take(length * struct.calcsize(code))))
            return [self._value(element) for _ in range(length)]
        if kind not in _SCALARS:
            raise ValueError(f"type {kind} is not known")
        return self._unpack("<" + _SCALARS[kind])[0]
