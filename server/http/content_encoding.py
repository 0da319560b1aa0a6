"""Bodies that were sent compressed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from specserve.spec.errors import InvalidRequest, UnsupportedMediaType

_GZIP = zlib.MAX_WBITS | 16  # zlib's way to say: with gzip's header and checksum
_STEP = 256 * 1024  # bytes made in one go


def is_gzip(content_encoding: str) -> bool:
    """Whether a body has to be unpacked.

    Args:
        content_encoding: The header, empty if there is none.

    Raises:
        UnsupportedMediaType: It is packed in another way.
    """
    match content_encoding.strip().lower():
        case "" | "identity":
            return False
        case "gzip" | "x-gzip":
            return True
        case _:
            raise UnsupportedMediaType("The request body may be sent as it is or with Content-Encoding: gzip.")


def unpacked(packed: bytes | bytearray) -> Iterator[bytes]:
    """What was packed by gzip, in parts: the caller says how much is too much by taking no more.

    Raises:
        InvalidRequest: It is no gzip, or ends too early.
    """
    rest: bytes | bytearray = packed
    while rest:
        member = zlib.decompressobj(_GZIP)
        while not member.eof:
            try:
                part = member.decompress(rest, _STEP)
            except zlib.error as error:
                raise InvalidRequest("The request body is not valid gzip.") from error
            rest = member.unconsumed_tail
            if part:
                yield part
            elif not rest and not member.eof:
                raise InvalidRequest("The request body is not complete gzip.")
        rest = member.unused_data
