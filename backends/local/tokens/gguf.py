"""What stands in front of a GGUF file's numbers: a flat table of typed values, and where each tensor is."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from specserve.spec.errors import BackendLoadError

Value = bool | int | float | str | list["Value"]

Metadata = dict[str, Value]


class Tensor(NamedTuple):
    """Where a tensor lies.

    Attributes:
        shape: The outermost dimension first, as NumPy counts; the file has them the other way round.
        kind: GGML's number of the format of its numbers.
        offset: Bytes from the beginning of the file.
    """

    shape: tuple[int, ...]
    kind: int
    offset: int


_MAGIC = b"GGUF"
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING = 8
_ARRAY = 9
_LONGEST = 1 << 26  # a longer string or array means a damaged file


def read_metadata(path: Path) -> Metadata:
    """Read every key of the file's metadata; of the tensors only the places are read, and checked.

    Raises:
        BackendLoadError: The file is not GGUF, or ends too early.
    """
    return _head(path).metadata


def read_tensors(path: Path) -> tuple[Metadata, dict[str, Tensor]]:
    """Read the metadata, and where each tensor is.

    Raises:
        BackendLoadError: The file is not GGUF, or ends too early.
    """
    head = _head(path)
    return head.metadata, head.tensors


def _head(path: Path) -> _Head:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            return _Head(file, size)
    except OSError as error:
        raise BackendLoadError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, struct.error) as error:
        raise BackendLoadError(f"{path} is not a whole GGUF file: {error}") from error


class _Head:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        if file.read(4) != _MAGIC:
            raise ValueError("it does not begin with 'GGUF'")
        version, tensors, keys = self._unpack("<IQQ")
        if version not in (2, 3):
            raise ValueError(f"version {version} is not known")
        self.metadata: Metadata = {self._string(): self._value(self._unpack("<I")[0]) for _ in range(keys)}
        places = dict(self._tensor() for _ in range(tensors))
        alignment = self.metadata.get("general.alignment", 32)
        start = self._file.tell()
        if isinstance(alignment, int) and alignment > 0:
            start += -start % alignment
        self.tensors = {name: place._replace(offset=start + place.offset) for name, place in places.items()}
        if max((place.offset for place in self.tensors.values()), default=start) >= size:
            raise ValueError("it ends before its last tensor")

    def _tensor(self) -> tuple[str, Tensor]:
        name = self._string()
        (dimensions,) = self._unpack("<I")
        shape = struct.unpack(f"<{dimensions}Q", self._take(8 * dimensions))
        kind, offset = self._unpack("<IQ")
        return name, Tensor(shape[::-1], kind, offset)

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
