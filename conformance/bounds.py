"""How much the kit reads of one answer and keeps of a run: the server that it judges can be a hostile one."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable

MIB = 1024 * 1024
LARGEST = 4 * MIB
"""Bytes of one answer, after decoding. The longest honest answer to a request of this kit is far below."""

MOST_KEPT = 16 * MIB
"""Bytes of all answers above `SMALL` together. Once they are spent, no answer may be larger than `SMALL`."""

SMALL = MIB // 4
MOST_HEAD = 64 * 1024
"""Bytes that may come before the header of the answer is complete, interim answers (1xx) included."""

MOST_OVERHEAD = MIB
"""Bytes of the framing: chunk sizes, their extensions, trailers."""

MOST_HEADERS = 200
MOST_EVENTS = 2000
"""Events of a stream. Each is judged by itself, so a flood of empty ones would take minutes."""

MOST_UNASKED_EVENTS = 200
"""Events of a stream that answers a request for a plain answer."""

MOST_VALUES = 50_000
DEEPEST = 100
EVIDENCE = 64 * 1024
"""Bytes that are kept of an answer that breaks one of these bounds."""

# A string is skipped whole: possessive, since backtracking would cost memory, and without its end, where it has none.
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]|,', re.DOTALL)


class TooMuch(Exception):
    """An answer goes beyond one of the bounds; the message says beyond which."""


class Meter:
    """Counts the bytes of one exchange as they come from the network, before anything is made of them."""

    def __init__(self) -> None:
        self._room = MOST_HEAD
        self._of = f"{MOST_HEAD} bytes before the end of the answer's header"

    def take(self, data: bytes) -> bytes:
        """Count more bytes.

        Raises:
            TooMuch: There are too many.
        """
        self._room -= len(data)
        if self._room < 0:
            msg = f"more than {self._of}"
            raise TooMuch(msg)
        return data

    def head_is_complete(self, largest: int) -> None:
        """From now on count what belongs to the body."""
        self._room = largest + MOST_OVERHEAD
        self._of = f"{self._room} bytes on the wire"


class Decoder:
    """Undoes a content-encoding that nobody asked for, never by more than there is room for.

    An encoding other than gzip and deflate is left as it is: the kit asks for none.
    """

    def __init__(self, encoding: str) -> None:
        window = {"gzip": 47, "x-gzip": 47, "deflate": zlib.MAX_WBITS}.get(encoding.strip().lower())
        self._inflate = None if window is None else zlib.decompressobj(window)

    def feed(self, data: bytes, room: int) -> bytes:
        """Decode more bytes, at most one more than there is room for.

        Raises:
            zlib.error: They are not what the encoding says.
        """
        if self._inflate is None:
            return data
        return self._inflate.decompress(data, room + 1)


def check_json(documents: Iterable[bytes]) -> None:
    """Look at JSON before it is parsed: what is made of it takes far more memory than its text.

    Raises:
        TooMuch: It holds too many values, or is nested too deeply.
    """
    values = 0
    for document in documents:
        depth = 0
        for token in _TOKENS.finditer(document):
            first = document[token.start()]
            if first in b"[{":
                depth += 1
                values += 1
            elif first in b"]}":
                depth -= 1
            elif first == 0x2C:
                values += 1
            if depth > DEEPEST:
                msg = f"JSON nested more than {DEEPEST} deep"
                raise TooMuch(msg)
            if values > MOST_VALUES:
                msg = f"more than {MOST_VALUES} values of JSON"
                raise TooMuch(msg)
