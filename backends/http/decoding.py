"""Compressed bodies, decoded in small steps and within bounds.

No encoding is ever asked for, but some servers and the proxies before them compress all the same.
"""

from __future__ import annotations

import zlib

_STEP = 64 * 1024  # bytes that one step gives at most
_MOST_TIMES = 100  # what came; texts that are worth sending compress to a fiftieth at best
_ALLOWANCE = 1024 * 1024  # bytes for which that is not looked at
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


class CannotDecode(Exception):
    """The body is compressed in a way that is not known here, is broken, or grows out of all proportion."""


class Decoder:
    """Decodes gzip or deflate: `feed` it what came, then `step` until that gives nothing.

    Args:
        encoding: The header Content-Encoding.

    Raises:
        CannotDecode: It is another encoding.
    """

    def __init__(self, encoding: str) -> None:
        encoding = encoding.strip().lower()
        if encoding not in {"gzip", "x-gzip", "deflate"}:
            raise CannotDecode("an encoding that was not asked for")
        self._gzip = encoding != "deflate"
        self._inflate = zlib.decompressobj(_GZIP if self._gzip else _ZLIB)
        self._begun = False
        self._waiting = b""
        self._taken = self._given = 0

    def feed(self, data: bytes) -> None:
        """Take what came."""
        self._taken += len(data)
        self._waiting += data

    def step(self) -> bytes:
        """The next bytes, at most 64 KiB; none if more must come first.

        Raises:
            CannotDecode: It is broken, or a bomb.
        """
        while self._waiting:
            data, self._waiting = self._waiting, b""
            try:
                out = self._inflate.decompress(data, _STEP)
            except zlib.error:
                if self._gzip or self._begun:
                    raise CannotDecode("a broken body") from None
                self._begun, self._waiting = True, data  # deflate without the zlib header, as some servers send it
                self._inflate = zlib.decompressobj(_RAW)
                continue
            self._begun = True
            self._waiting = self._inflate.unconsumed_tail
            if self._inflate.eof:
                rest = self._inflate.unused_data  # another member, or padding
                self._waiting = rest if self._gzip and rest.startswith(b"\x1f\x8b") else b""
                self._inflate = zlib.decompressobj(_GZIP if self._gzip else _ZLIB)
            self._given += len(out)
            if self._given > _ALLOWANCE + _MOST_TIMES * self._taken:
                raise CannotDecode("a body that grows out of all proportion")
            if out:
                return out
        return b""
