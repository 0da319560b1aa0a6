"""What stands in front of a GGUF file's numbers: a flat table of typed values, and where each tensor is."""

from __future__ import annotations

import math
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
_MOST_BYTES = 1 << 28  # of metadata and places of tensors together: real files have a few tens of millions
_MOST_ITEMS = 1 << 22  # of all lists together, and keys, and tensors: a large vocabulary has a tenth of that
_MOST_DIMENSIONS = 8
_DEEPEST = 4  # lists in lists

# Of the formats that GGML defines: numbers in a block, bytes of a block.
_BLOCKS = {
    0: (1, 4),
    1: (1, 2),
    30: (1, 2),
    24: (1, 1),
    25: (1, 2),
    26: (1, 4),
    27: (1, 8),
    28: (1, 8),
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    9: (32, 40),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
    15: (256, 292),
}


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
        self._bytes_left = min(size, _MOST_BYTES)
        self._items_left = _MOST_ITEMS
        if self._file.read(4) != _MAGIC:
            raise ValueError("it does not begin with 'GGUF'")
        version, tensors, keys = self._unpack("<IQQ")
        if version not in (2, 3):
            raise ValueError(f"version {version} is not known")
        self._count(tensors + keys)
        self.metadata: Metadata = {self._string(): self._value(self._unpack("<I")[0]) for _ in range(keys)}
        places = dict(self._tensor() for _ in range(tensors))
        alignment = self.metadata.get("general.alignment", 32)
        start = self._file.tell()
        if isinstance(alignment, int) and alignment > 0:
            start += -start % alignment
        self.tensors = {name: place._replace(offset=start + place.offset) for name, place in places.items()}
        for name, tensor in self.tensors.items():
            if _end(tensor) > size:
                raise ValueError(f"it ends before the end of its tensor {name[:100]!r}")

    def _tensor(self) -> tuple[str, Tensor]:
        name = self._string()
        (dimensions,) = self._unpack("<I")
        if dimensions > _MOST_DIMENSIONS:
            raise ValueError(f"a tensor of it has {dimensions} dimensions")
        shape = struct.unpack(f"<{dimensions}Q", self._take(8 * dimensions))
        kind, offset = self._unpack("<IQ")
        return name, Tensor(shape[::-1], kind, offset)

    def _take(self, length: int) -> bytes:
        if length > self._bytes_left:
            raise ValueError("a length in it is absurd, or it ends in the middle of its metadata")
        self._bytes_left -= length
        data = self._file.read(length)
        if len(data) != length:
            raise ValueError("it ends in the middle of its metadata")
        return data

    def _count(self, items: int) -> None:
        if items > self._items_left:
            raise ValueError("a length in it is absurd")
        self._items_left -= items

    def _unpack(self, layout: str) -> tuple[int, ...]:
        return struct.unpack(layout, self._take(struct.calcsize(layout)))

    def _string(self) -> str:
        return self._take(self._unpack("<Q")[0]).decode("utf-8", "replace")

    def _value(self, kind: int, depth: int = 0) -> Value:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            if depth == _DEEPEST:
                raise ValueError("lists in it are nested too deep")
            element, length = self._unpack("<IQ")
            self._count(length)
            if element in _SCALARS:
                code = _SCALARS[element]
                return list(struct.unpack(f"<{length}{code}", self._take(length * struct.calcsize(f"<{code}"))))
            return [self._value(element, depth + 1) for _ in range(length)]
        if kind not in _SCALARS:
            raise ValueError(f"type {kind} is not known")
        return self._unpack("<" + _SCALARS[kind])[0]


def _end(tensor: Tensor) -> int:
    """Where a tensor's bytes end in the file; of a format that is not known, where they begin and one further."""
    numbers, size = _BLOCKS.get(tensor.kind, (0, 0))
    if not numbers:
        return tensor.offset + 1
    rows, columns = math.prod(tensor.shape[:-1]), tensor.shape[-1] if tensor.shape else 1
    return tensor.offset + rows * -(-columns // numbers) * size
